"""Blocking calls, a few at a time, each with a deadline."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from ambassador.credentials.vault.threads import Threads


async def test_what_is_returned_and_raised_comes_back() -> None:
    threads = Threads("test", 2)
    assert await threads.run(lambda: 5, 1.0) == 5

    def fails() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await threads.run(fails, 1.0)


async def test_calls_run_beside_the_loop_in_threads_of_that_name() -> None:
    name = await Threads("vault main", 1).run(lambda: threading.current_thread().name, 1.0)
    assert name == "vault main"


async def test_no_more_than_so_many_run_at_once_and_all_get_their_turn() -> None:
    threads, lock = Threads("test", 3), threading.Lock()
    running, most = 0, 0

    def work() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.01)
        with lock:
            running -= 1

    await asyncio.gather(*(threads.run(work, 5.0) for _ in range(20)))
    assert (most, running) == (3, 0)


async def test_a_call_that_takes_too_long_is_given_up_and_holds_its_place_until_it_ends() -> None:
    threads, gate = Threads("test", 1), threading.Event()
    with pytest.raises(TimeoutError):
        await threads.run(gate.wait, 0.05)
    with pytest.raises(TimeoutError):
        await threads.run(lambda: None, 0.05)
    gate.set()
    assert await threads.run(lambda: "next", 5.0) == "next"


async def test_who_gives_up_while_waiting_for_a_turn_takes_none() -> None:
    threads, gate = Threads("test", 1), threading.Event()
    first = asyncio.ensure_future(threads.run(gate.wait, 5.0))
    await asyncio.sleep(0.01)
    second = asyncio.ensure_future(threads.run(lambda: None, 5.0))
    await asyncio.sleep(0.01)
    second.cancel()
    await asyncio.wait([second])
    gate.set()
    await first
    assert await threads.run(lambda: 1, 5.0) == 1


async def test_a_failure_that_nobody_waits_for_any_more_is_nobody_s() -> None:
    threads, gate = Threads("test", 1), threading.Event()

    def fails() -> None:
        gate.wait()
        raise ValueError("late")

    with pytest.raises(TimeoutError):
        await threads.run(fails, 0.05)
    gate.set()
    assert await threads.run(lambda: 1, 5.0) == 1


def test_a_call_that_outlives_the_loop_is_forgotten() -> None:
    gate, begun = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        gate.wait()

    async def main() -> None:
        with pytest.raises(TimeoutError):
            await Threads("test", 1).run(work, 0.05)

    asyncio.run(main())
    (left,) = [thread for thread in threading.enumerate() if thread.name == "test"]
    assert left.daemon
    assert begun.is_set()
    gate.set()
    left.join(5.0)
    assert not left.is_alive()


async def test_what_comes_in_the_moment_in_which_it_is_given_up_is_not_lost() -> None:
    threads, go, late = Threads("late", 1), threading.Event(), list[int]()

    def work() -> int:
        go.wait(5.0)
        return 7

    asking = asyncio.ensure_future(threads.run(work, 5.0, late.append))
    await asyncio.sleep(0.01)
    go.set()
    (thread,) = [one for one in threading.enumerate() if one.name == "late"]
    thread.join(5.0)  # the answer is here before anybody could look
    asyncio.get_running_loop().call_soon(asking.cancel)
    await asyncio.wait([asking])
    assert asking.cancelled()
    assert late == [7]


async def test_what_comes_too_late_is_not_lost() -> None:
    threads, go, late = Threads("late", 1), threading.Event(), asyncio.Queue[int]()

    def work() -> int:
        go.wait(5.0)
        return 7

    with pytest.raises(TimeoutError):
        await threads.run(work, 0.01, late.put_nowait)
    quiet = asyncio.ensure_future(threads.quiet())
    await asyncio.sleep(0)
    assert not quiet.done()
    go.set()
    async with asyncio.timeout(5.0):
        assert await late.get() == 7
        await quiet


async def test_a_call_has_all_its_time_however_long_it_has_waited_for_its_turn() -> None:
    threads = Threads("turns", 1)
    calls = [threads.run(lambda: time.sleep(0.3), 0.5) for _ in range(2)]
    assert await asyncio.gather(*calls) == [None, None]
