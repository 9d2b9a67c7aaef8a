"""Time that passes only when a test says so."""

from __future__ import annotations

import asyncio

from ambassador.kit.clock import Clock
from tests.support.clock import ManualClock


async def test_a_sleeper_wakes_when_its_time_has_passed_and_not_before() -> None:
    manual = ManualClock()
    clock: Clock = manual
    woken: list[float] = []

    async def sleeper(seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append(clock.now())

    tasks = [asyncio.ensure_future(sleeper(seconds)) for seconds in (3.0, 1.0)]
    start = clock.now()
    await manual.advance(0.5)
    assert not woken
    assert manual.sleepers == 2
    await manual.advance(10.0)
    assert woken == [start + 1.0, start + 3.0]
    assert clock.now() == start + 10.5
    await asyncio.gather(*tasks)


async def test_what_a_woken_sleeper_starts_within_the_span_is_woken_too() -> None:
    clock = ManualClock()
    ticks: list[float] = []

    async def ticker() -> None:
        while True:
            await clock.sleep(1.0)
            ticks.append(clock.now())

    task = asyncio.ensure_future(ticker())
    start = clock.now()
    await clock.advance(3.0)
    assert ticks == [start + 1, start + 2, start + 3]
    task.cancel()
    await asyncio.wait([task])


async def test_a_cancelled_sleeper_is_passed_over() -> None:
    clock = ManualClock()
    task = asyncio.ensure_future(clock.sleep(1.0))
    await clock.settle()
    task.cancel()
    await asyncio.wait([task])
    await clock.advance(2.0)
    assert clock.sleepers == 0


async def test_both_clocks_pass_together_and_only_the_wall_clock_jumps() -> None:
    clock = ManualClock(now=10.0, wall=1000.0)
    await clock.advance(5.0)
    assert (clock.now(), clock.wall()) == (15.0, 1005.0)
    clock.jump(-100.0)
    assert (clock.now(), clock.wall()) == (15.0, 905.0)
    await clock.sleep(0.0)
    assert clock.now() == 15.0
