"""A real master with two replicas, and three Sentinels that watch them."""

from __future__ import annotations

import secrets
from contextlib import ExitStack
from functools import partial
from types import TracebackType
from typing import Self

from tests.support.leaks import SHARED_CHILDREN
from tests.support.processes import wait_until
from tests.support.valkey import Certificates, Program, ServerFailed, ValkeyServer

NAME = "cache"
LINK = "link"
DOWN_AFTER = 2000
"""Milliseconds after which a silent server counts as down. Sentinels of a machine at work, which stands still for half
a second now and then, would replace a master that lives, and take an empty one just started for it.
"""


class Sentinels:
    """Three data servers and three Sentinels; a context manager that starts and removes them all.

    Their user `default` is off; set users of your own on `servers`, and on `sentinels`, which have users too.

    Args:
        program: whose.
        certificates: makes data servers and Sentinels speak TLS, among themselves too.
        shared: outlives a test, so that its processes are no test's leak; then let the master be.
        down_after: milliseconds after which they call a silent server down.

    Attributes:
        servers: the data servers; the first was the master in the beginning.
        sentinels: the Sentinels.
    """

    def __init__(
        self,
        program: Program,
        *,
        certificates: Certificates | None = None,
        shared: bool = False,
        down_after: int = DOWN_AFTER,
    ) -> None:
        self._down_after = down_after
        self._program = program
        self._certificates = certificates
        self._shared = shared
        self._stack = ExitStack()
        self._secret = secrets.token_urlsafe(24)
        self.servers: list[ValkeyServer] = []
        self.sentinels: list[ValkeyServer] = []

    def __enter__(self) -> Self:
        try:
            self.servers.append(self._server())
            self.servers += [self._server(f"replicaof 127.0.0.1 {self.servers[0].port}") for _ in range(2)]
            self._settle_replicas()
            self.sentinels += [self._sentinel() for _ in range(3)]
            wait_until("the Sentinels to know everybody", lambda: all(map(_knows_all, self.sentinels)), 25.0)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop and remove everything."""
        self._stack.close()

    # Looking at it

    @property
    def master(self) -> ValkeyServer:
        """The master, as the first running Sentinel sees it."""
        sentinel = next(one for one in self.sentinels if one.running)
        address = sentinel.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME)
        assert isinstance(address, list)
        return next(server for server in self.servers if str(server.port) == address[1])

    @property
    def replicas(self) -> list[ValkeyServer]:
        """The running servers that are not the master."""
        master = self.master
        return [server for server in self.servers if server.running and server is not master]

    def wait_for_master(self, before: ValkeyServer, timeout: float = 25.0) -> ValkeyServer:
        """Wait until every running Sentinel names another master than `before`, which takes writes; returns it."""

        def switched() -> bool:
            named = {str(one.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME)) for one in self.sentinels if one.running}
            return len(named) == 1 and self.master is not before and replication(self.master).get("role") == "master"

        wait_until("the Sentinels to agree on another master", switched, timeout)
        return self.master

    # Changing it

    def fail_over(self) -> ValkeyServer:
        """Make the Sentinels choose another master while the old one lives; returns the new one."""
        before = self.master
        self.sentinels[0].ask("SENTINEL", "FAILOVER", NAME)
        return self.wait_for_master(before)

    # Behind it

    def _server(self, *more: str) -> ValkeyServer:
        settings = [f"masteruser {LINK}", f"masterauth {self._secret}", *more]
        return self._started(settings)

    def _sentinel(self) -> ValkeyServer:
        settings = [
            f"sentinel monitor {NAME} 127.0.0.1 {self.servers[0].port} 2",
            f"sentinel auth-user {NAME} {LINK}",
            f"sentinel auth-pass {NAME} {self._secret}",
            f"sentinel sentinel-user {LINK}",
            f"sentinel sentinel-pass {self._secret}",
            f"sentinel down-after-milliseconds {NAME} {self._down_after}",
            f"sentinel failover-timeout {NAME} 4000",
        ]
        return self._started(settings, sentinel=True)

    def _started(self, settings: list[str], *, sentinel: bool = False) -> ValkeyServer:
        if self._certificates is not None:
            settings = [*settings, "tls-replication yes"]
        server = ValkeyServer(
            self._program,
            settings=settings,
            certificates=self._certificates,
            accounts={LINK: self._secret},
            sentinel=sentinel,
        )
        self._stack.enter_context(server)
        if self._shared:
            SHARED_CHILDREN.add(server.pid)
        return server

    def _settle_replicas(self) -> None:
        for replica in self.servers[1:]:
            wait_until("a replica to follow", partial(_follows, replica))


def _follows(replica: ValkeyServer) -> bool:
    return replication(replica).get("master_link_status") == "up"


def _knows_all(sentinel: ValkeyServer) -> bool:
    told = sentinel.ask("SENTINEL", "MASTER", NAME)
    assert isinstance(told, list)
    facts = dict(zip(map(str, told[::2]), map(str, told[1::2]), strict=True))
    return (facts["num-slaves"], facts["num-other-sentinels"], facts["flags"]) == ("2", "2", "master")


def replication(server: ValkeyServer) -> dict[str, str]:
    """What a data server says of its part in the replication; nothing while it does not say: a Sentinel that gives it
    another part closes its clients (`CLIENT KILL TYPE normal`).
    """
    try:
        return server.info("replication")
    except ServerFailed:
        return {}
