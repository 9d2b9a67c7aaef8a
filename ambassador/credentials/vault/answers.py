"""Reading a Vault's answers, which are JSON that anything may have been done to on the way."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

_LONGEST: Final = 10 * 365 * 86400.0
"""Seconds; more is taken for that much."""


def block(answer: Any, name: str) -> Mapping[str, Any] | None:
    """The object `name` of an answer; None where there is none."""
    found = answer.get(name) if isinstance(answer, Mapping) else None
    return found if isinstance(found, Mapping) else None


def text(holder: Mapping[str, Any], name: str) -> str | None:
    """The text `name`, not empty; None where there is none."""
    found = holder.get(name)
    return found if isinstance(found, str) and found else None


def seconds(value: Any) -> float | None:
    """A duration as Vault's JSON has it, a number of seconds; None for anything else."""
    found = _number(value)
    return None if found is None else min(found, _LONGEST)


def moment(value: Any) -> float | None:
    """A date as wall seconds: RFC 3339 with nanoseconds, as Go writes it, or seconds since 1970; None for others."""
    if not isinstance(value, str):
        return _number(value)
    try:
        parsed = datetime.fromisoformat(value)
    except ValueError:
        return None
    return None if parsed.tzinfo is None else parsed.timestamp()


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1e18:
        return None
    return float(value)
