"""So many at once, and then one more every so often."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ambassador.kit.pace import Pace
from tests.support.clock import ManualClock


async def test_a_burst_is_free_and_then_there_is_one_more_every_so_often() -> None:
    clock = ManualClock()
    pace = Pace(3, 5.0, clock)
    for _ in range(3):
        assert pace.wait() == 0.0
        pace.spend()
    assert pace.wait() == pytest.approx(5.0)
    await clock.advance(4.0)
    assert pace.wait() == pytest.approx(1.0)
    await clock.advance(1.0)
    assert pace.wait() == 0.0
    pace.spend()
    assert pace.wait() == pytest.approx(5.0)


async def test_rest_fills_it_again_but_not_beyond_its_burst() -> None:
    clock = ManualClock()
    pace = Pace(2, 5.0, clock)
    pace.spend()
    await clock.advance(3600)
    pace.spend()
    pace.spend()
    assert pace.wait() == pytest.approx(5.0)


def test_who_does_not_wait_goes_into_debt() -> None:
    pace = Pace(1, 5.0, ManualClock())
    for _ in range(3):
        pace.spend()
    assert pace.wait() == 15.0


class Moved(ManualClock):
    """Time that a test sets."""

    def set(self, now: float) -> None:
        self._move(now)


@given(st.lists(st.floats(0.0, 100.0), max_size=50), st.integers(1, 5), st.floats(0.1, 60.0))
def test_no_more_than_the_burst_and_one_each_time_get_through(rests: list[float], burst: int, every: float) -> None:
    clock = Moved()
    pace = Pace(burst, every, clock)
    began, spent = clock.now(), 0
    for rest in rests:
        clock.set(clock.now() + rest)
        if pace.wait() == 0.0:
            pace.spend()
            spent += 1
        assert spent <= burst + (clock.now() - began) / every + 1e-6
