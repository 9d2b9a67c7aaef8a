"""Programs that a test starts: always reaped, their output kept in files, their costs read from /proc."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from ambassador.demo.unprivileged import mortal

PAGE = os.sysconf("SC_PAGE_SIZE")
TICK = os.sysconf("SC_CLK_TCK")


def rss(pid: int) -> int:
    """Resident memory of a process, bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE


def cpu_seconds(pid: int) -> float:
    """Processor time a process has used, user and system, seconds; without its children's."""
    # The second field, the command's name, may hold spaces and parentheses (proc(5)).
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def descendants(pid: int) -> list[int]:
    """Children of a process, and theirs."""
    found = []
    for listing in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, listing.read_text().split()):
            found += [child, *descendants(child)]
    return found


def exposed(pid: int) -> bytes:
    """What others may read of a process: its command line, and its children's command lines and environments.

    Its own environment is what the test itself gave it. What has ended meanwhile, or may not be read, is left out.
    """
    paths = [Path(f"/proc/{pid}/cmdline")]
    for child in descendants(pid):
        paths += [Path(f"/proc/{child}/cmdline"), Path(f"/proc/{child}/environ")]
    return b"\n".join(_read(path) for path in paths)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return b""


def wait_until(what: str, done: Callable[[], bool], timeout: float = 10.0) -> None:
    """Look every 10 ms until `done`, or fail the test after `timeout` seconds, naming `what` was waited for."""
    deadline = time.monotonic() + timeout
    while not done():
        assert time.monotonic() < deadline, f"waited {timeout:g} s for: {what}"
        time.sleep(0.01)


class Child:
    """A running program; a context manager that ends it.

    Args:
        words: program and arguments.
        directory: where its output goes: `NAME.out` and `NAME.err`.
        env: its whole environment; None passes ours on.
    """

    def __init__(
        self, words: Sequence[str | Path], *, directory: Path, env: Mapping[str, str] | None = None, name: str = "child"
    ) -> None:
        self._out = directory / f"{name}.out"
        self._err = directory / f"{name}.err"
        with self._out.open("ab") as out, self._err.open("ab") as err:
            self._process = subprocess.Popen(
                [*mortal(), *map(str, words)],
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                process_group=0,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """How it ended; None while it runs, the negative signal number if one killed it."""
        return self._process.poll()

    @property
    def out(self) -> str:
        """What it wrote to stdout so far."""
        return self._out.read_text(errors="replace")

    @property
    def err(self) -> str:
        """What it wrote to stderr so far."""
        return self._err.read_text(errors="replace")

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal; nothing happens if it has ended."""
        self._process.send_signal(number)

    def wait(self, timeout: float = 10.0) -> int:
        """Wait for its end and return its exit code.

        Raises:
            subprocess.TimeoutExpired: it goes on.
        """
        return self._process.wait(timeout)

    def stop(self, timeout: float = 5.0) -> int:
        """End it if it runs, by SIGTERM and, after `timeout` seconds, by SIGKILL; returns its exit code."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            self._process.send_signal(number)
            try:
                return self._process.wait(timeout)
            except subprocess.TimeoutExpired:
                continue
        raise AssertionError(f"process {self.pid} survived SIGKILL")

    def rss(self) -> int:
        """Resident memory, bytes."""
        return rss(self.pid)

    def cpu_seconds(self) -> float:
        """Processor time used so far, seconds."""
        return cpu_seconds(self.pid)
