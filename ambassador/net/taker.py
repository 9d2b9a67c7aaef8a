# cython: language_level=3, annotation_typing=False, embedsignature=False
"""Taker: whoever takes bytes. What runs for each chunk is a chain of these, and calls between compiled ones are C's."""

from __future__ import annotations

from collections.abc import Callable


class Taker:
    """Takes bytes, and forgets them. Those derived from it keep them, look at them, pass them on."""

    __slots__ = ()

    def take(self, chunk: bytes) -> None:
        """The next bytes, at least one."""

    def flush(self) -> None:
        """Pass on what was taken and kept back; see `poller.Poller.flush_later`."""


NOWHERE = Taker()


class Giving(Taker):
    """Gives what it takes to a function."""

    __slots__ = ("_give",)

    def __init__(self, give: Callable[[bytes], None]) -> None:
        self._give = give

    def take(self, chunk: bytes) -> None:
        """See `Taker`."""
        self._give(chunk)


# Its type hides it from Python, when compiled.
globals().update(NOWHERE=NOWHERE)
