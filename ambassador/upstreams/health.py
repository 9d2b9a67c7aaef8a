"""What we know of an endpoint from our own attempts to reach it: a machine without clock or I/O.

    UNKNOWN ──► HEALTHY ⇄ SUSPECT ──► EJECTED ──► PROBING ──► HEALTHY
                             (a failed probe ejects again, for longer)

A refused login is the credential's fault and says nothing against the endpoint: it answered.
"""

from __future__ import annotations

from enum import StrEnum

EJECT_AFTER = 3
"""Failures in a row that eject: one may be chance, two bad luck."""

FIRST_EJECTION = 1.0
"""Seconds of the first ejection; each further one lasts twice as long, up to `LONGEST_EJECTION`."""

LONGEST_EJECTION = 30.0


class Standing(StrEnum):
    """How an endpoint stands."""

    UNKNOWN = "unknown"
    HEALTHY = "healthy"
    SUSPECT = "suspect"
    EJECTED = "ejected"
    PROBING = "probing"


class Health:
    """Standing of one endpoint. `now` is seconds on the caller's clock, everywhere."""

    __slots__ = ("_failures", "_span", "_until", "last_error", "standing")

    def __init__(self) -> None:
        self.standing = Standing.UNKNOWN
        self.last_error: str | None = None
        self._failures = 0
        self._span = FIRST_EJECTION
        self._until = 0.0

    def answered(self) -> None:
        """It was reached and spoke sense."""
        self.standing = Standing.HEALTHY
        self.last_error = None
        self._failures = 0
        self._span = FIRST_EJECTION

    def failed(self, reason: str, now: float) -> None:
        """It was not reached, or did not speak sense. `reason` is a word of the closed list."""
        self.last_error = reason
        self._failures += 1
        if self.standing is Standing.PROBING or self._failures >= EJECT_AFTER:
            self.standing = Standing.EJECTED
            self._until = now + self._span
            self._span = min(LONGEST_EJECTION, self._span * 2)
        else:
            self.standing = Standing.SUSPECT

    def usable(self, now: float) -> bool:
        """Whether to try it before the ejected ones. True once, as a probe, when an ejection is over."""
        if self.standing is Standing.EJECTED:
            return now >= self._until
        return self.standing is not Standing.PROBING

    def chosen(self, now: float) -> None:
        """It is about to be tried: an endpoint whose ejection is over is being probed from here on."""
        if self.standing is Standing.EJECTED and now >= self._until:
            self.standing = Standing.PROBING

    def abandoned(self) -> None:
        """The attempt was given up before it said anything: a probe that was not made is made by the next."""
        if self.standing is Standing.PROBING:
            self.standing = Standing.EJECTED
