"""Stop taking, finish what is owed, by a deadline: the signal that carries it to everyone concerned."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Drain:
    """A one-way switch with members.

    A member joins with the function that tells it to leave at its next safe point, and parts when it is gone.
    Whoever joins after the start is told at once.
    """

    def __init__(self) -> None:
        self._started = False
        self._members: dict[object, Callable[[], None]] = {}
        self._empty = asyncio.Event()
        self._empty.set()

    @property
    def started(self) -> bool:
        """Whether members have been told to leave."""
        return self._started

    @property
    def members(self) -> int:
        """How many have joined and not yet parted."""
        return len(self._members)

    def join(self, member: object, leave: Callable[[], None]) -> None:
        """Add `member`; `leave` is called once, when the drain starts, and must not raise."""
        self._members[member] = leave
        self._empty.clear()
        if self._started:
            leave()

    def part(self, member: object) -> None:
        """`member` is gone. Parting twice does nothing."""
        self._members.pop(member, None)
        if not self._members:
            self._empty.set()

    def start(self) -> None:
        """Tell every member to leave at its next safe point. Starting twice does nothing."""
        if self._started:
            return
        self._started = True
        for leave in tuple(self._members.values()):
            leave()

    async def emptied(self) -> None:
        """Wait until no member is left. The caller brings the deadline."""
        await self._empty.wait()
