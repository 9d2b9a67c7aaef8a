"""The end of a lease, as a calculation."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ambassador.credentials.lease import CUT_MARGIN, ENDED, Stage, margin, settled, stage, until_next

NOW = 1000.0
CURRENT, RETIRING, LEAVING, CUT, REVOKED, LAPSED = Stage


@pytest.mark.parametrize(
    ("duration", "seconds"),
    [(0.0, 0.0), (1.0, 0.5), (5.0, 2.0), (10.0, 2.0), (25.0, 5.0), (300.0, 60.0), (86400.0, 60.0)],
)
def test_users_are_told_a_fifth_before_the_end_within_bounds(duration: float, seconds: float) -> None:
    assert margin(duration) == seconds


@pytest.mark.parametrize(
    ("left", "users", "before", "after"),
    [
        # Of 100 s: told to go when 20 are left, cut when 10 are.
        (100.0, 3, RETIRING, RETIRING),
        (20.5, 3, RETIRING, RETIRING),
        (20.0, 3, RETIRING, LEAVING),
        (10.5, 3, LEAVING, LEAVING),
        (10.0, 3, LEAVING, CUT),
        (0.5, 1, CUT, CUT),
        (0.0, 1, CUT, LAPSED),
        # Nobody uses it.
        (100.0, 0, RETIRING, REVOKED),
        (15.0, 0, LEAVING, REVOKED),
        (5.0, 0, CUT, REVOKED),
        (0.0, 0, RETIRING, LAPSED),
        (-50.0, 0, LEAVING, LAPSED),
        # We come late: a busy loop, a laptop that slept. Whoever was not told is told before he is cut.
        (5.0, 3, RETIRING, LEAVING),
        (0.0, 3, RETIRING, LEAVING),
        (-50.0, 3, RETIRING, LEAVING),
        (-50.0, 3, LEAVING, CUT),
        (-50.0, 3, CUT, LAPSED),
        (-50.0, 0, CUT, LAPSED),
        # It never goes back: a longer term may not come, but clocks and terms are others' words.
        (100.0, 3, LEAVING, LEAVING),
        (100.0, 3, CUT, CUT),
        (100.0, 3, CURRENT, RETIRING),
        # What is over is over.
        (100.0, 3, REVOKED, REVOKED),
        (100.0, 0, LAPSED, LAPSED),
        (-5.0, 3, REVOKED, REVOKED),
    ],
)
def test_where_a_lease_stands(left: float, users: int, before: Stage, after: Stage) -> None:
    assert stage(NOW, ends_at=NOW + left, duration=100.0, users=users, before=before) is after


@pytest.mark.parametrize(
    ("left", "at", "seconds"),
    [
        (100.0, CURRENT, 80.0),
        (100.0, RETIRING, 80.0),
        (20.0, RETIRING, 0.0),
        (5.0, RETIRING, 0.0),
        (20.0, LEAVING, 10.0),
        (5.0, LEAVING, 0.1),
        (-50.0, LEAVING, 0.1),
        (10.0, CUT, 10.0),
        (0.05, CUT, 0.1),
        (-50.0, CUT, 0.1),
    ],
)
def test_when_it_moves_on(left: float, at: Stage, seconds: float) -> None:
    assert until_next(NOW, ends_at=NOW + left, duration=100.0, at=at) == pytest.approx(seconds)


@pytest.mark.parametrize(("left", "seconds"), [(100.0, 1.0), (2.0, 1.0), (1.0, 0.5), (0.0, 0.0), (-50.0, 0.0)])
def test_however_late_its_successor_comes_its_users_have_a_moment(left: float, seconds: float) -> None:
    """Who has logged in just before has not said a word yet."""
    ends_at = NOW + left
    settled_at = settled(NOW, ends_at)
    assert settled_at == NOW + seconds

    def at(now: float) -> Stage:
        return stage(now, ends_at=ends_at, duration=100.0, users=3, before=RETIRING, settled_at=settled_at)

    assert at(settled_at) is (RETIRING if left == 100.0 else LEAVING)
    if seconds:
        assert at(NOW) is RETIRING
        wait = until_next(NOW, ends_at=ends_at, duration=100.0, at=RETIRING, settled_at=settled_at)
        assert wait == (80.0 if left == 100.0 else seconds)


TIMES = st.floats(0.0, 1e7)


@given(
    ends_at=TIMES,
    duration=TIMES,
    at=st.sampled_from([RETIRING, LEAVING, CUT]),
    share=st.sampled_from([1.0, CUT_MARGIN, 0.0]),
    beside=st.integers(-2, 2),
)
def test_where_there_is_nothing_to_wait_for_it_moves(
    ends_at: float, duration: float, at: Stage, share: float, beside: int
) -> None:
    """Otherwise whoever waits would not wait at all, over and over; so to the last bit around each moment."""
    now = ends_at - margin(duration) * share
    for _ in range(abs(beside)):
        now = math.nextafter(now, math.copysign(math.inf, beside))
    if until_next(now, ends_at=ends_at, duration=duration, at=at) == 0.0:
        assert stage(now, ends_at=ends_at, duration=duration, users=1, before=at) is not at


@given(ends_at=TIMES, duration=TIMES, start=TIMES, lateness=st.lists(st.floats(0.0, 1e4), min_size=1, max_size=20))
def test_used_to_the_end_it_is_told_then_cut_then_lapses_however_late_we_wake(
    ends_at: float, duration: float, start: float, lateness: list[float]
) -> None:
    now, at, seen = start, RETIRING, [RETIRING]
    for step in range(1000):
        at = stage(now, ends_at=ends_at, duration=duration, users=1, before=at)
        if at is not seen[-1]:
            seen.append(at)
        if at in ENDED:
            break
        now += until_next(now, ends_at=ends_at, duration=duration, at=at) + lateness[step % len(lateness)] + 1e-6
    assert seen == [RETIRING, LEAVING, CUT, LAPSED]


@given(now=TIMES, ends_at=TIMES, duration=TIMES, at=st.sampled_from([RETIRING, LEAVING, CUT]))
def test_without_users_it_is_over_at_once(now: float, ends_at: float, duration: float, at: Stage) -> None:
    found = stage(now, ends_at=ends_at, duration=duration, users=0, before=at)
    assert found is (REVOKED if now < ends_at else LAPSED)
