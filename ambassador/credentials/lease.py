"""The end of a lease that another has taken the place of, as a calculation.

    CURRENT ──► RETIRING ──► LEAVING ──► CUT ──► REVOKED | LAPSED
                    │            │         │
                    └────────────┴─────────┴── nobody uses it any more ──► REVOKED

RETIRING: new logins use the successor; idle connections are gone, busy ones go when they come free. LEAVING: its end is
near, and whoever still uses it is told to go at the next safe point. CUT: it ends now.
"""

from __future__ import annotations

from enum import StrEnum, unique
from typing import Final

MARGIN: Final = 0.2
"""Share of the last term that is left when those who still use the lease are told to go."""

SHORTEST_MARGIN: Final = 2.0
LONGEST_MARGIN: Final = 60.0
"""Seconds; bounds of that margin."""

LARGEST_MARGIN: Final = 0.5
"""Share of the last term, whatever those bounds say: a renewal that meets the maximum may leave a second."""

CUT_MARGIN: Final = 0.5
"""Share of the margin that is left when they are cut: the lease's own end would cut them without a word. A second,
where there is one, since OpenBao rounds what is left of a lease that was capped, up too."""

SETTLING: Final = 1.0
"""Seconds from when it has a successor until its users are told to go, though its end be near, or half of what is left:
whoever has logged in just before is to get his first words through."""


@unique
class Stage(StrEnum):
    """Where a lease is in its life."""

    CURRENT = "current"
    RETIRING = "retiring"
    LEAVING = "leaving"
    CUT = "cut"
    REVOKED = "revoked"
    LAPSED = "lapsed"


_ORDER: Final = tuple(Stage)
ENDED: Final = frozenset({Stage.REVOKED, Stage.LAPSED})


def margin(duration: float) -> float:
    """Seconds before the end of a term of `duration` seconds at which its users are told to go."""
    return min(LONGEST_MARGIN, max(SHORTEST_MARGIN, duration * MARGIN), duration * LARGEST_MARGIN)


def settled(now: float, ends_at: float) -> float:
    """When the users of a lease that has a successor since `now` may be told to go."""
    return now + min(SETTLING, max(0.0, ends_at - now) / 2)


def stage(
    now: float, *, ends_at: float, duration: float, users: int, before: Stage, settled_at: float = float("-inf")
) -> Stage:
    """Where a lease that has a successor stands at `now`; it never goes back.

    Args:
        ends_at: when it ends, by the same clock.
        duration: seconds of its last term.
        users: connections that still use it.
        before: where it stood.
        settled_at: see `settled`.
    """
    if before in ENDED:
        return before
    if now >= ends_at and (users == 0 or before is Stage.CUT):
        return Stage.LAPSED
    if users == 0:
        return Stage.REVOKED
    # The same sums as in `until_next`: rounded otherwise, there could be nothing to wait for, over and over.
    most = margin(duration)
    found = Stage.RETIRING
    if now < settled_at:
        return before if before is not Stage.CURRENT else Stage.RETIRING
    if now >= ends_at - most * CUT_MARGIN:
        # Whoever was not asked to go yet is asked first: an end that was not seen coming is nobody's fault.
        found = Stage.CUT if before in {Stage.LEAVING, Stage.CUT} else Stage.LEAVING
    elif now >= ends_at - most:
        found = Stage.LEAVING
    return max(before, found, key=_ORDER.index)


def until_next(now: float, *, ends_at: float, duration: float, at: Stage, settled_at: float = float("-inf")) -> float:
    """Seconds until it moves on by itself, while somebody uses it."""
    most = margin(duration)
    moments = {
        Stage.CURRENT: ends_at - most,
        Stage.RETIRING: max(ends_at - most, settled_at),
        # One that was late to be told has as long as the others had.
        Stage.LEAVING: max(ends_at - most * CUT_MARGIN, now + 0.1),
        Stage.CUT: max(ends_at, now + 0.1),
    }
    return max(0.0, moments[at] - now)
