"""CLUSTER, for clients that ask: they see a cluster of one node, which serves everything, at the address they know."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from ambassador.errors import ClientError, Reason
from ambassador.wire.redis.commands import Kind
from ambassador.wire.redis.keys import SLOTS, slot
from ambassador.wire.redis.messages import Encodable, Simple, encode

if TYPE_CHECKING:
    from ambassador.protocols.redis.cluster.client import ClusterClient

_SLOT = re.compile(rb"[0-9]{1,5}")

OF_A_SLOT = frozenset({b"COUNTKEYSINSLOT", b"GETKEYSINSLOT"})
"""What the node of a slot is asked."""


def _identity(client: ClusterClient, what: str = "node") -> str:
    name = f"ambassador {what} {client.hub.upstream.name}"
    return hashlib.sha256(name.encode()).hexdigest()[:40]


def _where(client: ClusterClient) -> tuple[str, int]:
    local = client.stream.local
    return local.host or "", local.port or 0


def _slots(client: ClusterClient, _: list[bytes]) -> Encodable:
    host, port = _where(client)
    return [[0, SLOTS - 1, [host, port, _identity(client), []]]]


def _shards(client: ClusterClient, _: list[bytes]) -> Encodable:
    host, port = _where(client)
    node: dict[str, Encodable] = {
        "id": _identity(client),
        "port": port,
        "ip": host,
        "endpoint": host,
        "role": "master",
        "replication-offset": 0,
        "health": "online",
    }
    shard: dict[str, Encodable] = {"slots": [0, SLOTS - 1], "nodes": [node]}
    return [shard]


def _nodes(client: ClusterClient, _: list[bytes]) -> Encodable:
    host, port = _where(client)
    return f"{_identity(client)} {host}:{port}@{port} myself,master - 0 0 1 connected 0-{SLOTS - 1}\n"


def _info(client: ClusterClient, _: list[bytes]) -> Encodable:
    topology = client.hub.topology
    served = sum(owner is not None for owner in topology.owners)
    lines = {
        "cluster_enabled": 1,
        "cluster_state": "ok" if served == SLOTS else "fail",
        "cluster_slots_assigned": served,
        "cluster_slots_ok": served,
        "cluster_slots_pfail": 0,
        "cluster_slots_fail": 0,
        "cluster_known_nodes": 1,
        "cluster_size": 1,
        "cluster_current_epoch": topology.epoch,
        "cluster_my_epoch": topology.epoch,
    }
    return "".join(f"{name}:{value}\r\n" for name, value in lines.items())


def _key_slot(_: ClusterClient, words: list[bytes]) -> Encodable:
    return slot(words[2])


_ANSWERS: Mapping[bytes, tuple[int, Callable[[ClusterClient, list[bytes]], Encodable]]] = MappingProxyType(
    {
        b"SLOTS": (2, _slots),
        b"SHARDS": (2, _shards),
        b"NODES": (2, _nodes),
        b"INFO": (2, _info),
        b"MYID": (2, lambda client, _: _identity(client)),
        b"MYSHARDID": (2, lambda client, _: _identity(client, "shard")),
        b"KEYSLOT": (3, _key_slot),
        b"LINKS": (2, lambda *_: []),
        b"REPLICAS": (3, lambda *_: []),
        b"SLAVES": (3, lambda *_: []),
        b"COUNT-FAILURE-REPORTS": (3, lambda *_: 0),
        b"SAVECONFIG": (2, lambda *_: Simple(b"OK")),
    }
)
"""By sub-command: how many words, and the answer."""


def answer(client: ClusterClient, words: list[bytes]) -> None:
    """Answer CLUSTER ourselves.

    Raises:
        ClientError: it would be for one node of those that clients do not see.
    """
    name = words[1].upper() if len(words) > 1 else b""
    count, make = _ANSWERS.get(name, (0, None))
    shown = name.decode("utf-8", "replace").lower()
    if make is None:
        raise ClientError(
            Reason.UNSUPPORTED, f"ERR CLUSTER {shown[:64].upper()} is not possible: here the cluster is one server"
        )
    if len(words) != count:
        raise ClientError(Reason.UNSUPPORTED, f"ERR wrong number of arguments for 'cluster|{shown}' command")
    client.reply(encode(make(client, words), client.state.protocol), kind=Kind.ADMIN)


def slot_named(words: list[bytes]) -> int | None:
    """The slot that a sub-command of `OF_A_SLOT` names."""
    word = words[2] if len(words) > 2 else b""
    return int(word) if _SLOT.fullmatch(word) and int(word) < SLOTS else None
