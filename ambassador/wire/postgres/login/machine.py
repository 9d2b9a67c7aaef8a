"""What both login machines share: an inbox with a limit, an outbox, and messages taken whole from the inbox."""

from __future__ import annotations

from collections.abc import Callable

from ambassador.errors import AmbassadorError
from ambassador.wire.buffer import Buffer


class Machine:
    """Bytes in, bytes out.

    Args:
        limit: most bytes that may wait to be understood.
        fault: makes the error that blames the peer, from a text.
    """

    def __init__(self, limit: int, fault: Callable[[str], AmbassadorError]) -> None:
        self._inbox = Buffer(limit, fault)
        self._outbox = bytearray()
        self._fault = fault

    def receive(self, data: bytes) -> None:
        """Take bytes that arrived. Raises when more came than may wait."""
        self._inbox.append(data)

    def to_send(self) -> bytes:
        """Bytes to write now, handed out once."""
        data = bytes(self._outbox)
        self._outbox.clear()
        return data

    def rest(self) -> bytes:
        """Bytes that arrived and belong to what comes after the login; handed out once."""
        return self._inbox.take_all()

    def _send(self, data: bytes) -> None:
        self._outbox += data

    def _take_untagged(self, limit: int) -> bytes | None:
        """The payload of the next message without a tag, or None while it is not whole."""
        if len(self._inbox) < 4:
            return None
        size = self._checked(int.from_bytes(self._inbox.peek(0, 4)), limit, "startup message")
        if len(self._inbox) < 4 + size:
            return None
        return self._inbox.take(4 + size)[4:]

    def _take_tagged(self, limit: int) -> tuple[bytes, bytes] | None:
        """Tag and payload of the next message, or None while it is not whole."""
        if len(self._inbox) < 5:
            return None
        head = self._inbox.peek(0, 5)
        size = self._checked(int.from_bytes(head[1:]), limit, f"message {head[:1]!r}")
        if len(self._inbox) < 5 + size:
            return None
        return head[:1], self._inbox.take(5 + size)[5:]

    def _checked(self, length: int, limit: int, what: str) -> int:
        """The payload's size, from a length that counts itself."""
        if not 4 <= length <= limit + 4:
            raise self._fault(f"invalid length {length} of {what}; at most {limit + 4} is allowed here")
        return length - 4
