"""The watch over leaks itself: it sees what it should, and is quiet about what ends."""

from __future__ import annotations

import asyncio
import os
import subprocess
import threading
from pathlib import Path

import pytest

from tests.support.leaks import Holdings, holdings, left_behind, tasks_left

EMPTY = Holdings({}, {}, {})


def test_an_open_file_is_left_behind() -> None:
    before = holdings()
    with Path("/dev/null").open("rb") as file:
        assert left_behind(before, patience=0) == [f"descriptor {file.fileno()} (/dev/null)"]
    assert left_behind(before) == []


def test_a_descriptor_whose_number_was_used_again_for_something_else_is_seen() -> None:
    earlier = Holdings({7: "socket:[1]"}, {}, {})
    assert earlier.growth(Holdings({7: "socket:[2]"}, {}, {})) == ["descriptor 7 (socket:[2])"]


def test_what_went_away_is_no_growth() -> None:
    assert Holdings({7: "pipe:[1]"}, {1: "worker"}, {2: "psql"}).growth(EMPTY) == []


def test_a_running_thread_is_left_behind_by_name() -> None:
    before = holdings()
    go = threading.Event()
    thread = threading.Thread(target=go.wait, name="lingering")
    thread.start()
    found = left_behind(before, patience=0)
    go.set()
    thread.join()
    assert [line.split()[0] + line[line.index("(") :] for line in found] == ["thread(lingering)"]


def test_a_thread_that_is_about_to_end_is_given_a_moment() -> None:
    before = holdings()
    go = threading.Event()
    thread = threading.Thread(target=go.wait, args=(0.05,))
    thread.start()
    assert left_behind(before, patience=5) == []


def test_a_child_process_is_left_behind_until_someone_waits_for_it() -> None:
    before = holdings()
    with subprocess.Popen(["true"]) as child:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        found = left_behind(before, patience=0)
        assert len(found) == 1
        assert found[0].startswith(f"child process {child.pid} ")
    assert left_behind(before) == []


def test_a_task_that_waits_for_ever_is_left() -> None:
    loop = asyncio.new_event_loop()
    task = loop.create_task(asyncio.Event().wait(), name="stuck")
    found = tasks_left(loop, patience=0)
    task.cancel()
    assert len(found) == 1
    assert "stuck" in found[0]
    assert tasks_left(loop) == []
    loop.close()


def test_a_task_that_ends_at_the_next_turn_is_not() -> None:
    loop = asyncio.new_event_loop()
    task = loop.create_task(asyncio.sleep(0))
    assert tasks_left(loop, patience=5) == []
    assert task.done()
    loop.close()


async def test_this_house_runs_async_tests_on_two_loops(request: pytest.FixtureRequest) -> None:
    module = type(asyncio.get_running_loop()).__module__
    assert ("uvloop" in request.node.callspec.id) == module.startswith("uvloop")
