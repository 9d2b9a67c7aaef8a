"""What to do with what a source shows, and when to look again. Pure: the keeper asks, then acts.

the source shows            and                                      then
---------------------------------------------------------------------------------------------
no or half a value          -                                        the current one stays
an expired value            -                                        the current one stays
anything whole              there is no current value                it becomes current
the current value           its dates are the same                   all is well
the current value           its dates differ                         they are taken over
another value               it need not be tried                     it becomes current
another value               it was refused, and it is not yet time   wait
another value               else                                     try it with a real login

the trial says              and                                      then
---------------------------------------------------------------------------------------------
accepted                    -                                        it becomes current
refused                     -                                        the current one stays; try again later
nothing (no server spoke)   the current one works, as far as known   the current one stays; try again later
nothing                     the current one expired or was refused   it becomes current: it cannot be worse
"""

from __future__ import annotations

from enum import Enum, StrEnum, auto, unique
from typing import Final

from ambassador.credentials.credential import PASSWORD, USERNAME, Credential
from ambassador.credentials.term import care_after
from ambassador.kit.clock import Clock

SOONEST: Final = 1.0
"""Least seconds between looks at a source whose value is about to end."""

LONGEST_RETRY: Final = 30.0
"""Most seconds between looks at a source that fails."""


@unique
class TrialResult(StrEnum):
    """What a real login with a new value showed; UNKNOWN when no server could say."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    UNKNOWN = "unknown"


@unique
class Outcome(StrEnum):
    """How a look at a source ended; the label `result` of the metric. A closed list."""

    OK = "ok"
    SOURCE_FAILED = "source_failed"
    REFUSED = "refused"
    UNVERIFIED = "unverified"


@unique
class Step(Enum):
    """What to do with a whole value that the source shows."""

    NOTHING = auto()
    RENEW = auto()
    ADOPT = auto()
    TRY = auto()
    WAIT = auto()


def flaw(current: Credential | None, found: Credential, *, clock: Clock, tried: bool) -> str | None:
    """Why `found` must not become current whatever else; None when nothing speaks against it.

    A value that has lost its user name or password is taken for half-written, unless a trial (`tried`) can tell.
    """
    if found.expired(clock):
        return "the source shows a value that has expired"
    if current is None or tried:
        return None
    for field in (USERNAME, PASSWORD):
        if current.get(field) is not None and found.get(field) is None:
            return f"the {field} is gone, which is taken for a value half-written; restart to mean it"
    return None


def weigh(current: Credential | None, found: Credential, *, must_try: bool, may_try: bool) -> Step:
    """What to do with `found`.

    Args:
        must_try: a new value is to be tried before it becomes current.
        may_try: it is time for a trial: `found` is new, or was asked for, or its back-off is over.
    """
    if current is None:
        return Step.ADOPT
    if current.fingerprint == found.fingerprint:
        same = (current.not_after, current.ends_at) == (found.not_after, found.ends_at)
        return Step.NOTHING if same else Step.RENEW
    if not must_try:
        return Step.ADOPT
    return Step.TRY if may_try else Step.WAIT


def becomes_current(result: TrialResult, *, current_fails: bool) -> bool:
    """Whether a value becomes current after its trial; `current_fails`: the current one expired or was refused."""
    return result is TrialResult.ACCEPTED or (result is TrialResult.UNKNOWN and current_fails)


def until_renewal(credential: Credential, *, now_wall: float, idle: float, poll: float, spread: float) -> float | None:
    """Seconds until the source should be asked for a successor; None when the value has no end.

    Args:
        idle: seconds since the source was last asked.
        poll: most seconds between two looks at a source that keeps showing a value which is about to end.
        spread: of the moment at which it is asked for; see `care_after`.
    """
    end = credential.not_after
    if end is None:
        return None
    begin = now_wall if credential.not_before is None else credential.not_before
    due = begin + care_after(end - begin, spread)
    if now_wall < due:
        return due - now_wall
    pace = min(poll, max(SOONEST, (end - now_wall) / 2)) if now_wall < end else poll
    return max(0.0, pace - idle)


def longest_wait(left: float | None) -> float:
    """Most seconds until the next look at a source that failed: less, the nearer the end of what we have is.

    Args:
        left: seconds until then; None where it has none.
    """
    return LONGEST_RETRY if left is None or left <= 0 else max(SOONEST, left / 4)
