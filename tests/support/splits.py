"""The same bytes, cut in every way that a network may cut them."""

from __future__ import annotations

from collections.abc import Iterator


def in_pieces(data: bytes, size: int) -> list[bytes]:
    """`data` in pieces of `size` bytes; the last may be shorter."""
    return [data[start : start + size] for start in range(0, len(data), size)]


def every_split(data: bytes) -> Iterator[list[bytes]]:
    """`data` whole, byte by byte, in pieces of a few small sizes, and cut in two at every place."""
    yield [data]
    for size in (1, 2, 3, 5, 7):
        yield in_pieces(data, size)
    for cut in range(1, len(data)):
        yield [data[:cut], data[cut:]]
