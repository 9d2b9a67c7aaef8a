"""The time for which something is granted, and can be granted anew: a Vault's token, a lease.

    ├──────────── duration ────────────┤
    granted ······ care at 2/3 ······ end        renewed: a new duration counts from then
                   (sooner where that leaves less than `AHEAD`)
                                       └─ a renewal that grants clearly less than the first time has met the maximum:
                                          from there on only something new helps

Moments are seconds of the clock that never jumps, so that a wrong date on this machine ends nothing early or late.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, auto, unique
from typing import Final

SHARE: Final = 2 / 3
"""Of a life, after which it needs care; leaves a third for a Vault that is out of order."""

AHEAD: Final = 6.0
"""Seconds before the end at which care begins at the latest: a Vault that takes five to answer is in time."""

EARLIEST: Final = 2 / 5
"""Of a life, before which there is no care, however short it is."""

SHRUNK: Final = 0.9
"""A renewal that grants less than this share of the first term has met the maximum."""

ROUNDING: Final = 1.0
"""Seconds that a Vault may round away."""


def care_after(life: float, spread: float = 1.0) -> float:
    """Seconds of a life of so many after which it needs care.

    Args:
        spread: a share of that, so that many of one age do not need it at one moment.
    """
    return spread * min(life * SHARE, max(life - AHEAD, life * EARLIEST))


@unique
class Care(Enum):
    """What is to be done when it is due."""

    RENEW = auto()
    REPLACE = auto()


@dataclass(frozen=True, slots=True)
class Term:
    """From when and for how long.

    Args:
        granted_at: when it began, or was last renewed.
        duration: seconds; infinite: it has no end.
        renewable: whether it can be granted anew at all.
        first: seconds that were granted the first time; 0: this is the first time.
    """

    granted_at: float
    duration: float
    renewable: bool
    first: float = 0.0

    @property
    def ends_at(self) -> float:
        """When it ends unless it is renewed."""
        return self.granted_at + self.duration

    def due_at(self, spread: float = 1.0) -> float:
        """When it needs care; see `care_after`."""
        return self.granted_at + care_after(self.duration, spread)

    def at(self, share: float) -> float:
        """When this share of it is over."""
        return self.granted_at + self.duration * share

    @property
    def care(self) -> Care:
        """What it needs then."""
        capped = self.duration + ROUNDING < self.first * SHRUNK
        return Care.RENEW if self.renewable and not capped else Care.REPLACE

    def renewed(self, duration: float, now: float) -> Term:
        """The next term of the same thing."""
        return replace(self, granted_at=now, duration=duration, first=self.first or self.duration)
