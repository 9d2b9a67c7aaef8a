"""Waiting longer after each failure, with full jitter so that many waiters do not march in step."""

from __future__ import annotations

import random


class Backoff:
    """Delays drawn evenly from zero to a ceiling that doubles with each failure.

    Args:
        base: first ceiling, seconds.
        cap: highest ceiling, seconds.
        floor: no delay is shorter than this, seconds, so that no fault makes a busy loop.
        rng: source of chance; tests hand in a seeded one.
    """

    def __init__(self, base: float, cap: float, *, floor: float = 0.0, rng: random.Random | None = None) -> None:
        self._base = base
        self._cap = cap
        self._floor = floor
        self._rng = rng or random.Random()  # noqa: S311 - spreads load, protects nothing
        self._ceiling = base

    def next(self) -> float:
        """Seconds to wait before the next try; raises the ceiling for the one after."""
        delay = max(self._floor, self._rng.uniform(0.0, self._ceiling))
        self._ceiling = min(self._cap, self._ceiling * 2)
        return delay

    def reset(self) -> None:
        """A try succeeded: begin again from the first ceiling."""
        self._ceiling = self._base
