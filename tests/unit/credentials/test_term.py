"""For how long something is granted, and what it needs when."""

from __future__ import annotations

import pytest

from ambassador.credentials.term import AHEAD, Care, Term, care_after


def test_it_ends_after_its_duration_and_needs_care_at_two_thirds() -> None:
    term = Term(1000.0, 90.0, renewable=True)
    assert (term.ends_at, term.due_at(), term.at(0.5)) == (1090.0, 1060.0, 1045.0)


def test_what_has_no_end_needs_no_care() -> None:
    term = Term(1000.0, float("inf"), renewable=False)
    assert (term.ends_at, term.due_at()) == (float("inf"), float("inf"))


@pytest.mark.parametrize(
    ("life", "after"),
    [(3600.0, 2400.0), (90.0, 60.0), (18.0, 12.0), (17.0, 11.0), (12.0, 6.0), (10.0, 4.0), (5.0, 2.0), (0.0, 0.0)],
)
def test_care_begins_early_enough_for_a_slow_answer_where_the_life_is_short(life: float, after: float) -> None:
    assert care_after(life) == pytest.approx(after)
    assert care_after(life, 0.5) == pytest.approx(after / 2)
    assert life - care_after(life) >= min(AHEAD, 0.6 * life)


@pytest.mark.parametrize(
    ("renewable", "first", "granted", "care"),
    [
        (True, 0.0, 3600.0, Care.RENEW),
        (False, 0.0, 3600.0, Care.REPLACE),
        (True, 3600.0, 3600.0, Care.RENEW),
        (True, 3600.0, 3239.0, Care.RENEW),
        (True, 3600.0, 3238.0, Care.REPLACE),
        (True, 4.0, 3.0, Care.RENEW),
        (True, 4.0, 2.0, Care.REPLACE),
        (True, 3600.0, 0.0, Care.REPLACE),
        (False, 3600.0, 3600.0, Care.REPLACE),
        (True, 60.0, 3600.0, Care.RENEW),
        (True, 0.0, float("inf"), Care.RENEW),
    ],
)
def test_it_is_renewed_until_a_renewal_grants_clearly_less(
    renewable: bool, first: float, granted: float, care: Care
) -> None:
    assert Term(0.0, granted, renewable, first).care is care


def test_a_renewal_counts_from_its_own_moment_and_remembers_what_was_granted_first() -> None:
    first = Term(1000.0, 90.0, renewable=True)
    second = first.renewed(85.0, 1060.0)
    assert (second.granted_at, second.duration, second.first, second.ends_at) == (1060.0, 85.0, 90.0, 1145.0)
    third = second.renewed(20.0, 1120.0)
    assert (third.first, third.care, third.ends_at) == (90.0, Care.REPLACE, 1140.0)
    assert third.renewable


def test_a_longest_life_in_the_middle_of_a_term_is_seen_in_time() -> None:
    """10 s at a time and 25 s in all, renewed at two thirds: the capped term leaves time to replace it."""
    clock, term = 0.0, Term(0.0, 10.0, renewable=True)
    while term.care is Care.RENEW:
        clock = term.due_at()
        term = term.renewed(min(10.0, 25.0 - clock), clock)
    assert term.ends_at == 25.0
    assert 3.0 < term.ends_at - clock < 7.0
