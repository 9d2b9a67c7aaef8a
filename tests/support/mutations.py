"""Bytes spoilt in the ways that find faults in parsers. The same number always spoils the same way."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

# Lengths and counts at which something changes its mind.
EDGES = (
    0,
    1,
    3,
    4,
    5,
    0x7F,
    0xFF,
    0x7FFF,
    0xFFFF,
    10_000,
    0x3FFF_FFFF,
    0x4000_0004,
    0x7FFF_FFFF,
    0x8000_0000,
    0xFFFF_FFFF,
)
TAGS = b"PBDECSQFHXdcfpRKZEGHWNAS123tTnIsvC\x16"


def _flip(data: bytearray, rng: random.Random) -> None:
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _replace(data: bytearray, rng: random.Random) -> None:
    data[rng.randrange(len(data))] = rng.choice((0, 0xFF, rng.randrange(256), rng.choice(TAGS)))


def _write_edge(data: bytearray, rng: random.Random) -> None:
    at = rng.randrange(len(data))
    data[at : at + 4] = rng.choice(EDGES).to_bytes(4)


def _insert(data: bytearray, rng: random.Random) -> None:
    at = rng.randrange(len(data) + 1)
    data[at:at] = rng.randbytes(rng.choice((1, 2, 4, 30)))


def _delete(data: bytearray, rng: random.Random) -> None:
    at = rng.randrange(len(data))
    del data[at : at + rng.choice((1, 2, 4, 30))]


def _repeat(data: bytearray, rng: random.Random) -> None:
    at, size = rng.randrange(len(data)), rng.choice((1, 5, 20, 100))
    data[at:at] = data[at : at + size] * rng.choice((1, 2, 50))


def _move(data: bytearray, rng: random.Random) -> None:
    at, size = rng.randrange(len(data)), rng.choice((1, 5, 20))
    piece = data[at : at + size]
    del data[at : at + size]
    to = rng.randrange(len(data) + 1)
    data[to:to] = piece


def _truncate(data: bytearray, rng: random.Random) -> None:
    del data[rng.randrange(len(data)) :]


WAYS: Sequence[Callable[[bytearray, random.Random], None]] = (
    _flip, _replace, _write_edge, _insert, _delete, _repeat, _move, _truncate,
)  # fmt: skip


def mutate(data: bytes, rng: random.Random) -> bytes:
    """`data` spoilt in one to three ways."""
    spoilt = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        if spoilt:
            rng.choice(WAYS)(spoilt, rng)
    return bytes(spoilt)


def cut(data: bytes, rng: random.Random) -> list[bytes]:
    """`data` in pieces, few or many, none of them empty."""
    if len(data) < 2:
        return [data] if data else []
    places = sorted({rng.randrange(1, len(data)) for _ in range(rng.choice((0, 1, 2, 8, 40)))})
    return [data[start:stop] for start, stop in zip([0, *places], [*places, len(data)], strict=True)]
