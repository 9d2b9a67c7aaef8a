"""Running a program whose output is a secret.

No shell, no input, a minimal environment, a bounded output that is never logged, a deadline, and nothing left
behind: the program leads a process group of its own, and the whole group is killed when it ends, overstays, says
too much, or is no longer wanted.

Each run has a thread that waits for the leader without reaping it. As long as it is not reaped, its number cannot be
given to another process, so the group's number is safe to kill; asyncio's own subprocesses are reaped at once and
cannot give this, nor do they agree, from one loop or version to the next, on when `wait` returns.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress

LONGEST_OUTPUT = 64 << 10
"""Bytes. The longest cloud tokens have a few thousand."""

DYING = 2.0
"""Seconds to wait for a killed program to be gone; one stuck in the kernel is left to its thread."""

_PIECE = 16 << 10
_INHERITED = ("PATH", "HOME", "LANG")


class CommandFailed(Exception):
    """No output to use. Says how it ended; never what it printed."""


def environment(names: Sequence[str]) -> dict[str, str]:
    """What a program may see of our environment: PATH, HOME, LANG and the variables in `names`, where set."""
    return {name: os.environ[name] for name in (*_INHERITED, *names) if name in os.environ}


async def run(argv: Sequence[str], *, env: Mapping[str, str], timeout: float) -> bytes:
    """Run `argv` in `/` and return what it printed to its standard output, at most `LONGEST_OUTPUT` bytes.

    Raises:
        CommandFailed: it could not be started, ended with another status than 0, printed too much, or did not end
            within `timeout` seconds.
    """
    program = _Program(argv, env)
    try:
        async with asyncio.timeout(timeout):
            output = await program.output()
            await program.ended.wait()
    except TimeoutError:
        raise CommandFailed(f"{argv[0]} did not end within {timeout:g} s and was killed") from None
    finally:
        program.kill()
        await program.gone()
    if program.status != 0:
        raise CommandFailed(f"{argv[0]} {_how(program.status)}")
    return output


def _how(status: int) -> str:
    return f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"


class _Program:
    """One run. Everything but the thread belongs to the loop that started it.

    `ended` is set when the leader has ended and the rest of its group was killed; `status` is its return code.
    """

    def __init__(self, argv: Sequence[str], env: Mapping[str, str]) -> None:
        self.ended = asyncio.Event()
        self.status = 0
        self._stirred = asyncio.Event()
        self._program = argv[0]
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._reaped = False
        try:
            self._process = subprocess.Popen(  # noqa: S603 - an argument list from the configuration; no shell
                list(argv),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                # Error output often quotes what failed, and so may hold the secret.
                stderr=subprocess.DEVNULL,
                cwd="/",
                env=dict(env),
                start_new_session=True,
                bufsize=0,
            )
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else "its name or arguments hold a NUL character"
            raise CommandFailed(f"{argv[0]!r} cannot be run: {why}") from None
        self._thread = threading.Thread(target=self._attend, name=f"wait for {argv[0]}", daemon=True)
        self._thread.start()

    async def output(self) -> bytes:
        """All it prints until it closes its output or ends. Raises CommandFailed when that is too much."""
        if self._process.stdout is None:
            raise AssertionError("the output is a pipe")
        with self._process.stdout as pipe:
            os.set_blocking(pipe.fileno(), False)
            self._loop.add_reader(pipe.fileno(), self._stirred.set)
            try:
                return await self._collect(pipe.fileno())
            finally:
                self._loop.remove_reader(pipe.fileno())

    def kill(self) -> None:
        """Kill the whole group, if the leader has not ended by itself."""
        with self._lock:
            if not self._reaped:
                self._kill_group()

    async def gone(self) -> None:
        """Wait, but not for ever, until the leader is reaped."""
        with suppress(TimeoutError):
            async with asyncio.timeout(DYING):
                await self.ended.wait()

    async def _collect(self, descriptor: int) -> bytes:
        """Read to the end of the output, or what is there when the leader has ended.

        Waiting for the end of the output alone would not do: a helper left in the background holds the pipe open.
        """
        collected = b""
        while True:
            self._stirred.clear()
            ended = self.ended.is_set()
            try:
                piece = os.read(descriptor, _PIECE)
            except BlockingIOError:
                if ended:
                    return collected
                await self._stirred.wait()
                continue
            if not piece:
                return collected
            collected += piece
            if len(collected) > LONGEST_OUTPUT:
                raise CommandFailed(f"{self._program} printed more than {LONGEST_OUTPUT} bytes and was killed")

    def _attend(self) -> None:
        """The thread: wait for the leader's end, kill what is left of its group, reap."""
        os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
        with self._lock:
            self._kill_group()
            self.status = self._process.wait()
            self._reaped = True
        # The loop may be closed by now, when the daemon is leaving.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._has_ended)
        self._reap_orphans()

    def _has_ended(self) -> None:
        self.ended.set()
        self._stirred.set()

    def _kill_group(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _reap_orphans(self) -> None:
        """As process 1 of a container we inherit what the leader left behind, and nobody else would reap it."""
        with suppress(ChildProcessError):
            while True:
                os.waitpid(-self._process.pid, 0)
