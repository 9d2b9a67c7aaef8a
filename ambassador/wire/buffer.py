"""A receive buffer with a limit: what has arrived and is not yet understood."""

from __future__ import annotations

from collections.abc import Callable

from ambassador.errors import AmbassadorError


class Buffer:
    """Bytes waiting to be understood.

    Args:
        limit: most bytes it may hold.
        fault: makes the error to raise when the peer sends more, from a text; so the peer at fault is blamed.
    """

    __slots__ = ("_data", "_fault", "_limit")

    def __init__(self, limit: int, fault: Callable[[str], AmbassadorError]) -> None:
        self._data = bytearray()
        self._limit = limit
        self._fault = fault

    def __len__(self) -> int:
        return len(self._data)

    def append(self, data: bytes) -> None:
        """Add what arrived. Raises the owner's fault when the limit is passed; nothing is then kept of `data`."""
        if len(self._data) + len(data) > self._limit:
            raise self._fault(f"more than {self._limit} bytes sent without waiting for an answer")
        self._data += data

    def peek(self, start: int, stop: int) -> bytes:
        """A copy of the bytes from `start` to `stop`; shorter when fewer have arrived."""
        return bytes(self._data[start:stop])

    def take(self, size: int) -> bytes:
        """Remove and return the first `size` bytes, which must have arrived."""
        taken = bytes(self._data[:size])
        del self._data[:size]
        return taken

    def take_all(self) -> bytes:
        """Remove and return everything."""
        return self.take(len(self._data))
