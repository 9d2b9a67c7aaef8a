"""What becomes of the units of work."""

from __future__ import annotations

from ambassador.telemetry.requests import RequestMetrics


def test_at_first_nothing_was_done() -> None:
    counts = RequestMetrics()
    assert (counts.ok, counts.error, counts.refused) == (0, 0, 0)
    assert (counts.seconds.count, counts.error_seconds.count) == (0, 0)


def test_it_holds_no_place_once_its_listener_is_gone() -> None:
    assert RequestMetrics().idle


def test_what_went_well_and_what_did_not_are_kept_apart() -> None:
    counts = RequestMetrics()
    counts.ok += 3
    counts.error += 1
    counts.refused += 2
    counts.seconds.observe(0.001)
    counts.error_seconds.observe(7.0)
    assert (counts.ok, counts.error, counts.refused) == (3, 1, 2)
    assert (counts.seconds.sum, counts.error_seconds.sum) == (0.001, 7.0)
