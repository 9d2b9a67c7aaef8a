"""The machine's clocks."""

from __future__ import annotations

import time

from ambassador.kit.clock import SYSTEM


def test_now_goes_on_while_the_machine_sleeps() -> None:
    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    assert before <= SYSTEM.now() <= time.clock_gettime(time.CLOCK_BOOTTIME)


def test_wall_is_the_date() -> None:
    before = time.time()
    assert before <= SYSTEM.wall() <= time.time()


async def test_sleeping_takes_its_time() -> None:
    before = SYSTEM.now()
    await SYSTEM.sleep(0.03)
    assert 0.025 <= SYSTEM.now() - before < 5
