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
from ambassador.demo.resp import Conversation, Refused, Reply
from ambassador.demo.servers import ServerFailed, environment
from ambassador.demo.stage import CACHE_USER, DATABASE, USER, Stage, StageFailed
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
        _say(f"The demo needs servers of its own: {error}")
        return FAILED
    else:
        code = DONE
    _say("\nEverything it started is stopped and removed.")
    return code


def show(stage: Stage) -> None:
    """The tour itself, step by step."""
    _head("1", "A real PostgreSQL and a real Valkey, with passwords that nobody here knows")
    stage.start_servers()
    for name, server, user in (
        (f"PostgreSQL ({stage.server.distribution.origin}), with TLS,", stage.server, USER),
        (f"Valkey ({stage.cache.program.origin})", stage.cache, CACHE_USER),
    ):
        _say(f"   {name} is on {server.host}:{server.port}; the password of its user {user!r} is random.")
    _refusals(stage)

    _head("2", "Mounted Secrets, and an ambassador that reads them")
    stage.start_ambassador()
    _say(f"   {stage.secret.path} and {stage.cache_secret.path} hold username and password,")
    _say("   laid out as the kubelet does it.")
    _command(_shown([OURSELVES, "run", "-c", str(stage.config)]))

    _head("3", "An application connects to the ambassador, without a password")
    _query(stage, "SELECT * FROM item")
    _query(stage, "SELECT current_user, ssl, version FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
    with _cache(stage) as cache:
        _words(stage, cache, "SET", "greeting", "hello")
        _words(stage, cache, "GET", "greeting")

    _head("4", "The passwords change while sessions are open")
    with Session(stage) as session, _cache(stage) as cache:
        _rotation(stage, session, cache)
    _say("   New sessions are logged in with the new passwords:")
    _query(stage, "SELECT count(*) FROM item")
    with _cache(stage) as cache:
        _words(stage, cache, "GET", "greeting")


def linger(stage: Stage) -> None:
    """Say where to look, and stay up until told to end."""
    page = f"http://127.0.0.1:{stage.admin_port}"
    _head("→", "It stays up. Look around; Ctrl-C ends it and removes everything")
    for what, where in (
        ("connect", _shown(_psql(stage, stage.port))),
        ("", _shown(_valkey_cli(stage.cache_port))),
        ("status page", f"{page}/status"),
        ("metrics", f"{page}/metrics"),
        ("status in a terminal", _shown([OURSELVES, "status", "--admin", f"127.0.0.1:{stage.admin_port}"])),
        ("configuration", str(stage.config)),
        ("log", str(stage.log)),
        ("the Secrets", f"{stage.secret.path} {stage.cache_secret.path}"),
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


def _rotation(stage: Stage, session: Session, cache: Conversation) -> None:
    """New passwords under open sessions, which must not notice."""
    before = session.ask("SELECT pg_backend_pid()")
    _say(f"   A session of PostgreSQL is open: server process {before}.")
    count = _ask(cache, "INCR", "visits")
    _say(f"   A connection to Valkey is open: it has counted to {count}.")
    began = SYSTEM.now()
    stage.rotate()
    took = SYSTEM.now() - began
    versions = ", ".join(f"{name} version {version}" for name, version in stage.credential_versions().items())
    _say("   Each server gets a new random password, then its Secret does. The ambassador notices, tries the new")
    _say(f"   values with real logins, and uses them from now on: {took:.1f} s, {versions}.")
    after = session.ask("SELECT pg_backend_pid()")
    if before != after:
        raise StageFailed(f"the open session moved from server process {before} to {after}")
    again = _ask(cache, "INCR", "visits")
    if not (isinstance(count, int) and again == count + 1):
        raise StageFailed(f"the open connection counted to {count}, and then to {again}")
    _say(f"   The open session goes on: server process {after}.")
    _say(f"   The open connection goes on: it has counted to {again}.")


def _refusals(stage: Stage) -> None:
    """Without a password the servers let nobody in."""
    words = _psql(stage, stage.server.port, USER)
    done = _run(stage, [*words, "-c", "SELECT 1"])
    if done.returncode == 0:
        raise StageFailed("PostgreSQL let someone in without a password")
    _command(_shown(words))
    _say(f"   {done.stderr.strip().splitlines()[-1]}")
    with Conversation((stage.cache.host, stage.cache.port)) as client:
        try:
            client.ask("GET", "greeting")
        except Refused as error:
            _command(_shown([*_valkey_cli(stage.cache.port), "GET", "greeting"]))
            _say(f"   {error}")
        else:
            raise StageFailed("Valkey let someone in without a password")


def _query(stage: Stage, query: str) -> None:
    """Run a query through the ambassador and show it with its answer."""
    words = _psql(stage, stage.port)
    done = _run(stage, [*words, "-X", "-P", "footer=off", "-c", query])
    if done.returncode != 0:
        raise StageFailed(f"the query failed: {done.stderr.strip()}")
    _command(f'{_shown(words)} -c "{query}"')
    for line in done.stdout.rstrip().splitlines():
        _say(f"   {line}")


@contextmanager
def _cache(stage: Stage) -> Iterator[Conversation]:
    """A connection to the cache through the ambassador."""
    try:
        with Conversation(("127.0.0.1", stage.cache_port), timeout=ANSWER_WITHIN) as found:
            yield found
    except OSError as error:
        raise StageFailed(f"the connection to the cache failed: {error}") from error


def _words(stage: Stage, cache: Conversation, *words: str) -> None:
    """Say one command through the ambassador, and show it with its answer."""
    answer = _ask(cache, *words)
    _command(_shown([*_valkey_cli(stage.cache_port), *words]))
    _say(f"   {answer}")


def _ask(cache: Conversation, *words: str) -> Reply:
    try:
        return cache.ask(*words)
    except Refused as error:
        raise StageFailed(f"{words[0]} was refused: {error}") from error


def _valkey_cli(port: int) -> list[str]:
    """What a person would type, whose machine has one of the two clients, or neither."""
    name = "valkey-cli" if shutil.which("valkey-cli") or not shutil.which("redis-cli") else "redis-cli"
    return [name, "-p", str(port)]


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
