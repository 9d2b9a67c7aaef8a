"""The machine that knows how an endpoint stands: every transition of its picture."""

from __future__ import annotations

import pytest

from ambassador.upstreams.health import EJECT_AFTER, FIRST_EJECTION, LONGEST_EJECTION, Health, Standing


def ejected(now: float = 0.0) -> Health:
    health = Health()
    for _ in range(EJECT_AFTER):
        health.failed("connect_failed", now)
    return health


def probing(now: float = 0.0) -> Health:
    health = ejected(now)
    health.chosen(now + FIRST_EJECTION)
    assert health.standing is Standing.PROBING
    return health


def test_nothing_is_known_at_first_and_it_may_be_tried() -> None:
    health = Health()
    assert health.standing is Standing.UNKNOWN
    assert health.usable(0.0)
    assert health.last_error is None


@pytest.mark.parametrize("make", [Health, ejected, probing])
def test_an_answer_makes_it_healthy_whatever_was_before(make: type[Health]) -> None:
    health = make()
    health.answered()
    assert health.standing is Standing.HEALTHY
    assert health.usable(0.0)
    assert health.last_error is None


def test_a_first_failure_makes_it_suspect_and_is_remembered() -> None:
    health = Health()
    health.failed("connect_timeout", 0.0)
    assert health.standing is Standing.SUSPECT
    assert health.usable(0.0)
    assert health.last_error == "connect_timeout"


def test_failures_in_a_row_eject() -> None:
    health = Health()
    usable = []
    for _ in range(EJECT_AFTER):
        usable.append(health.usable(0.0))
        health.failed("connect_failed", 0.0)
    assert all(usable)
    assert health.standing is Standing.EJECTED
    assert not health.usable(0.0)


def test_failures_that_are_not_in_a_row_do_not_eject() -> None:
    health = Health()
    for _ in range(EJECT_AFTER * 3):
        health.failed("connect_failed", 0.0)
        health.answered()
    assert health.standing is Standing.HEALTHY


def test_an_ejection_ends_with_one_probe() -> None:
    health = ejected(now=10.0)
    assert not health.usable(10.0 + FIRST_EJECTION - 0.01)
    assert health.usable(10.0 + FIRST_EJECTION)
    health.chosen(10.0 + FIRST_EJECTION)
    assert health.standing is Standing.PROBING
    assert not health.usable(10.0 + FIRST_EJECTION), "others wait for what the probe says"


def test_being_chosen_before_the_ejection_is_over_is_no_probe() -> None:
    health = ejected(now=10.0)
    health.chosen(10.0)
    assert health.standing is Standing.EJECTED


def test_being_chosen_changes_nothing_for_one_in_good_standing() -> None:
    health = Health()
    health.chosen(0.0)
    assert health.standing is Standing.UNKNOWN


def test_each_failed_probe_ejects_for_twice_as_long_up_to_a_bound() -> None:
    health, now = ejected(), 0.0
    span = FIRST_EJECTION
    for _ in range(10):
        now += span
        assert health.usable(now)
        health.chosen(now)
        health.failed("connect_failed", now)
        assert health.standing is Standing.EJECTED
        span = min(LONGEST_EJECTION, span * 2)
        assert not health.usable(now + span - 0.01)
    assert span == LONGEST_EJECTION


def test_an_answer_makes_the_next_ejection_short_again() -> None:
    health = ejected()
    health.chosen(FIRST_EJECTION)
    health.failed("connect_failed", FIRST_EJECTION)
    health.answered()
    for _ in range(EJECT_AFTER):
        health.failed("connect_failed", 100.0)
    assert health.usable(100.0 + FIRST_EJECTION)


def test_a_failure_of_a_try_begun_before_the_ejection_prolongs_it() -> None:
    health = ejected(now=0.0)
    health.failed("connect_failed", 0.5)
    assert health.standing is Standing.EJECTED
    assert not health.usable(0.5 + FIRST_EJECTION)
    assert health.usable(0.5 + FIRST_EJECTION * 2)


def test_an_abandoned_probe_is_made_by_the_next() -> None:
    health = probing(now=0.0)
    health.abandoned()
    assert health.usable(FIRST_EJECTION)
    health.chosen(FIRST_EJECTION)
    assert health.standing is Standing.PROBING


def test_an_abandoned_try_says_nothing_against_an_endpoint() -> None:
    health = Health()
    health.abandoned()
    assert health.standing is Standing.UNKNOWN
