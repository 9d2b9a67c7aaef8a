"""Running a program whose output is a secret."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ambassador.credentials import command
from ambassador.credentials.command import LONGEST_OUTPUT, CommandFailed, environment, run
from tests.support.secrets import canary

ROOT = Path(__file__).parents[3]
ENV = {"PATH": os.environ["PATH"]}

Script = Callable[[str], str]


@pytest.fixture
def script(tmp_path: Path) -> Script:
    """Makes an executable shell script of the given lines and returns its path."""

    def make(lines: str) -> str:
        path = tmp_path / "command"
        path.write_text(f"#!/bin/sh\n{lines}\n")
        path.chmod(0o755)
        return str(path)

    return make


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


async def gone(pid: int) -> bool:
    """Whether a process ends within two seconds."""
    for _ in range(200):
        if not alive(pid):
            return True
        await asyncio.sleep(0.01)
    return False


def number_in(path: Path) -> int | None:
    """The line a script has written; None as long as there is none."""
    text = path.read_text() if path.exists() else ""
    return int(text) if text.endswith("\n") else None


async def written(path: Path) -> int:
    """The number a script writes into a file, as soon as it is there."""
    for _ in range(500):
        if (number := number_in(path)) is not None:
            return number
        await asyncio.sleep(0.01)
    raise AssertionError(f"{path} was not written")


async def test_what_it_prints_is_returned_to_the_byte(script: Script) -> None:
    assert await run([script("printf 'tok\\377en\\n\\n'")], env=ENV, timeout=5) == b"tok\xffen\n\n"
    assert await run([script("exit 0")], env=ENV, timeout=5) == b""


async def test_arguments_reach_it_one_by_one_and_no_shell_reads_them(script: Script) -> None:
    argv = [script("printf '%s|' \"$@\""), "two words", "$(id)", "; rm -rf /", ""]
    assert await run(argv, env=ENV, timeout=5) == b"two words|$(id)|; rm -rf /||"


async def test_it_runs_in_the_root_directory_without_input(script: Script) -> None:
    assert await run([script("pwd; cat; echo end")], env=ENV, timeout=5) == b"/\nend\n"


async def test_it_sees_only_the_environment_it_is_given(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = canary()
    monkeypatch.setenv("DATABASE_PASSWORD", secret)
    monkeypatch.setenv("TOKEN_URL", "http://token")
    monkeypatch.delenv("LANG", raising=False)
    env = environment(["TOKEN_URL", "NOT_SET"])
    assert set(env) == {"PATH", "HOME", "TOKEN_URL"}
    shown = await run([script("env")], env=env, timeout=5)
    assert secret.encode() not in shown
    assert b"TOKEN_URL=http://token" in shown


async def test_it_leads_a_session_and_group_of_its_own_and_inherits_no_descriptor(script: Script) -> None:
    null = os.open("/dev/null", os.O_RDONLY)
    kept = os.dup2(null, 250, inheritable=True)
    os.close(null)
    try:
        shown = await run(
            [script("cut -d' ' -f1,5,6 /proc/$$/stat; ls /proc/$$/fd | tr '\\n' ' '")], env=ENV, timeout=5
        )
    finally:
        os.close(kept)
    ids, _, descriptors = shown.decode().partition("\n")
    pid, group, session = ids.split()
    assert pid == group == session
    assert descriptors
    assert "250" not in descriptors.split()


@pytest.mark.parametrize(
    ("lines", "words"),
    [("echo secret; echo secret >&2; exit 3", "ended with status 3"), ("kill -11 $$", "was ended by signal 11")],
)
async def test_a_bad_end_is_told_and_nothing_of_what_was_printed(script: Script, lines: str, words: str) -> None:
    with pytest.raises(CommandFailed, match=words) as caught:
        await run([script(lines)], env=ENV, timeout=5)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["/no/such/program"], "'/no/such/program' cannot be run: No such file or directory"),
        (["/etc/passwd"], "'/etc/passwd' cannot be run: Permission denied"),
        (["/bin/true", "nul\0nul"], "cannot be run: its name or arguments hold a NUL character"),
    ],
)
async def test_what_cannot_be_run_is_named(argv: list[str], words: str) -> None:
    with pytest.raises(CommandFailed, match=words):
        await run(argv, env=ENV, timeout=5)


async def test_an_overlong_output_is_cut_off_and_the_program_killed(script: Script, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    lines = f"echo $$ > {pid_file}\nhead -c {LONGEST_OUTPUT + 1} /dev/zero; sleep 60"
    started = time.monotonic()
    with pytest.raises(CommandFailed, match="printed more than 65536 bytes"):
        await run([script(lines)], env=ENV, timeout=20)
    assert time.monotonic() - started < 5
    assert await gone(int(pid_file.read_text()))


async def test_the_longest_output_is_taken(script: Script) -> None:
    output = await run([script(f"head -c {LONGEST_OUTPUT} /dev/zero")], env=ENV, timeout=10)
    assert output == bytes(LONGEST_OUTPUT)


async def test_at_the_deadline_the_whole_group_is_killed(script: Script, tmp_path: Path) -> None:
    child = tmp_path / "child"
    with pytest.raises(CommandFailed, match=r"did not end within 0\.3 s and was killed"):
        await run([script(f"sleep 60 & echo $! > {child}; wait")], env=ENV, timeout=0.3)
    assert await gone(await written(child))


async def test_a_program_that_closes_its_output_and_lingers_is_killed_at_the_deadline(script: Script) -> None:
    with pytest.raises(CommandFailed, match="did not end within"):
        await run([script("echo token; exec >&- 2>&-; sleep 60")], env=ENV, timeout=0.3)


async def test_a_program_deaf_to_polite_signals_is_killed_too(script: Script) -> None:
    with pytest.raises(CommandFailed, match="did not end within"):
        await run([script("trap '' TERM INT HUP; while :; do sleep 1; done")], env=ENV, timeout=0.3)


async def test_a_helper_left_behind_holding_the_output_neither_delays_nor_survives(
    script: Script, tmp_path: Path
) -> None:
    child = tmp_path / "child"
    started = time.monotonic()
    output = await run([script(f"sleep 60 & echo $! > {child}; echo token")], env=ENV, timeout=20)
    assert output == b"token\n"
    assert time.monotonic() - started < 5
    assert await gone(await written(child))


async def test_when_it_is_no_longer_wanted_the_group_is_killed(script: Script, tmp_path: Path) -> None:
    child = tmp_path / "child"
    running = asyncio.ensure_future(run([script(f"sleep 60 & echo $! > {child}; wait")], env=ENV, timeout=60))
    pid = await written(child)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert await gone(pid)


async def test_the_loop_goes_on_while_it_runs(script: Script) -> None:
    turns = 0
    running = asyncio.ensure_future(run([script("sleep 0.3")], env=ENV, timeout=5))
    while not running.done():
        await asyncio.sleep(0.01)
        turns += 1
    assert await running == b""
    assert turns > 10


async def test_many_at_a_time_do_not_mix(script: Script) -> None:
    path = script("sleep 0.05; echo $1")
    outputs = await asyncio.gather(*(run([path, str(number)], env=ENV, timeout=10) for number in range(20)))
    assert outputs == [b"%d\n" % number for number in range(20)]


async def test_one_stuck_in_the_kernel_is_not_waited_for_for_ever(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "DYING", 0.1)
    deaf = command._Program([script("exec sleep 0.6")], ENV)
    monkeypatch.setattr(deaf, "_kill_group", lambda: None)
    deaf.kill()
    started = time.monotonic()
    await deaf.gone()
    assert 0.05 < time.monotonic() - started < 0.5
    await deaf.output()


def test_a_loop_that_is_gone_leaves_no_zombie(script: Script) -> None:
    async def start_and_leave() -> command._Program:
        program = command._Program([script("sleep 0.1")], ENV)
        await asyncio.sleep(0)
        return program

    program = asyncio.run(start_and_leave())
    program._thread.join(5.0)
    assert not program._thread.is_alive()
    with pytest.raises(ChildProcessError):
        os.waitpid(program._process.pid, os.WNOHANG)
    assert program._process.stdout is not None
    program._process.stdout.close()


AS_FIRST_PROCESS = """
import asyncio, ctypes, sys, time
from pathlib import Path
from ambassador.credentials.command import run
PR_SET_CHILD_SUBREAPER = 36
assert ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
output = asyncio.run(run(["/bin/sh", "-c", sys.argv[1]], env={"PATH": sys.argv[2]}, timeout=20))
def children():
    found = []
    for path in Path("/proc/self/task").glob("*/children"):
        try:
            found += path.read_text().split()
        except (FileNotFoundError, ProcessLookupError):  # a thread that has ended meanwhile
            pass
    return found
end = time.monotonic() + 5
while children() and time.monotonic() < end:
    time.sleep(0.01)
print(output.decode().strip(), len(children()))
"""


def test_as_the_first_process_of_a_container_we_reap_what_it_left_behind() -> None:
    # Each of the two inherits us as its parent when the one above it ends.
    lines = "sh -c 'sleep 60 & sleep 60' & echo token"
    found = subprocess.run(
        [sys.executable, "-c", AS_FIRST_PROCESS, lines, ENV["PATH"]],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=25,
        check=True,
    )
    assert found.stdout.split() == ["token", "0"]
