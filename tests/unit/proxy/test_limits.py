"""How long a session may last or be silent, as a table."""

from __future__ import annotations

import pytest

from ambassador.config.schema import Limits
from ambassador.errors import Reason
from ambassador.proxy.limits import LONGEST_SWEEP, overdue, sweep_interval

ALL = Limits(idle_timeout=10, idle_in_transaction_timeout=5, session_timeout=100)


def test_without_any_timeout_nothing_is_swept() -> None:
    assert sweep_interval(Limits()) is None


@pytest.mark.parametrize(
    ("limits", "interval"),
    [
        (Limits(idle_timeout=2), 0.5),
        (Limits(idle_in_transaction_timeout=0.4), 0.1),
        (Limits(session_timeout=3600), LONGEST_SWEEP),
        (Limits(idle_timeout=60, session_timeout=1), 0.25),
    ],
)
def test_sweeps_come_four_times_in_the_shortest_timeout_and_once_a_second_at_least(
    limits: Limits, interval: float
) -> None:
    assert sweep_interval(limits) == interval


@pytest.mark.parametrize(
    ("age", "quiet", "waiting", "in_transaction", "expected"),
    [
        (9.9, 9.9, True, False, None),
        (10, 10, True, False, Reason.IDLE_TIMEOUT),
        (50, 9.9, True, False, None),
        (50, 50, False, False, None),
        (50, 50, False, True, None),
        (50, 4.9, True, True, None),
        (50, 5, True, True, Reason.IDLE_IN_TRANSACTION_TIMEOUT),
        (99.9, 0, True, False, None),
        (100, 0, True, False, Reason.SESSION_TIMEOUT),
        (100, 0, False, True, Reason.SESSION_TIMEOUT),
        (100, 50, True, True, Reason.SESSION_TIMEOUT),
    ],
)
def test_the_judgement(age: float, quiet: float, waiting: bool, in_transaction: bool, expected: Reason | None) -> None:
    assert overdue(ALL, age=age, quiet=quiet, waiting=waiting, in_transaction=in_transaction) is expected


@pytest.mark.parametrize("in_transaction", [True, False])
def test_what_has_no_limit_is_never_overdue(in_transaction: bool) -> None:
    assert overdue(Limits(), age=1e9, quiet=1e9, waiting=True, in_transaction=in_transaction) is None


def test_the_limit_inside_a_transaction_is_not_the_one_outside() -> None:
    only_idle = Limits(idle_timeout=1)
    assert overdue(only_idle, age=50, quiet=50, waiting=True, in_transaction=True) is None
    only_inside = Limits(idle_in_transaction_timeout=1)
    assert overdue(only_inside, age=50, quiet=50, waiting=True, in_transaction=False) is None
