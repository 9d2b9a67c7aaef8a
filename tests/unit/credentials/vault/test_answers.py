"""Reading answers that anything may have been done to."""

from __future__ import annotations

from typing import Any

import pytest

from ambassador.credentials.vault.answers import block, moment, seconds, text

NOTHING: list[Any] = [None, True, "5", b"5", [], {}, -1, -0.5, float("nan"), float("inf"), 10**30]


@pytest.mark.parametrize("answer", [None, "text", 5, [], [{"data": {}}], {}, {"data": None}, {"data": []}, {"data": 1}])
def test_what_has_no_such_object_has_none(answer: Any) -> None:
    assert block(answer, "data") is None


def test_an_object_is_found_even_if_empty() -> None:
    assert block({"data": {}}, "data") == {}
    assert block({"data": {"a": 1}, "auth": None}, "data") == {"a": 1}


@pytest.mark.parametrize("holder", [{}, {"a": ""}, {"a": None}, {"a": 5}, {"a": ["x"]}, {"a": b"x"}])
def test_what_is_no_text_is_none(holder: dict[str, Any]) -> None:
    assert text(holder, "a") is None


def test_text_is_as_it_is() -> None:
    assert text({"a": " x\n"}, "a") == " x\n"


@pytest.mark.parametrize("value", NOTHING)
def test_what_is_no_duration_is_none(value: Any) -> None:
    assert seconds(value) is None


@pytest.mark.parametrize(("value", "found"), [(0, 0.0), (60, 60.0), (0.5, 0.5), (10**12, 10 * 365 * 86400.0)])
def test_durations_are_seconds_within_reason(value: float, found: float) -> None:
    assert seconds(value) == found


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (1769860800, 1769860800.0),
        ("2026-01-31T12:00:00Z", 1769860800.0),
        ("2026-01-31T12:00:00.000000000Z", 1769860800.0),
        ("2026-01-31T12:00:00.123456789Z", 1769860800.123456),
        ("2026-01-31T13:00:00+01:00", 1769860800.0),
        ("0001-01-01T00:00:00Z", -62135596800.0),
    ],
)
def test_dates_are_wall_seconds_however_they_are_written(value: Any, found: float) -> None:
    assert moment(value) == found


@pytest.mark.parametrize(
    "value", [*(value for value in NOTHING if value != "5"), "", "soon", "2026-01-31T12:00:00", "2026-13-01T00:00:00Z"]
)
def test_what_is_no_date_is_none(value: Any) -> None:
    assert moment(value) is None
