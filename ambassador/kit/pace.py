"""Pace: so many at once, and then one more every so often."""

from __future__ import annotations

from ambassador.kit.clock import Clock


class Pace:
    """A bucket of permissions that fills again with time.

    Args:
        burst: how many there are at first, and at most.
        every: seconds until there is one more.
    """

    def __init__(self, burst: int, every: float, clock: Clock) -> None:
        self._burst = burst
        self._every = every
        self._clock = clock
        self._left = float(burst)
        self._counted_at = clock.now()

    def wait(self) -> float:
        """Seconds until one can be spent; 0.0: now."""
        self._count()
        return max(0.0, (1.0 - self._left) * self._every)

    def spend(self) -> None:
        """Use one. Whoever does not wait before goes into debt."""
        self._count()
        self._left -= 1.0

    def _count(self) -> None:
        now = self._clock.now()
        self._left = min(float(self._burst), self._left + (now - self._counted_at) / self._every)
        self._counted_at = now
