"""Tasks with an owner."""

from __future__ import annotations

import asyncio

import pytest

from ambassador.kit.tasks import Tasks


class Failures:
    """What the owner hears."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, BaseException]] = []

    def __call__(self, name: str, error: BaseException) -> None:
        self.heard.append((name, error))


async def wait_for_ever() -> None:
    await asyncio.Event().wait()


async def test_a_task_has_a_name_and_is_counted_until_its_end() -> None:
    tasks = Tasks(Failures())
    gate = asyncio.Event()
    task = tasks.start(gate.wait(), name="at the gate")
    assert (task.get_name(), len(tasks)) == ("at the gate", 1)
    gate.set()
    await task
    await asyncio.sleep(0)
    assert len(tasks) == 0


async def test_a_failure_is_heard_with_the_name_of_the_task() -> None:
    failures = Failures()
    tasks = Tasks(failures)

    async def fail() -> None:
        raise ZeroDivisionError

    task = tasks.start(fail(), name="careless")
    with pytest.raises(ZeroDivisionError):
        await task
    ((name, error),) = failures.heard
    assert name == "careless"
    assert isinstance(error, ZeroDivisionError)
    assert len(tasks) == 0


async def test_stop_ends_all_and_is_no_failure() -> None:
    failures = Failures()
    tasks = Tasks(failures)
    running = [tasks.start(wait_for_ever(), name=str(number)) for number in range(3)]
    await asyncio.sleep(0)
    assert await tasks.stop(1) == ()
    assert all(task.cancelled() for task in running)
    assert (failures.heard, len(tasks)) == ([], 0)


async def test_stop_names_those_that_do_not_end_in_time() -> None:
    tasks = Tasks(Failures())
    gate = asyncio.Event()

    async def stubborn() -> None:
        while not gate.is_set():
            try:
                await gate.wait()
            except asyncio.CancelledError:
                continue

    task = tasks.start(stubborn(), name="stubborn")
    tasks.start(wait_for_ever(), name="meek")
    await asyncio.sleep(0)
    assert await tasks.stop(0.02) == ("stubborn",)
    gate.set()
    await task


async def test_stop_without_tasks_is_at_once() -> None:
    assert await Tasks(Failures()).stop(0) == ()


async def test_a_task_that_stops_its_owner_does_not_cancel_itself() -> None:
    tasks = Tasks(Failures())

    async def last() -> tuple[str, ...]:
        return await tasks.stop(1)

    tasks.start(wait_for_ever(), name="other")
    assert await tasks.start(last(), name="last") == ()


async def test_the_first_to_end_is_waited_for_and_the_others_are_cancelled() -> None:
    failed: list[str] = []
    tasks = Tasks(lambda name, _: failed.append(name))
    ended: list[str] = []

    async def stay() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("stay")

    async def fail() -> None:
        raise ValueError

    await tasks.first(stay(), asyncio.sleep(0), name="race")
    await turns()
    assert (ended, len(tasks)) == (["stay"], 0)
    await tasks.first(stay(), fail(), name="race")
    await turns()
    assert (ended, failed, len(tasks)) == (["stay"] * 2, ["race"], 0)


async def test_who_waits_for_the_first_may_be_cancelled() -> None:
    tasks = Tasks(lambda *_: None)
    waiting = asyncio.ensure_future(tasks.first(asyncio.Event().wait(), asyncio.Event().wait(), name="race"))
    await asyncio.sleep(0)
    waiting.cancel()
    await turns()
    assert (waiting.cancelled(), len(tasks)) == (True, 0)


async def turns() -> None:
    """Let the loop turn until whoever was cancelled has heard of it."""
    for _ in range(5):
        await asyncio.sleep(0)
