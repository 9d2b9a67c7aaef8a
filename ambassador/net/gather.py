# cython: language_level=3, annotation_typing=False, embedsignature=False
"""Gathering: what many give to one connection within a turn of the event loop leaves it in one piece.

A write costs the kernel, and the peer's as well, far more than joining what is written.
"""

from __future__ import annotations

from ambassador.net.poller import poller
from ambassador.net.taker import Taker


class Gathering(Taker):
    """Passes on what it took, in order, once the poller has told everybody. To be made in the running loop.

    Attributes:
        to: who takes it.
    """

    __slots__ = ("_pieces", "_poller", "to")

    def __init__(self, to: Taker) -> None:
        self.to = to
        self._pieces: list[bytes] = []
        self._poller = poller()

    def take(self, chunk: bytes) -> None:
        """See `Taker`."""
        if not self._pieces:
            self._poller.flush_later(self)
        self._pieces.append(chunk)

    def flush(self) -> None:
        """Pass on what there is now."""
        pieces = self._pieces
        if not pieces:
            return
        self._pieces = []
        self.to.take(pieces[0] if len(pieces) == 1 else b"".join(pieces))
