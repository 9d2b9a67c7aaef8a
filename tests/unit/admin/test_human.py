from __future__ import annotations

import pytest

from ambassador.admin.human import count, size, span, when


@pytest.mark.parametrize(
    ("octets", "shown"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (101_000, "98.6 KiB"),
        (200_000, "195 KiB"),
        (10 * 2**20, "10.0 MiB"),
        (3 * 2**30, "3.0 GiB"),
        (2**40, "1.0 TiB"),
        (5000 * 2**40, "5000 TiB"),
    ],
)
def test_sizes_have_the_unit_that_keeps_them_short(octets: int, shown: str) -> None:
    assert size(octets) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (None, "–"),  # noqa: RUF001 - the dash that is shown
        (-3.0, "0 ms"),
        (0.25, "250 ms"),
        (1.0, "1 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (185, "3 min 5 s"),
        (3600, "1 h"),
        (3605, "1 h"),
        (4320, "1 h 12 min"),
        (274_000, "3 d 4 h"),
        (86_460, "1 d"),
    ],
)
def test_durations_have_their_two_largest_units(seconds: float | None, shown: str) -> None:
    assert span(seconds) == shown


def test_thousands_stand_apart() -> None:
    assert count(1_234_567) == "1\u202f234\u202f567"
    assert count(7) == "7"


def test_moments_are_utc_to_the_second_and_absent_ones_a_dash() -> None:
    assert when(1_790_000_000.5) == "2026-09-21 14:13:20 UTC"
    assert when(None) == when(1e20) == "\N{EN DASH}"
