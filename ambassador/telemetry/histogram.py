# cython: language_level=3, annotation_typing=False, embedsignature=False
"""A histogram that costs a few comparisons and two additions.

The client library's own takes more than twice as long per observation, because it finds its bucket by a loop in
Python and locks. All our counting happens on the loop's thread, so plain numbers do.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

# Seconds. A query on a good network takes a millisecond; a login with SCRAM some tens; a dial that fails, seconds.
FAST = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
# Seconds. Sessions live from a single short query to a day and more.
LIVES = (0.01, 0.1, 1.0, 10.0, 60.0, 300.0, 1800.0, 3600.0, 14400.0, 86400.0)


class Histogram:
    """Durations sorted into buckets.

    Args:
        bounds: upper bounds of the buckets, inclusive, seconds, ascending; one without a bound is added.
    """

    __slots__ = ("_bounds", "_counts", "sum")

    def __init__(self, bounds: Sequence[float] = FAST) -> None:
        if not bounds or any(low >= high for low, high in pairwise(bounds)):
            msg = f"a histogram's bounds must be some and ascend, not {list(bounds)}"
            raise ValueError(msg)
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, seconds: float) -> None:
        """Count one duration."""
        at = 0
        for bound in self._bounds:  # most are short
            if seconds <= bound:
                break
            at += 1
        self._counts[at] += 1
        self.sum += seconds

    @property
    def count(self) -> int:
        """How many durations were counted."""
        return sum(self._counts)

    def buckets(self) -> list[tuple[str, int]]:
        """Upper bound as text (`0.005` … `+Inf`) and how many durations were at most that: the exposition's shape."""
        total = 0
        rows = []
        for bound, count in zip((*map(str, self._bounds), "+Inf"), self._counts, strict=True):
            total += count
            rows.append((bound, total))
        return rows
