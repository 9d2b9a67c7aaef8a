# cython: language_level=3, annotation_typing=False, embedsignature=False
"""What becomes of the units of work, counted where they end."""

from __future__ import annotations

from ambassador.telemetry.histogram import FAST, Histogram


class RequestMetrics:
    """Units of work of one kind (a transaction, a command, an HTTP method) from one listener to one upstream.

    `seconds` holds the durations of those that went well, `error_seconds` of the others. `refused` are those that the
    listener's policy did not let through; they take no time.
    """

    __slots__ = ("error", "error_seconds", "ok", "refused", "seconds")

    def __init__(self) -> None:
        self.ok = 0
        self.error = 0
        self.refused = 0
        self.seconds = Histogram(FAST)
        self.error_seconds = Histogram(FAST)

    @property
    def idle(self) -> bool:
        return True
