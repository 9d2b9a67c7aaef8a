"""Time as a thing one can hand in: tests replace it and need not wait."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """What the daemon asks of time."""

    def now(self) -> float:
        """Seconds on a clock that never goes back and never jumps; for durations and deadlines."""

    def wall(self) -> float:
        """Seconds since 1970 UTC; jumps with the machine's clock. For expiry dates that others set, and for logs."""

    async def sleep(self, seconds: float) -> None:
        """Wait on the `now` clock."""


class SystemClock:
    """The machine's own clocks.

    `now` is CLOCK_BOOTTIME: unlike CLOCK_MONOTONIC it goes on while a laptop sleeps, so that what expired
    meanwhile is seen to have expired.
    """

    def now(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def wall(self) -> float:
        return time.time()  # noqa: TID251 - this is the place the rule points to

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)  # noqa: TID251 - this is the place the rule points to


SYSTEM: Clock = SystemClock()

ticks = time.perf_counter
"""Seconds for measuring short spans on the hot path: one C call, where `now` is a Python one."""
