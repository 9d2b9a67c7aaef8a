"""A value that changes, and those who want to know."""

from __future__ import annotations

import asyncio

import pytest

from ambassador.kit.cell import Cell


def test_the_value_is_read_without_waiting() -> None:
    cell = Cell("old")
    assert cell.value == "old"


async def test_setting_tells_subscribers_in_order() -> None:
    cell = Cell(0)
    told: list[tuple[str, int]] = []
    cell.subscribe(lambda value: told.append(("first", value)))
    cell.subscribe(lambda value: told.append(("second", value)))
    cell.set(7)
    assert (cell.value, told) == (7, [("first", 7), ("second", 7)])


async def test_a_subscription_ends_and_ending_it_twice_does_nothing() -> None:
    cell = Cell(0)
    told: list[int] = []
    unsubscribe = cell.subscribe(told.append)
    unsubscribe()
    unsubscribe()
    cell.set(1)
    assert told == []


async def test_a_subscriber_may_leave_while_being_told() -> None:
    cell = Cell(0)
    told: list[int] = []

    def once(value: int) -> None:
        told.append(value)
        unsubscribe()

    unsubscribe = cell.subscribe(once)
    cell.subscribe(told.append)
    cell.set(1)
    cell.set(2)
    assert told == [1, 1, 2]


async def test_all_who_wait_are_woken_by_the_next_value() -> None:
    cell = Cell(0)
    waiting = asyncio.gather(cell.changed(), cell.changed())
    await asyncio.sleep(0)
    cell.set(5)
    assert list(await waiting) == [5, 5]


async def test_a_value_set_before_the_wait_does_not_count() -> None:
    cell = Cell(0)
    cell.set(1)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await cell.changed()


async def test_a_waiter_that_comes_late_sees_the_newest_value() -> None:
    cell = Cell(0)
    waiting = asyncio.gather(cell.changed())
    await asyncio.sleep(0)
    cell.set(1)
    cell.set(2)
    assert list(await waiting) == [2]
