"""Whole values out of what a server sends, for the conversations that we conduct ourselves: logins, looking around.

What goes to clients passes through `replies` instead, which is made for bytes that nobody needs to understand.
"""

from __future__ import annotations

from typing import Final

from ambassador.wire.redis.messages import Decoder, Malformed, Short, bad_message

MAX_LINE: Final = 64 * 1024  # bytes; a line that is cut is searched again with each piece


class Reader:
    """Finds where values end, however their bytes are cut.

    Args:
        limit: most bytes that may wait to be read.
    """

    __slots__ = ("_inbox", "_left", "_limit", "_position")

    def __init__(self, limit: int) -> None:
        self._inbox = bytearray()
        self._limit = limit
        self._position = 0  # of the next header
        self._left = 1  # values to come until the one under way is whole

    def receive(self, data: bytes) -> None:
        """Take bytes that arrived. Raises UpstreamError when more came than may wait."""
        if len(self._inbox) + len(data) > self._limit:
            raise bad_message(f"more than {self._limit} bytes came before they were due")
        self._inbox += data

    def next_raw(self) -> bytes | None:
        """The bytes of the next value, for `messages.decode`; None while it is not whole.

        Raises:
            UpstreamError: they can never become a value.
        """
        try:
            while self._left:
                self._pass_over()
        except Short:
            return None
        except Malformed as fault:
            raise bad_message(str(fault)) from None
        return self._take(self._position)

    def rest(self) -> bytes:
        """What came behind the last value; handed out once."""
        return self._take(len(self._inbox))

    def _take(self, size: int) -> bytes:
        raw = bytes(self._inbox[:size])
        del self._inbox[:size]
        self._position, self._left = 0, 1
        return raw

    def _pass_over(self) -> None:
        """Go behind one string, one line, or the head of what holds others."""
        decoder = Decoder(self._inbox, MAX_LINE)
        sign, line, position = decoder.header(self._position)
        inside = 0
        if sign in b"$=!" and line != b"-1":
            position = decoder.blob(decoder.size(line), position)[1]
        elif sign in b"*~>%|":
            size = max(decoder.size(line), 0)
            # An attribute is not the value, but stands before it.
            inside = size * 2 + (sign == 0x7C) if sign in b"%|" else size
        self._position = position
        self._left += inside - 1
