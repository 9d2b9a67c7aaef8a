"""What to do with what a source shows, and when to look again."""

from __future__ import annotations

import pytest

from ambassador.credentials.credential import Credential
from ambassador.credentials.plan import (
    LONGEST_RETRY,
    SOONEST,
    Step,
    TrialResult,
    becomes_current,
    flaw,
    longest_wait,
    until_renewal,
    weigh,
)
from tests.support.clock import ManualClock

NOW = 1000.0


def value(password: str = "one", *, not_before: float | None = None, not_after: float | None = None) -> Credential:
    fields = {"username": b"app", "password": password.encode()}
    return Credential("db", 1, fields, not_before=not_before, not_after=not_after)


@pytest.mark.parametrize(
    ("current", "found", "must_try", "may_try", "step"),
    [
        (None, value(), False, True, Step.ADOPT),
        (None, value(), True, False, Step.ADOPT),
        (value(), value(), True, True, Step.NOTHING),
        (value(not_after=5), value(not_after=5), True, True, Step.NOTHING),
        (value(not_before=1), value(not_before=2), True, True, Step.NOTHING),
        (value(not_after=5), value(not_after=9), True, True, Step.RENEW),
        (value(not_after=5), value(), False, True, Step.RENEW),
        (value("one"), value("two"), False, False, Step.ADOPT),
        (value("one"), value("two"), True, True, Step.TRY),
        (value("one"), value("two"), True, False, Step.WAIT),
    ],
)
def test_what_follows_from_what_a_source_shows(
    current: Credential | None, found: Credential, must_try: bool, may_try: bool, step: Step
) -> None:
    assert weigh(current, found, must_try=must_try, may_try=may_try) is step


@pytest.mark.parametrize(
    ("result", "current_fails", "adopted"),
    [
        (TrialResult.ACCEPTED, False, True),
        (TrialResult.ACCEPTED, True, True),
        (TrialResult.REFUSED, False, False),
        (TrialResult.REFUSED, True, False),
        (TrialResult.UNKNOWN, False, False),
        (TrialResult.UNKNOWN, True, True),
    ],
)
def test_what_follows_from_a_trial(result: TrialResult, current_fails: bool, adopted: bool) -> None:
    assert becomes_current(result, current_fails=current_fails) is adopted


CERTIFICATE = Credential("db", 1, {"tls.crt": b"c", "tls.key": b"k"})
NO_USER = Credential("db", 1, {"password": b"two"})


@pytest.mark.parametrize(
    ("current", "found", "tried", "words"),
    [
        (None, value(not_after=NOW), False, "has expired"),
        (value(), value(not_after=NOW - 1), True, "has expired"),
        (value(), NO_USER, False, "username is gone"),
        (value(), CERTIFICATE, False, "username is gone"),
        (NO_USER, CERTIFICATE, False, "password is gone"),
    ],
)
def test_a_value_that_is_expired_or_has_lost_something_must_not_become_current(
    current: Credential | None, found: Credential, tried: bool, words: str
) -> None:
    assert words in (flaw(current, found, clock=ManualClock(wall=NOW), tried=tried) or "")


@pytest.mark.parametrize(
    ("current", "found", "tried"),
    [
        (None, NO_USER, False),
        (value(), value("two", not_after=NOW + 1), False),
        (value(), NO_USER, True),
        (NO_USER, value(), False),
        (CERTIFICATE, CERTIFICATE, False),
    ],
)
def test_nothing_speaks_against_other_values(current: Credential | None, found: Credential, tried: bool) -> None:
    assert flaw(current, found, clock=ManualClock(wall=NOW), tried=tried) is None


@pytest.mark.parametrize(
    ("not_before", "not_after", "idle", "seconds"),
    [
        # Before the share of its life is over: exactly then, whatever was done meanwhile.
        (NOW, NOW + 300, 0, 200),
        (NOW - 100, NOW + 200, 99, 100),
        (None, NOW + 300, 0, 200),
        # After it: half of what is left, at most `poll` and at least `SOONEST` after the last look.
        (NOW - 200, NOW + 100, 0, 30),
        (NOW - 280, NOW + 20, 0, 10),
        (NOW - 280, NOW + 20, 4, 6),
        (NOW - 299, NOW + 1, 0, SOONEST),
        (NOW - 280, NOW + 20, 50, 0),
        # After its end, and when the clock jumped far: as often as any source is polled.
        (NOW - 300, NOW, 0, 30),
        (NOW - 300, NOW - 10_000, 12, 18),
        # A clock that was set back sees a life that has not begun.
        (NOW + 100, NOW + 400, 0, 300),
    ],
)
def test_a_value_is_renewed_when_two_thirds_of_its_life_are_over(
    not_before: float | None, not_after: float, idle: float, seconds: float
) -> None:
    credential = value(not_before=not_before, not_after=not_after)
    found = until_renewal(credential, now_wall=NOW, idle=idle, poll=30, spread=1.0)
    assert found == pytest.approx(seconds)


def test_a_value_without_an_end_is_never_renewed() -> None:
    assert until_renewal(value(), now_wall=NOW, idle=1e9, poll=30, spread=0.5) is None


@pytest.mark.parametrize(
    ("left", "wait"),
    [(None, LONGEST_RETRY), (-1.0, LONGEST_RETRY), (0.0, LONGEST_RETRY), (100.0, 25.0), (8.0, 2.0), (1.0, SOONEST)],
)
def test_a_source_that_fails_is_asked_more_often_the_nearer_the_end_is(left: float | None, wait: float) -> None:
    assert longest_wait(left) == wait
