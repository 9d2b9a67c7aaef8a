"""How long a session may last or be silent: a pure judgement, asked about every session once a sweep.

A sweep compares byte counts with those of the sweep before, so that the data path does not look at a clock for it.
The price is precision: a timeout is noticed at most one sweep late.
"""

from __future__ import annotations

from ambassador.config.schema import Limits
from ambassador.errors import Reason

LONGEST_SWEEP = 1.0
"""Seconds between sweeps, at most."""


def sweep_interval(limits: Limits) -> float | None:
    """Seconds between sweeps: a quarter of the shortest timeout, at most `LONGEST_SWEEP`; None when none is set."""
    spans = [
        span
        for span in (limits.idle_timeout, limits.idle_in_transaction_timeout, limits.session_timeout)
        if span is not None
    ]
    return min(LONGEST_SWEEP, min(spans) / 4) if spans else None


def overdue(limits: Limits, *, age: float, quiet: float, waiting: bool, in_transaction: bool) -> Reason | None:
    """Which limit a session has passed, if any.

    Args:
        age: seconds since the session began.
        quiet: seconds since bytes last passed.
        waiting: whether it is the client's turn to speak; a server at work is not idle.
        in_transaction: whether the client has a transaction open.
    """
    if limits.session_timeout is not None and age >= limits.session_timeout:
        return Reason.SESSION_TIMEOUT
    if not waiting:
        return None
    if in_transaction:
        span, reason = limits.idle_in_transaction_timeout, Reason.IDLE_IN_TRANSACTION_TIMEOUT
    else:
        span, reason = limits.idle_timeout, Reason.IDLE_TIMEOUT
    return reason if span is not None and quiet >= span else None
