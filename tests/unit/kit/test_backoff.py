"""Delays that grow, with jitter."""

from __future__ import annotations

import random

from ambassador.kit.backoff import Backoff


class Highest(random.Random):
    """Draws the top of every range."""

    def uniform(self, a: float, b: float) -> float:
        return b


def test_the_ceiling_doubles_up_to_its_cap() -> None:
    backoff = Backoff(1.0, 5.0, rng=Highest())
    assert [backoff.next() for _ in range(5)] == [1.0, 2.0, 4.0, 5.0, 5.0]


def test_a_success_begins_anew() -> None:
    backoff = Backoff(1.0, 60.0, rng=Highest())
    backoff.next()
    backoff.next()
    backoff.reset()
    assert backoff.next() == 1.0


def test_delays_are_spread_over_the_whole_range() -> None:
    backoff = Backoff(8.0, 8.0, rng=random.Random(1))
    delays = [backoff.next() for _ in range(1000)]
    assert min(delays) < 0.2
    assert max(delays) > 7.8
    assert 3.6 < sum(delays) / len(delays) < 4.4


def test_no_delay_is_below_the_floor() -> None:
    backoff = Backoff(0.1, 10.0, floor=0.05, rng=random.Random(1))
    assert all(backoff.next() >= 0.05 for _ in range(1000))


def test_two_of_them_do_not_march_in_step() -> None:
    first, second = Backoff(1.0, 60.0), Backoff(1.0, 60.0)
    assert [first.next() for _ in range(5)] != [second.next() for _ in range(5)]
