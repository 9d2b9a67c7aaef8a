"""Time that stands still until a test moves it."""

from __future__ import annotations

import asyncio
import heapq
import itertools

TURNS = 50
"""Turns of the event loop after each step in time, for everyone who woke to get to its next wait."""


class ManualClock:
    """A `kit.clock.Clock` that a test turns by hand.

    Args:
        now: where the steady clock starts, seconds.
        wall: where the wall clock starts, seconds since 1970 UTC.
    """

    def __init__(self, now: float = 1000.0, wall: float = 1_700_000_000.0) -> None:
        self._now = now
        self._wall = wall
        self._order = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def now(self) -> float:
        """Seconds on the steady clock."""
        return self._now

    def wall(self) -> float:
        """Seconds since 1970 UTC."""
        return self._wall

    async def sleep(self, seconds: float) -> None:
        """Wait until the test has moved the clock that far."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now + seconds, next(self._order), woken))
        await woken

    @property
    def sleepers(self) -> int:
        """How many wait on this clock."""
        return sum(not woken.done() for _, _, woken in self._sleepers)

    async def advance(self, seconds: float) -> None:
        """Move both clocks on, stopping at each sleeper's moment to let it run and perhaps sleep again."""
        await self.settle()
        until = self._now + seconds
        while self._sleepers and self._sleepers[0][0] <= until:
            moment, _, woken = heapq.heappop(self._sleepers)
            self._move(max(moment, self._now))
            if not woken.done():
                woken.set_result(None)
                await self.settle()
        self._move(until)
        await self.settle()

    def jump(self, seconds: float) -> None:
        """Move only the wall clock, as an operator or NTP does; nobody wakes."""
        self._wall += seconds

    async def settle(self) -> None:
        """Let every task run until it waits for something."""
        for _ in range(TURNS):
            await asyncio.sleep(0)

    def _move(self, to: float) -> None:
        self._wall += to - self._now
        self._now = to
