"""Child processes of tests: watched, measured, and always ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import Child, cpu_seconds, descendants, exposed, rss, wait_until

PYTHON = [sys.executable, "-S", "-c"]


def test_output_is_kept_by_stream(tmp_path: Path) -> None:
    with Child([*PYTHON, "import sys; print('to out'); print('to err', file=sys.stderr)"], directory=tmp_path) as child:
        assert child.wait() == 0
        assert (child.out, child.err) == ("to out\n", "to err\n")


def test_leaving_the_block_ends_a_child_that_would_go_on(tmp_path: Path) -> None:
    with Child(["sleep", "60"], directory=tmp_path) as child:
        assert child.exit_code is None
    assert child.exit_code == -signal.SIGTERM


def test_a_child_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    stubborn = "import signal, time; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
    with Child([*PYTHON, stubborn], directory=tmp_path) as child:
        wait_until("it to be deaf", lambda: "deaf" in child.out)
        assert child.stop(timeout=0.1) == -signal.SIGKILL


def test_a_child_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    parent = (
        "import sys, time, pathlib; sys.path.insert(0, sys.argv[1]);"
        "from tests.support.processes import Child;"
        "child = Child(['sleep', '60'], directory=pathlib.Path(sys.argv[2]), name='grandchild');"
        "print(child.pid, flush=True); time.sleep(60)"
    )
    root = Path(__file__).parents[3]
    with Child([sys.executable, "-c", parent, root, tmp_path], directory=tmp_path) as child:
        wait_until("the grandchild", lambda: child.out.endswith("\n"))
        grandchild = Path("/proc") / child.out.strip()
        # Until it has become `sleep` it is still on its way through setpriv.
        wait_until("it to be asleep", lambda: (grandchild / "comm").read_text() == "sleep\n")
        assert descendants(child.pid) == [int(child.out)]
        child.signal(signal.SIGKILL)
        child.wait()
        wait_until("the grandchild's end", lambda: not (grandchild / "stat").exists() or _dead(grandchild))


def _dead(process: Path) -> bool:
    try:
        return (process / "stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except FileNotFoundError:
        return True


def test_a_command_line_is_exposed_and_a_child_s_environment_too(tmp_path: Path) -> None:
    nested = "import subprocess; subprocess.run(['sleep', '60'], env={'TOKEN': 'in-' + 'environ'})"
    with Child([*PYTHON, nested, "on-cmdline"], directory=tmp_path) as child:
        wait_until("its child to show", lambda: b"in-environ" in exposed(child.pid))
        assert b"on-cmdline" in exposed(child.pid)
        for pid in descendants(child.pid):
            os.kill(pid, signal.SIGKILL)
        child.wait()


def test_costs_of_this_process_are_plausible() -> None:
    before = cpu_seconds(os.getpid())
    wait_until("30 ms of work", lambda: cpu_seconds(os.getpid()) >= before + 0.03)
    assert 5 * 2**20 < rss(os.getpid()) < 4 * 2**30


def test_waiting_for_what_never_comes_fails_by_name() -> None:
    with pytest.raises(AssertionError, match=r"waited 0\.05 s for: a miracle"):
        wait_until("a miracle", lambda: False, timeout=0.05)


def test_waiting_longer_than_the_deadline_is_told(tmp_path: Path) -> None:
    with Child(["sleep", "60"], directory=tmp_path) as child, pytest.raises(subprocess.TimeoutExpired):
        child.wait(0.05)
