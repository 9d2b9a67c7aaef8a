from __future__ import annotations

import pytest

from ambassador.telemetry.histogram import FAST, LIVES, Histogram


def test_a_duration_falls_into_the_first_bucket_that_is_not_below_it() -> None:
    histogram = Histogram((0.1, 1.0))
    for seconds in (0.05, 0.1, 0.5, 7.0):
        histogram.observe(seconds)
    assert histogram.buckets() == [("0.1", 2), ("1.0", 3), ("+Inf", 4)]
    assert histogram.count == 4
    assert histogram.sum == pytest.approx(7.65)


def test_an_unused_histogram_has_all_its_buckets_empty() -> None:
    assert Histogram((0.1, 1.0)).buckets() == [("0.1", 0), ("1.0", 0), ("+Inf", 0)]


@pytest.mark.parametrize("bounds", [(), (1.0, 1.0), (2.0, 1.0)])
def test_bounds_that_do_not_ascend_are_refused(bounds: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="ascend"):
        Histogram(bounds)


@pytest.mark.parametrize("bounds", [FAST, LIVES])
def test_the_bounds_we_use_ascend(bounds: tuple[float, ...]) -> None:
    assert len(Histogram(bounds).buckets()) == len(bounds) + 1
