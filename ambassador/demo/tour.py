"""`ambassador demo`: the whole idea on one machine, in a few seconds, with nothing pretended."""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Self

from ambassador.demo.distributions import NotInstalled
from ambassador.demo.servers import ServerFailed, environment
from ambassador.demo.stage import DATABASE, USER, Stage, StageFailed
from ambassador.kit.clock import SYSTEM

DONE = 0
FAILED = 1
LOOK = 0.5
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
OURSELVES = str(Path(sys.executable).with_name("ambassador"))
ANYONE = "app"  # what an application calls itself; the ambassador logs in as the credential's user
ANSWER_WITHIN = 20.0


class Interrupted(Exception):
    """Someone wants it to end: Ctrl-C, SIGTERM, or a terminal that closed."""


def tour(*, once: bool) -> int:
    """Show it all; unless `once`, stay up until told to end. Returns the exit code."""
    shown = False
    try:
        with _interruptible(), Stage() as stage, _then_uninterruptible():
            show(stage)
            shown = True
            if not once:
                linger(stage)
    except Interrupted:
        code = DONE if shown else FAILED
    except (StageFailed, ServerFailed) as error:
        _say(f"\nThe demo failed: {error}")
        code = FAILED
    except NotInstalled as error:
        _say(f"The demo needs a PostgreSQL of its own: {error}")
        return FAILED
    else:
        code = DONE
    _say("\nEverything it started is stopped and removed.")
    return code


def show(stage: Stage) -> None:
    """The tour itself, step by step."""
    _head("1", "A real PostgreSQL, with a password that nobody here knows")
    stage.start_server()
    name = stage.server.distribution.origin
    _say(
        f"   {name} on {stage.server.host}:{stage.server.port}, with TLS; the password of its user {USER!r} is random."
    )
    _refusal(stage)

    _head("2", "A mounted Secret, and an ambassador that reads it")
    stage.start_ambassador()
    _say(f"   {stage.secret.path} holds username and password, laid out as the kubelet does it.")
    _command(_shown([OURSELVES, "run", "-c", str(stage.config)]))

    _head("3", "An application connects to the ambassador, without a password")
    _query(stage, "SELECT * FROM item")
    _query(stage, "SELECT current_user, ssl, version FROM pg_stat_ssl WHERE pid = pg_backend_pid()")

    _head("4", "The password changes while a session is open")
    with Session(stage) as session:
        _rotation(stage, session)
    _say("   A new session logs in with the new password:")
    _query(stage, "SELECT count(*) FROM item")


def linger(stage: Stage) -> None:
    """Say where to look, and stay up until told to end."""
    page = f"http://127.0.0.1:{stage.admin_port}"
    _head("→", "It stays up. Look around; Ctrl-C ends it and removes everything")
    for what, where in (
        ("connect", _shown(_psql(stage, stage.port))),
        ("status page", f"{page}/status"),
        ("metrics", f"{page}/metrics"),
        ("status in a terminal", _shown([OURSELVES, "status", "--admin", f"127.0.0.1:{stage.admin_port}"])),
        ("configuration", str(stage.config)),
        ("log", str(stage.log)),
        ("the Secret", str(stage.secret.path)),
    ):
        _say(f"   {what:22}{where}")
    while True:
        time.sleep(LOOK)
        stage.check()


class Session:
    """A psql that stays connected through the ambassador."""

    def __init__(self, stage: Stage) -> None:
        self._process = subprocess.Popen(
            [*_psql(stage, stage.port), "-XAtq", "-f", "-"],
            env=environment(stage.directory),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            process_group=0,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def ask(self, query: str) -> str:
        """One query, one line of answer.

        Raises:
            StageFailed: psql ended, or there was no answer in time.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):  # what it said before it ended comes out below
            self._process.stdin.write(f"{query};\n".encode())
            self._process.stdin.flush()
        if not select.select([self._process.stdout], [], [], ANSWER_WITHIN)[0]:
            raise StageFailed(f"no answer to {query!r} within {ANSWER_WITHIN:g} s")
        line = self._process.stdout.readline().decode(errors="replace").strip()
        if not line:
            _, error = self._process.communicate()
            raise StageFailed(f"the session ended: {error.decode(errors='replace').strip()}")
        return line


def _rotation(stage: Stage, session: Session) -> None:
    """A new password under an open session, which must not notice."""
    before = session.ask("SELECT pg_backend_pid()")
    _say(f"   A session is open: server process {before}.")
    began = SYSTEM.now()
    stage.rotate()
    took = SYSTEM.now() - began
    _say(
        "   The database gets a new random password, then the Secret does. The ambassador notices, tries the new value"
    )
    _say(
        f"   with a real login, and uses it from now on: {took:.1f} s, credential version {stage.credential_version()}."
    )
    after = session.ask("SELECT pg_backend_pid()")
    if before != after:
        raise StageFailed(f"the open session moved from server process {before} to {after}")
    _say(f"   The open session goes on: server process {after}.")


def _refusal(stage: Stage) -> None:
    """Without a password the database lets nobody in."""
    words = _psql(stage, stage.server.port, USER)
    done = _run(stage, [*words, "-c", "SELECT 1"])
    if done.returncode == 0:
        raise StageFailed("the database let someone in without a password")
    _command(_shown(words))
    _say(f"   {done.stderr.strip().splitlines()[-1]}")


def _query(stage: Stage, query: str) -> None:
    """Run a query through the ambassador and show it with its answer."""
    words = _psql(stage, stage.port)
    done = _run(stage, [*words, "-X", "-P", "footer=off", "-c", query])
    if done.returncode != 0:
        raise StageFailed(f"the query failed: {done.stderr.strip()}")
    _command(f'{_shown(words)} -c "{query}"')
    for line in done.stdout.rstrip().splitlines():
        _say(f"   {line}")


def _psql(stage: Stage, port: int, user: str = ANYONE) -> list[str]:
    # -w: never ask for a password.
    return [str(stage.psql), "-w", "-h", "127.0.0.1", "-p", str(port), "-U", user, "-d", DATABASE]


def _shown(words: list[str]) -> str:
    """A command as a person may type it here: without the program's folder if it would be found all the same."""
    program = Path(words[0])
    if shutil.which(program.name):
        program = Path(program.name)
    elif program.is_relative_to(Path.cwd()):
        program = program.relative_to(Path.cwd())
    return " ".join([str(program), *words[1:]])


def _run(stage: Stage, words: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words,
        env=environment(stage.directory),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=ANSWER_WITHIN,
        check=False,
    )


@contextmanager
def _interruptible() -> Iterator[None]:
    """Within, signals that mean "end" raise `Interrupted`; afterwards they do what they did before."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise Interrupted

    before = {number: signal.signal(number, interrupt) for number in ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _then_uninterruptible() -> Iterator[None]:
    """From the end of this block on those signals are ignored: what is left to do is to clean up, which is quick."""
    try:
        yield
    finally:
        for number in ENDING:
            signal.signal(number, signal.SIG_IGN)


def _head(number: str, text: str) -> None:
    bold = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    _say(f"\n\033[1m{number}  {text}\033[0m" if bold else f"\n{number}  {text}")


def _command(text: str) -> None:
    _say(f"   $ {text}")


def _say(text: str) -> None:
    print(text, flush=True)
