"""A real cluster of six nodes, three masters with a replica each, whose slots can be moved."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from types import TracebackType
from typing import Self

from ambassador.demo.servers import free_port
from tests.support.leaks import SHARED_CHILDREN
from tests.support.processes import wait_until
from tests.support.valkey import Certificates, Program, ServerFailed, ValkeyServer

SLOTS = 16384
MASTERS = 3
LINK = "link"
NODE_TIMEOUT = 1000
"""Milliseconds after which a silent node counts as failed."""


class ValkeyCluster:
    """Six nodes; a context manager that starts them, joins them, and removes them.

    Args:
        program: whose.
        certificates: makes clients, replicas and the nodes among themselves speak TLS.
        shared: outlives a test, so that its processes are no test's leak; then leave nodes and slots as they are.

    Attributes:
        nodes: masters first, as they were in the beginning, then their replicas in the same order.
    """

    def __init__(self, program: Program, *, certificates: Certificates | None = None, shared: bool = False) -> None:
        self._shared = shared
        self._stack = ExitStack()
        # Replicas log in to their masters, and a node that gives keys away to the one that gets them.
        self._secret = secrets.token_urlsafe(24)
        self.nodes = [self._node(program, certificates) for _ in range(2 * MASTERS)]

    def __enter__(self) -> Self:
        try:
            for node in self.nodes:
                self._stack.enter_context(node)
                if self._shared:
                    SHARED_CHILDREN.add(node.pid)
            self._join()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop and remove all nodes."""
        self._stack.close()
        for node in self.nodes:  # those that were never started have a directory too
            node.close()

    # Looking at it

    @property
    def alive(self) -> list[ValkeyServer]:
        """The nodes that run."""
        return [node for node in self.nodes if node.running]

    def master(self, slot: int) -> ValkeyServer:
        """The node that serves a slot, as the cluster itself sees it."""
        for words in self._lines(self.alive[0]):
            if "master" in words[2] and "fail" not in words[2] and any(_holds(part, slot) for part in words[8:]):
                return self.node(words[0])
        raise ServerFailed(f"nobody serves slot {slot}")

    def another_master(self, slot: int) -> ValkeyServer:
        """One of the first masters that does not serve a slot: somewhere to move it."""
        source = self.master(slot)
        return next(node for node in self.nodes[:MASTERS] if node is not source)

    def replicas(self, master: ValkeyServer) -> list[ValkeyServer]:
        """The replicas of a node, as it sees them itself."""
        identity = _identity(master)
        found = [words for words in self._lines(master) if words[3] == identity and "fail" not in words[2]]
        return [self.node(words[0]) for words in found]

    def node(self, identity: str) -> ValkeyServer:
        """The running node with a cluster identity."""
        return next(node for node in self.alive if node.ask("CLUSTER", "MYID") == identity)

    def slot(self, key: str) -> int:
        """The slot of a key."""
        number = self.alive[0].ask("CLUSTER", "KEYSLOT", key)
        assert isinstance(number, int)
        return number

    def settle(self, timeout: float = 20.0) -> None:
        """Wait until every running node sees every slot served, and replicas follow."""
        wait_until("every node to see every slot served", lambda: all(map(_content, self.alive)), timeout)

    # Changing it

    def move(self, slot: int, to: ValkeyServer) -> None:
        """Give a slot and its keys to another master, as `redis-cli --cluster reshard` does it."""
        self.begin_move(slot, to)
        self.move_keys(slot, to)
        self.finish_move(slot, to)

    def begin_move(self, slot: int, to: ValkeyServer) -> None:
        """From here on the old master answers `ASK` for keys of the slot that it has not, or no longer."""
        source = self.master(slot)
        to.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", _identity(source))
        source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", _identity(to))

    def move_keys(self, slot: int, to: ValkeyServer) -> None:
        """Move the keys of a slot whose move has begun."""
        source = self.master(slot)
        while keys := source.ask("CLUSTER", "GETKEYSINSLOT", slot, 100):
            assert isinstance(keys, list)
            login = ("AUTH2", LINK, self._secret)
            source.ask("MIGRATE", to.host, to.port, "", 0, 5000, *login, "KEYS", *map(str, keys))

    def finish_move(self, slot: int, to: ValkeyServer) -> None:
        """From here on the old master answers `MOVED`."""
        source = self.master(slot)
        # The new owner first: in between both claim it, instead of neither.
        for node in (to, source):
            node.ask("CLUSTER", "SETSLOT", slot, "NODE", _identity(to))
        # The others hear of it by gossip; their own questions about `master` should not be answered by the past.
        for node in self.alive:
            wait_until("the move to be known", partial(self._knows, node, slot, to))

    # Behind it

    def _node(self, program: Program, certificates: Certificates | None) -> ValkeyServer:
        settings = [
            "cluster-enabled yes",
            "cluster-config-file nodes.conf",
            f"cluster-node-timeout {NODE_TIMEOUT}",
            f"cluster-port {free_port()}",
            f"masteruser {LINK}",
            f"masterauth {self._secret}",
        ]
        if certificates is not None:
            settings += ["tls-cluster yes", "tls-replication yes"]
        return ValkeyServer(program, settings=settings, certificates=certificates, accounts={LINK: self._secret})

    def _join(self) -> None:
        masters, replicas = self.nodes[:MASTERS], self.nodes[MASTERS:]
        for number, node in enumerate(masters):
            first, last = number * SLOTS // MASTERS, (number + 1) * SLOTS // MASTERS - 1
            node.ask("CLUSTER", "ADDSLOTSRANGE", first, last)
            node.ask("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for node in self.nodes[1:]:
            bus = node.ask("CONFIG", "GET", "cluster-port")
            assert isinstance(bus, list)
            masters[0].ask("CLUSTER", "MEET", node.host, node.port, str(bus[1]))
        wait_until("all nodes to have met", lambda: all(map(self._knows_all, self.nodes)), 20.0)
        for master, replica in zip(masters, replicas, strict=True):
            replica.ask("CLUSTER", "REPLICATE", _identity(master))
        self.settle()

    def _knows_all(self, node: ValkeyServer) -> bool:
        lines = list(self._lines(node))
        return len(lines) == len(self.nodes) and not any("handshake" in words[2] for words in lines)

    def _knows(self, node: ValkeyServer, slot: int, owner: ValkeyServer) -> bool:
        identity = _identity(owner)
        return any(
            words[0] == identity and any(_holds(part, slot) for part in words[8:]) for words in self._lines(node)
        )

    def _lines(self, node: ValkeyServer) -> Iterator[list[str]]:
        """`CLUSTER NODES`, in words: identity, address, flags, master, ..., and from the ninth on slots."""
        text = node.ask("CLUSTER", "NODES")
        assert isinstance(text, str)
        return map(str.split, text.splitlines())


def _content(node: ValkeyServer) -> bool:
    told = node.ask("CLUSTER", "INFO")
    assert isinstance(told, str)
    replication = node.info("replication")
    return "cluster_state:ok" in told and replication.get("master_link_status", "up") == "up"


def _identity(node: ValkeyServer) -> str:
    return str(node.ask("CLUSTER", "MYID"))


def _holds(part: str, slot: int) -> bool:
    """Whether a word of `CLUSTER NODES` (`7`, `0-5460`, or `[7->-IDENTITY]` of a move) gives a slot to its node."""
    if part.startswith("["):
        return False
    first, _, last = part.partition("-")
    return int(first) <= slot <= int(last or first)
