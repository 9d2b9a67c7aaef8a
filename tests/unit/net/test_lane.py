"""A lane passes on and counts."""

from __future__ import annotations

import pytest

from ambassador.net.lane import Lane
from ambassador.net.taker import NOWHERE, Giving, Taker


def refuse(chunk: bytes) -> None:
    raise ZeroDivisionError


class Looking(Lane):
    """Looks at what passes, as a protocol does."""

    def __init__(self, to: Taker) -> None:
        super().__init__(to)
        self.seen: list[bytes] = []

    def take(self, chunk: bytes) -> None:
        self.seen.append(chunk)
        super().take(chunk)


def test_a_new_lane_has_passed_nothing() -> None:
    assert Lane(NOWHERE).count == 0


def test_what_a_lane_takes_goes_on_as_it_is_and_is_counted() -> None:
    chunks: list[bytes] = []
    lane = Lane(Giving(chunks.append))
    for chunk in (b"one", b"\0", bytes(70_000)):
        lane.take(chunk)
    assert chunks == [b"one", b"\0", bytes(70_000)]
    assert lane.count == 70_004


def test_a_lane_that_counts_more_than_fits_in_32_bits_goes_on() -> None:
    lane = Lane(NOWHERE)
    lane.count = (1 << 40) - 1
    lane.take(b"xy")
    assert lane.count == (1 << 40) + 1


def test_a_lane_can_be_led_elsewhere() -> None:
    first: list[bytes] = []
    second: list[bytes] = []
    lane = Lane(Giving(first.append))
    lane.take(b"one")
    lane.to = Giving(second.append)
    lane.take(b"two")
    assert (first, second) == ([b"one"], [b"two"])
    assert lane.count == 6


def test_lanes_can_stand_one_behind_the_other() -> None:
    chunks: list[bytes] = []
    lane = Lane(Lane(Giving(chunks.append)))
    lane.take(b"x")
    assert chunks == [b"x"]


def test_what_the_next_one_raises_comes_out() -> None:
    lane = Lane(Giving(refuse))
    with pytest.raises(ZeroDivisionError):
        lane.take(b"x")


def test_a_protocol_may_look_at_what_passes() -> None:
    chunks: list[bytes] = []
    lane = Looking(Giving(chunks.append))
    Lane(lane).take(b"x")
    assert lane.seen == chunks == [b"x"]
    assert lane.count == 1
