"""A cluster as its nodes tell of it: who serves which slot, and where a request should have gone instead.

`CLUSTER SLOTS` is what every version answers. A node may leave its own name out, or say `?` where it does not know it:
then it is the one that was asked.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from ambassador.wire.redis.keys import SLOTS
from ambassador.wire.redis.messages import Value, bad_message
from ambassador.wire.redis.place import Place

MOST_NODES: Final = 2000  # twice what the manual calls the limit

ASKING: Final = b"*1\r\n$6\r\nASKING\r\n"

CROSSSLOT: Final = "CROSSSLOT Keys in request don't hash to the same slot"

_UNNAMED = frozenset({None, b"", b"?"})
_HOST = re.compile(rb"[A-Za-z0-9._:%-]{1,253}")
_REDIRECT = re.compile(rb"-?(MOVED|ASK) ([0-9]{1,5}) (.*):([0-9]{1,5})\r?\n?")

Owners = list[Place | None]
"""Of each slot the node that serves it; None where nobody does."""


@dataclass(frozen=True, slots=True)
class Layout:
    """What one node believes.

    Attributes:
        owners: see `Owners`.
        replicas: the other nodes it told of, in no order.
    """

    owners: Owners
    replicas: frozenset[Place]

    @property
    def masters(self) -> list[Place]:
        """The nodes that serve slots, each once, in the order of their first."""
        return masters_of(self.owners)


class Redirect(NamedTuple):
    """Where a request belongs: for good (MOVED), or this one alone (ASK)."""

    asks: bool
    slot: int
    place: Place


def parse_slots(value: Value, said_by: str) -> Layout:
    """The decoded answer to `CLUSTER SLOTS`, in RESP2 or 3.

    Args:
        said_by: the host at which the node that answers was reached.

    Raises:
        UpstreamError: it is no such answer.
    """
    if not isinstance(value, list):
        raise bad_message("the answer to CLUSTER SLOTS is no array")
    owners: Owners = [None] * SLOTS
    replicas: set[Place] = set()
    for entry in value:
        match entry:
            case [int(first), int(last), master, *others] if 0 <= first <= last < SLOTS:
                place = _place(master, said_by)
                owners[first : last + 1] = [place] * (last + 1 - first)
                replicas.update(found for other in others if (found := _place(other, said_by)) is not None)
            case _:
                raise bad_message("an entry of CLUSTER SLOTS makes no sense")
        if len(replicas) > MOST_NODES:
            raise bad_message(f"a cluster of more than {MOST_NODES} nodes")
    return Layout(owners, frozenset(replicas) - {place for place in owners if place is not None})


def _place(node: object, said_by: str) -> Place | None:
    """Where a node is reached; None where that cannot be known."""
    match node:
        case [(bytes() | None) as host, int(port), *_] if 0 < port <= 0xFFFF:
            return _named(host, port, said_by)
    return None


def _named(host: bytes | None, port: int, said_by: str) -> Place | None:
    if host in _UNNAMED or host is None:
        return Place(said_by, port) if said_by else None
    return Place(host.decode(), port) if _HOST.fullmatch(host) else None


def parse_redirect(line: bytes, said_by: str) -> Redirect | None:
    """What an error reply `MOVED 3999 host:port` or `ASK 3999 host:port` says, with its sign or without; else None."""
    found = _REDIRECT.fullmatch(line)
    if found is None or int(found[2]) >= SLOTS or not 0 < int(found[4]) <= 0xFFFF:
        return None
    place = _named(found[3], int(found[4]), said_by)
    return None if place is None else Redirect(found[1] == b"ASK", int(found[2]), place)


def masters_of(owners: Iterable[Place | None]) -> list[Place]:
    """The nodes that serve slots, each once, in the order of their first."""
    return [place for place in dict.fromkeys(owners) if place is not None]


def gains(before: Sequence[Place | None], after: Sequence[Place | None]) -> list[Place]:
    """The nodes that serve slots now which they did not serve before, in the order of their first slot."""
    return masters_of(now for was, now in zip(before, after, strict=True) if was != now)
