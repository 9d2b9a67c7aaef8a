"""When a credential ends: who is told, and what becomes of the sessions that show it, down to a real server."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from ambassador.config.load import load_data
from ambassador.credentials.credential import Credential
from ambassador.credentials.store import Store
from ambassador.errors import Reason
from ambassador.kit.clock import SYSTEM
from ambassador.kit.latch import Latches
from ambassador.net.dial import dial
from ambassador.net.stream import Stream
from ambassador.protocols.postgres import protocol
from ambassador.protocols.postgres.login import ServerFacts, Wish, login
from ambassador.proxy.listener import Listener
from ambassador.proxy.session import Session
from ambassador.runtime.ending import Endings
from ambassador.runtime.running import Running
from ambassador.runtime.world import Commons, build
from ambassador.telemetry import logs
from ambassador.telemetry.metrics import Metrics
from ambassador.upstreams import upstream
from ambassador.upstreams.upstream import Attempt
from tests.support.fake_postgres import FakePostgres
from tests.support.house import until
from tests.support.pgclient import PgClient
from tests.support.postgres import PostgresServer, Role, new_role

Lines = Callable[[], list[dict[str, Any]]]
ENDS = "credential that the proxy has for it ends"


@pytest.fixture
def lines() -> Iterator[Lines]:
    """What was logged of ends of credentials, without the time."""
    output = io.BytesIO()
    handle = logs.setup("debug", "json", output)

    def read() -> list[dict[str, Any]]:
        handle.flush(5.0)
        found = [json.loads(line) for line in output.getvalue().splitlines()]
        shown = ("level", "event", "credential", "version", "sessions", "connections")
        return [{key: one[key] for key in shown} for one in found if one["event"].startswith("credential end")]

    yield read
    handle.close()


# ---- the word, carried


def session(*shows: tuple[str, int]) -> mock.Mock:
    """A session that shows these."""
    made: mock.Mock = mock.create_autospec(Session, instance=True)
    made.shows.side_effect = lambda name, version: (name, version) in shows
    return made


def listeners(*sessions: mock.Mock) -> Callable[[], list[Listener]]:
    made = mock.create_autospec(Listener, instance=True)
    made.sessions = set(sessions)
    return lambda: [made]


def test_those_who_show_it_leave_and_are_cut_at_the_very_end(lines: Lines) -> None:
    store, concerned, others = Store(), session(("db", 1)), [session(("db", 2)), session(("other", 1)), session()]
    endings = Endings(store, listeners(concerned, *others))
    endings.follow(["db", "other"])
    store.taken("db", 1)
    store.ending("db", 1, final=False)
    assert concerned.leave.mock_calls == [mock.call(Reason.CREDENTIAL_ENDED)]
    assert not concerned.cut.called
    store.ending("db", 1, final=True)
    assert concerned.cut.mock_calls == [mock.call(Reason.CREDENTIAL_ENDED)]
    assert not any(one.leave.called or one.cut.called for one in others)
    said = {"credential": "db", "version": 1, "sessions": 1, "connections": 1}
    assert lines() == [
        {"level": "info", "event": "credential ending", **said},
        {"level": "warning", "event": "credential ended", **said},
    ]


def test_an_end_that_concerns_nobody_is_no_news(lines: Lines) -> None:
    store = Store()
    Endings(store, listeners()).follow(["db"])
    store.ending("db", 1, final=True)
    said = {"credential": "db", "version": 1, "sessions": 0, "connections": 0}
    assert lines() == [{"level": "info", "event": "credential ended", **said}]


def test_a_credential_that_is_named_no_more_is_heeded_until_nobody_uses_it() -> None:
    store, concerned = Store(), session(("db", 1))
    endings = Endings(store, listeners(concerned))
    endings.follow(["db"])
    endings.follow(["db"])
    store.taken("db", 1)
    endings.follow([])
    store.ending("db", 1, final=False)
    assert concerned.leave.call_count == 1
    store.left("db", 1)
    endings.follow([])
    store.ending("db", 1, final=True)
    assert not concerned.cut.called


def test_once_closed_nothing_is_heeded() -> None:
    store, concerned = Store(), session(("db", 1), ("other", 1))
    endings = Endings(store, listeners(concerned))
    endings.follow(["db", "other"])
    endings.close()
    store.ending("db", 1, final=True)
    store.ending("other", 1, final=True)
    assert not concerned.cut.called


# ---- sessions of a whole daemon's running parts


class Stage:
    """A listener of PostgreSQL before a server, whose credential `db` the test turns."""

    def __init__(self, directory: Path, stack: AsyncExitStack) -> None:
        self.store = Store(SYSTEM)
        self.metrics = Metrics()
        self.running = Running(Commons(SYSTEM, self.metrics, self.store), Latches(), SYSTEM)
        self.at = f"unix:{directory}/db"
        self._stack = stack

    async def show(self, port: int, role: Role) -> None:
        """Put the configuration into force, with a first value."""
        data = {
            "credentials": {"db": {"env": {"password": "NOBODY_HAS_SET_THIS"}}},
            "upstreams": {"db": {"endpoints": [f"127.0.0.1:{port}"], "credential": "db"}},
            "listeners": {"db": {"listen": self.at, "postgres": {"upstream": "db"}}},
        }
        self.put(role)
        commons = self.running._commons
        await self.running.swap(build(commons, load_data(data).config, commons.current))

    def put(self, role: Role) -> None:
        """Make another value current."""
        fields = {"username": role.name.encode(), "password": role.password.encode()}
        self.store.put(Credential("db", self.store.next_version("db"), fields))

    async def client(self) -> PgClient:
        """One that is logged in."""
        client = await self._stack.enter_async_context(PgClient(self.at))
        await client.log_in(database="postgres")
        return client

    @property
    def ended(self) -> tuple[int, int]:
        """Connections that ended because their credential did: left, and cut."""
        counts = self.metrics.credential("db").ended
        return counts["left"], counts["cut"]

    async def unused(self, version: int) -> None:
        async with asyncio.timeout(5):
            await self.store.unused("db", version)


@pytest.fixture
async def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    dialled: list[Stream] = []

    async def noted(*where: Any, **how: Any) -> Stream:
        dialled.append(await dial(*where, **how))
        return dialled[-1]

    monkeypatch.setattr(upstream, "dial", noted)
    async with AsyncExitStack() as stack:
        stage = Stage(tmp_path, stack)
        yield stage
        for listener in stage.running.everyone:
            listener.cut()
        await stage.running.stop()
    for stream in dialled:
        await stream.wait_closed(5)


FIRST = Role("app", "the first password")


@pytest.fixture
def fake() -> Iterator[FakePostgres]:
    with FakePostgres().user(FIRST.name, FIRST.password) as server:
        yield server


async def test_an_idle_session_is_told_and_a_busy_one_finishes_its_transaction(
    stage: Stage, postgres17: PostgresServer
) -> None:
    first, second = new_role(postgres17), new_role(postgres17)
    await stage.show(postgres17.port, first)
    idle, busy = await stage.client(), await stage.client()
    assert (await busy.query("BEGIN")).status == b"T"
    stage.put(second)
    fresh = await stage.client()
    stage.store.ending("db", 1, final=False)
    error = await idle.last_words()
    assert error is not None
    assert (error.severity, error.code) == ("FATAL", "57P01")
    assert ENDS in error.message
    assert (await busy.query("SELECT current_user")).rows == [first.name]
    await until("the idle one to be gone", lambda: stage.store.in_use("db", 1) == 1)
    done = await busy.query("SELECT 1; COMMIT")
    assert (done.tags, done.errors, done.status) == (["SELECT 1", "COMMIT"], [], b"I")
    error = await busy.last_words()
    assert error is not None
    assert error.code == "57P01"
    await stage.unused(1)
    await until("the ends to be counted", lambda: stage.ended == (2, 0))
    assert (await fresh.query("SELECT current_user")).rows == [second.name], "whoever shows the new one stays"


async def test_one_within_a_transaction_is_cut_at_the_very_end_and_told(
    stage: Stage, postgres17: PostgresServer
) -> None:
    first, second = new_role(postgres17), new_role(postgres17)
    await stage.show(postgres17.port, first)
    client = await stage.client()
    await client.query("BEGIN")
    stage.put(second)
    stage.store.ending("db", 1, final=False)
    await asyncio.sleep(0.01)
    assert stage.store.in_use("db", 1) == 1
    stage.store.ending("db", 1, final=True)
    error = await client.last_words()
    assert error is not None
    assert error.code == "57P01"
    assert ENDS in error.message
    await stage.unused(1)
    await until("the end to be counted", lambda: stage.ended == (0, 1))


async def test_one_whose_login_is_overtaken_goes_on_with_the_new_one(
    stage: Stage, postgres17: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = new_role(postgres17), new_role(postgres17)
    await stage.show(postgres17.port, first)
    shown: list[str] = []

    async def overtaken(attempt: Attempt, wish: Wish) -> ServerFacts:
        facts = await login(attempt, wish)
        shown.append(wish.user)
        if len(shown) == 1:
            stage.put(second)
            stage.store.ending("db", 1, final=False)
        return facts

    monkeypatch.setattr(protocol, "login", overtaken)
    client = await stage.client()
    assert (await client.query("SELECT current_user")).rows == [second.name]
    assert shown == [first.name, second.name]
    await stage.unused(1)
    assert stage.ended == (0, 0)


async def test_what_is_over_uses_nothing(stage: Stage, fake: FakePostgres) -> None:
    await stage.show(fake.port, FIRST)
    client = await stage.client()
    assert stage.store.in_use("db", 1) == 1
    await stage.running.stop()
    assert await client.last_words() is not None
    await stage.unused(1)
    assert not stage.store.has_users("db")
