"""A keeper keeps one credential current."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from ambassador.config.model import Model
from ambassador.config.schema import CredentialSettings
from ambassador.credentials import renewal, rotation
from ambassador.credentials.candidate import REFUSALS
from ambassador.credentials.credential import Credential
from ambassador.credentials.leases import Leases
from ambassador.credentials.rotation import Keeper, TrialResult
from ambassador.credentials.secret import Secret
from ambassador.credentials.sources.base import Change, Fetched, Lease, LeaseLost, Source
from ambassador.credentials.sources.file import File, FileOptions
from ambassador.credentials.store import Store
from ambassador.credentials.term import Term
from ambassador.credentials.vault.token import Token
from ambassador.errors import CredentialError, Reason
from ambassador.kit.clock import Clock
from ambassador.telemetry.metrics import CredentialMetrics
from tests.support.clock import ManualClock
from tests.support.secrets import SecretDir, canary

Logged = Callable[[], list[dict[str, Any]]]


class Stage(Source):
    """A source that shows what the test says."""

    Options: ClassVar[type[Model]] = Model

    def __init__(self, *, tells: bool = True) -> None:
        super().__init__("db", Model())
        self.tells = tells
        self.fetches = 0
        self.not_after: float | None = None
        self.fields = {"username": b"app", "password": b"one"}
        self.failure: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.advice: tuple[str, ...] | Exception = ()
        self.watches = 0
        self._changed: asyncio.Queue[Exception | Change] = asyncio.Queue()

    def show(self, password: str, **more: str) -> None:
        """From now on show this password, and tell of the change."""
        self.fields = {"username": b"app", "password": password.encode()}
        self.fields |= {field: value.encode() for field, value in more.items()}
        self.failure = None
        self.tell()

    def fail(self, failure: Exception | str) -> None:
        """From now on fail, and tell of the change."""
        self.failure = CredentialError(Reason.SOURCE_FAILED, failure) if isinstance(failure, str) else failure
        self.tell()

    def tell(self, what: Exception | Change = Change.VALUE) -> None:
        self._changed.put_nowait(what)

    async def fetch(self) -> Fetched:
        self.fetches += 1
        found, failure = dict(self.fields), self.failure
        await self.gate.wait()
        if failure is not None:
            raise failure
        return Fetched(found, self.not_after)

    def describe(self) -> str:
        return "stage"

    def changes(self, *, poll: float, debounce: float, clock: Clock) -> AsyncGenerator[Change] | None:
        return self._changes() if self.tells else None

    async def _changes(self) -> AsyncGenerator[Change]:
        self.watches += 1
        while True:
            told = await self._changed.get()
            if isinstance(told, Exception):
                raise told
            yield told

    async def warnings(self) -> tuple[str, ...]:
        if isinstance(self.advice, Exception):
            raise self.advice
        return self.advice


class Fixed(Stage):
    """One that cannot change."""

    fixed = True


class Database:
    """A trial login against a database that accepts one password."""

    def __init__(self, password: str = "one") -> None:
        self.password: str | None = password
        self.tries: list[tuple[int, str]] = []
        self.failure: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, credential: Credential) -> TrialResult:
        assert credential.password is not None
        shown = credential.password.reveal().decode()
        self.tries.append((credential.version, shown))
        accepted, failure = self.password, self.failure
        await self.gate.wait()
        if failure is not None:
            raise failure
        if accepted is None:
            return TrialResult.UNKNOWN
        return TrialResult.ACCEPTED if shown == accepted else TrialResult.REFUSED


class World:
    """A keeper and everything around it."""

    def __init__(self, clock: ManualClock, source: Stage, database: Database | None, **settings: Any) -> None:
        self.clock, self.source, self.database = clock, source, database
        self.store = Store(clock)
        self.metrics = CredentialMetrics()
        self.settings = CredentialSettings(source="stage", options=Model(), **settings)
        self.keeper = self.another(source)

    def another(self, source: Stage) -> Keeper:
        return Keeper(
            "db",
            source,
            self.settings,
            store=self.store,
            metrics=self.metrics,
            clock=self.clock,
            trial=self.database,
            rng=random.Random(7),
        )

    @property
    def password(self) -> str | None:
        current = self.store.current("db")
        return None if current is None or current.password is None else current.password.reveal().decode()

    @property
    def version(self) -> int:
        return self.metrics.version

    def error(self) -> str | None:
        (status,) = self.store.snapshot()
        return status.error

    def refused(self, version: int) -> asyncio.Future[Credential | None]:
        """A session says so, and waits."""
        return asyncio.ensure_future(self.store.refused("db", version, timeout=20.0))


@asynccontextmanager
async def running(world: World, keeper: Keeper | None = None) -> AsyncIterator[World]:
    """The keeper at work, its first look done."""
    task = asyncio.ensure_future((keeper or world.keeper).run())
    await world.clock.settle()
    try:
        yield world
    finally:
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.result()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


# The first value, and the next


async def test_the_first_value_becomes_current_without_a_trial(clock: ManualClock, logged: Logged) -> None:
    async with running(World(clock, Stage(), Database("another"))) as world:
        assert world.password == "one"
        assert world.database is not None
        assert world.database.tries == []
        assert world.version == 1
        assert world.metrics.last_success == clock.wall()
        assert world.metrics.refreshes == {"ok": 1}
    (line,) = [line for line in logged() if line["event"] == "credential loaded"]
    assert (line["credential"], line["version"], line["user"]) == ("db", 1, "app")


async def test_a_new_value_becomes_current_once_a_login_with_it_succeeded(clock: ManualClock, logged: Logged) -> None:
    async with running(World(clock, Stage(), Database("two"))) as world:
        world.source.show("two")
        await clock.advance(1)
        assert (world.password, world.version) == ("two", 2)
        assert world.database is not None
        assert world.database.tries == [(2, "two")]
    (line,) = [line for line in logged() if line["event"] == "credential rotated"]
    assert (line["version"], line["trial"]) == (2, "accepted")


async def test_a_new_value_that_is_refused_leaves_the_old_one_in_place(clock: ManualClock, logged: Logged) -> None:
    async with running(World(clock, Stage(), Database("one"))) as world:
        world.source.show("wrong")
        await clock.advance(1)
        assert (world.password, world.version) == ("one", 1)
        assert world.error() == "version 2 was refused in a trial login; the version before it stays"
        assert world.metrics.refreshes["refused"] >= 1
    lines = [line for line in logged() if line["event"] == "credential not rotated" and line["level"] == "warning"]
    assert len(lines) == 1
    assert lines[0]["reason"] == "refused"
    assert lines[0]["version"] == 1


async def test_without_a_trial_a_new_value_becomes_current_at_once(clock: ManualClock, logged: Logged) -> None:
    async with running(World(clock, Stage(), None)) as world:
        world.source.show("two")
        await clock.advance(1)
        assert (world.password, world.version) == ("two", 2)
    assert [line["trial"] for line in logged() if line["event"] == "credential rotated"] == ["not tried"]


async def test_the_settings_can_do_without_the_trial(clock: ManualClock) -> None:
    async with running(World(clock, Stage(), Database("one"), verify=False)) as world:
        world.source.show("two")
        await clock.advance(1)
        assert world.password == "two"
        assert world.database is not None
        assert world.database.tries == []


async def test_the_same_value_again_is_no_rotation(clock: ManualClock) -> None:
    async with running(World(clock, Stage(), Database())) as world:
        first = world.store.current("db")
        world.source.show("one")
        await clock.advance(1)
        assert world.store.current("db") is first
        assert world.source.fetches == 2
        assert world.metrics.refreshes == {"ok": 2}


async def test_a_later_end_of_the_same_value_is_taken_over(clock: ManualClock) -> None:
    async with running(World(clock, Stage(), Database())) as world:
        world.source.not_after = clock.wall() + 500
        world.source.show("one")
        await clock.advance(1)
        current = world.store.current("db")
        assert current is not None
        assert (current.version, current.not_after) == (1, world.source.not_after)
        assert world.metrics.expires == world.source.not_after


# A value that is refused in its trial


async def test_a_refused_value_is_tried_again_with_back_off_while_the_source_shows_it(clock: ManualClock) -> None:
    async with running(World(clock, Stage(), Database("one"))) as world:
        assert world.database is not None
        world.source.show("two")
        await clock.advance(600)
        tries = len(world.database.tries)
        assert 20 < tries < 100
        assert set(world.database.tries) == {(2, "two")}
        world.database.password = "two"
        await clock.advance(31)
        assert (world.password, world.version) == ("two", 2)
        assert world.error() is None


async def test_between_tries_a_change_that_changes_nothing_causes_no_trial(clock: ManualClock) -> None:
    async with running(World(clock, Stage(), Database("one"))) as world:
        assert world.database is not None
        world.source.show("two")
        await clock.advance(600)
        tries, fetches = len(world.database.tries), world.source.fetches
        world.source.tell()
        await clock.advance(0)
        assert world.source.fetches == fetches + 1
        assert len(world.database.tries) == tries


async def test_a_refused_value_that_the_source_takes_back_is_forgotten(clock: ManualClock, logged: Logged) -> None:
    async with running(World(clock, Stage(), Database("one"))) as world:
        assert world.database is not None
        world.source.show("two")
        await clock.advance(1)
        world.source.show("one")
        await clock.advance(1)
        assert world.error() is None
        tries = len(world.database.tries)
        await clock.advance(600)
        assert len(world.database.tries) == tries
    assert [line["event"] for line in logged()].count("credential source recovered") == 1


async def test_a_third_value_gets_a_number_and_a_trial_of_its_own_at_once(clock: ManualClock) -> None:
    async with running(World(clock, Stage(), Database("three"))) as world:
        assert world.database is not None
        world.source.show("two")
        await clock.advance(600)
        world.source.show("three")
        await clock.advance(0.3)
        assert (world.password, world.version) == ("three", 3)
        assert world.database.tries[-1] == (3, "three")


@pytest.mark.parametrize("silent", [None, RuntimeError("the trial itself failed")])
async def test_when_no_server_answers_the_value_that_works_stays(clock: ManualClock, silent: Exception | None) -> None:
    async with running(World(clock, Stage(), Database())) as world:
        assert world.database is not None
        world.database.password, world.database.failure = None, silent
        world.source.show("two")
        await clock.advance(1)
        assert world.password == "one"
        assert "no server answered" in (world.error() or "")
        assert world.metrics.refreshes["unverified"] >= 1
        world.database.password, world.database.failure = "two", None
        await clock.advance(31)
        assert world.password == "two"


async def test_when_no_server_answers_a_value_that_was_refused_makes_room(clock: ManualClock, logged: Logged) -> None:
    async with running(World(clock, Stage(), Database())) as world:
        assert world.database is not None
        world.database.password = None
        world.source.show("two")
        await clock.advance(0)
        session = world.refused(1)
        await clock.advance(0.3)
        newer = await session
        assert newer is not None
        assert (world.password, newer.version) == ("two", 2)
    assert [line["trial"] for line in logged() if line["event"] == "credential rotated"] == ["unknown"]


async def test_when_no_server_answers_a_value_that_has_expired_makes_room(clock: ManualClock) -> None:
    source = Stage()
    source.not_after = clock.wall() + 10
    async with running(World(clock, source, Database())) as world:
        assert world.database is not None
        world.database.password = None
        source.not_after = None
        clock.jump(11)
        source.show("two")
        await clock.advance(1)
        assert world.password == "two"


async def test_a_trial_that_never_ends_is_cut_off(clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rotation, "LONGEST_TRIAL", 0.02)
    async with running(World(clock, Stage(), Database())) as world:
        assert world.database is not None
        world.database.gate.clear()
        world.source.show("two")
        await clock.advance(0.3)
        await asyncio.sleep(0.1)
        assert "no server answered" in (world.error() or "")
        assert world.password == "one"


# A login was refused


async def test_a_hundred_sessions_refused_at_once_cause_one_look(clock: ManualClock) -> None:
    async with running(World(clock, Stage(tells=False), Database("two"))) as world:
        assert world.database is not None
        await clock.advance(1)
        world.source.show("two")
        fetches = world.source.fetches
        found = await asyncio.gather(*(world.refused(1) for _ in range(100)))
        assert {one.version for one in found if one is not None} == {2}
        assert None not in found
        await clock.advance(5)
        assert world.source.fetches == fetches + 1
        assert len(world.database.tries) == 1


async def test_looks_are_kept_apart_however_many_are_refused(clock: ManualClock) -> None:
    async with running(World(clock, Stage(tells=False), Database(), min_interval=0.5)) as world:
        await clock.advance(1)
        fetches = world.source.fetches
        sessions = []
        for _ in range(100):
            sessions.append(world.refused(1))
            await clock.advance(0.1)
        assert 19 <= world.source.fetches - fetches <= 21
        for session in sessions:
            session.cancel()
        await asyncio.wait(sessions)


async def test_the_secret_first_and_the_database_later_needs_no_second_change(clock: ManualClock) -> None:
    async with running(World(clock, Stage(), Database("one"))) as world:
        assert world.database is not None
        world.source.show("two")
        await clock.advance(300)
        assert world.password == "one"
        world.database.password = "two"
        tries = len(world.database.tries)
        session = world.refused(1)
        await clock.advance(0.26)
        newer = await session
        assert newer is not None
        assert newer.version == 2
        assert len(world.database.tries) == tries + 1


async def test_the_database_first_and_the_secret_later_ends_the_wait(clock: ManualClock) -> None:
    async with running(World(clock, Stage(), Database("one"))) as world:
        assert world.database is not None
        await clock.advance(10)
        world.database.password = "two"
        session = world.refused(1)
        await clock.advance(0.9)
        assert not session.done()
        world.source.show("two")
        await clock.advance(0.3)
        newer = await session
        assert newer is not None
        assert newer.version == 2


async def test_a_source_that_does_not_tell_is_looked_at_while_refused_logins_wait(clock: ManualClock) -> None:
    world = World(clock, Stage(tells=False), Database("one"), refused_wait=2.0, poll=300.0)
    async with running(world):
        assert world.database is not None
        await clock.advance(10)
        world.database.password = "two"
        fetches, session = world.source.fetches, world.refused(1)
        await clock.advance(0.9)
        world.source.fields |= {"password": b"two"}
        await clock.advance(0.6)
        newer = await session
        assert newer is not None
        assert newer.version == 2
        assert world.source.fetches - fetches == 3


async def test_where_nothing_comes_of_it_the_looks_end_with_the_wait(clock: ManualClock) -> None:
    world = World(clock, Stage(tells=False), Database("one"), refused_wait=2.0, poll=300.0)
    async with running(world):
        await clock.advance(10)
        fetches, session = world.source.fetches, world.refused(1)
        await clock.advance(100)
        assert 3 <= world.source.fetches - fetches <= 5
        session.cancel()
        await asyncio.wait([session])


async def test_a_refusal_heard_during_a_trial_causes_another(clock: ManualClock) -> None:
    async with running(World(clock, Stage(), Database("one"))) as world:
        assert world.database is not None
        await clock.advance(1)
        world.database.gate.clear()
        world.source.show("two")
        await clock.settle()
        # The trial under way was refused already; now the database changes, and a session is refused.
        world.database.password = "two"
        session = world.refused(1)
        await clock.settle()
        world.database.gate.set()
        await clock.advance(0.26)
        newer = await session
        assert newer is not None
        assert newer.version == 2
        assert [shown for _, shown in world.database.tries] == ["two", "two"]


async def test_a_refusal_of_what_is_no_longer_current_causes_nothing(clock: ManualClock) -> None:
    async with running(World(clock, Stage(), None)) as world:
        world.source.show("two")
        await clock.advance(1)
        fetches = world.source.fetches
        world.keeper.ask(1)
        await clock.advance(1)
        assert world.source.fetches == fetches


async def test_a_refusal_is_logged_once_for_each_version(clock: ManualClock, logged: Logged) -> None:
    async with running(World(clock, Stage(), Database())) as world:
        for _ in range(3):
            world.keeper.ask(1)
        world.keeper.ask(None)
        await clock.advance(1)
    lines = [line for line in logged() if line["event"] == "credential refused by upstream"]
    assert [line["version"] for line in lines] == [1]


# A source in trouble


async def test_a_failing_source_leaves_the_last_good_value(clock: ManualClock, logged: Logged) -> None:
    async with running(World(clock, Stage(), Database())) as world:
        world.source.fail("the file is gone")
        await clock.advance(100)
        assert world.password == "one"
        assert world.error() == "the file is gone"
        assert world.metrics.refreshes["source_failed"] > 5
        assert world.metrics.last_success == pytest.approx(clock.wall() - 100)
        world.source.show("one")
        await clock.advance(1)
        assert world.error() is None
        assert world.metrics.last_success is not None
        assert world.metrics.last_success >= clock.wall() - 1
    warnings = [line for line in logged() if line["level"] == "warning"]
    assert [line["error"] for line in warnings] == ["the file is gone"]
    assert [line["event"] for line in logged()].count("credential source recovered") == 1


async def test_two_complaints_that_take_turns_are_logged_once_each(clock: ManualClock, logged: Logged) -> None:
    async with running(World(clock, Stage(), None)) as world:
        for _ in range(3):
            for failure in ("the login was refused", "the request was denied"):
                world.source.fail(failure)
                await clock.advance(60)
                assert world.error() == failure
        assert warned(logged()) == ["the login was refused", "the request was denied"]
        world.source.show("two")
        await clock.advance(60)
        world.source.fail("the request was denied")
        await clock.advance(60)
        assert warned(logged())[2:] == ["the request was denied"]


def warned(lines: list[dict[str, Any]]) -> list[str]:
    return [line["error"] for line in lines if line["event"] == "credential not read" and line["level"] == "warning"]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "there is no password"),
        ({"username": b"app", "password": b""}, "the password is empty"),
        ({"password": b"two"}, "the username is gone"),
    ],
)
async def test_an_empty_or_half_written_value_leaves_the_last_good_one(
    clock: ManualClock, fields: dict[str, bytes], words: str
) -> None:
    async with running(World(clock, Stage(), None)) as world:
        world.source.fields = fields
        world.source.tell()
        await clock.advance(1)
        assert world.password == "one"
        assert words in (world.error() or "")
        assert world.metrics.refreshes["source_failed"] >= 1


async def test_a_source_that_fails_at_first_is_asked_until_it_does_not(clock: ManualClock) -> None:
    source = Stage(tells=False)
    source.fail("not yet")
    async with running(World(clock, source, Database())) as world:
        await clock.advance(60)
        assert world.store.current("db") is None
        assert world.version == 0
        assert source.fetches < 30
        source.show("one")
        await clock.advance(31)
        assert world.password == "one"


async def test_a_source_s_own_fault_is_named_by_its_type_only(clock: ManualClock) -> None:
    secret = canary()
    source = Stage()
    source.fail(ValueError(secret))
    async with running(World(clock, source, Database())) as world:
        assert world.error() == "credential 'db': the source failed with ValueError"


async def test_a_source_that_never_answers_is_cut_off(clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rotation, "LONGEST_FETCH", 0.02)
    source = Stage()
    source.gate.clear()
    async with running(World(clock, source, Database())) as world:
        await asyncio.sleep(0.1)
        assert world.error() == "credential 'db': the source gave no answer within 0.02 s"


async def test_a_value_that_has_expired_on_arrival_is_not_taken(clock: ManualClock) -> None:
    source = Stage()
    source.not_after = clock.wall()
    async with running(World(clock, source, Database())) as world:
        assert world.store.current("db") is None
        assert "expired" in (world.error() or "")


async def test_a_broken_watch_is_mended_and_looked_through(clock: ManualClock, logged: Logged) -> None:
    async with running(World(clock, Stage(), None)) as world:
        world.source.tell(RuntimeError("inotify is out of order"))
        await clock.settle()
        world.source.fields["password"] = b"two"
        assert world.password == "one"
        await clock.advance(31)
        assert world.password == "two"
        assert world.source.watches == 2
    assert "credential not watched" in [line["event"] for line in logged()]


async def test_warnings_are_logged_and_shown(clock: ManualClock, logged: Logged) -> None:
    source = Stage()
    source.advice = ("mounted with subPath",)
    async with running(World(clock, source, None)) as world:
        (status,) = world.store.snapshot()
        assert status.warnings == ("mounted with subPath",)
        assert status.source == "stage"
    assert "mounted with subPath" in [line.get("error") for line in logged() if line["level"] == "warning"]


async def test_warnings_that_cannot_be_had_hinder_nothing(clock: ManualClock, logged: Logged) -> None:
    source = Stage()
    source.advice = RuntimeError("no /proc")
    async with running(World(clock, source, None)) as world:
        source.show("two")
        await clock.advance(1)
        assert world.password == "two"
    assert "credential source not examined" in [line["event"] for line in logged()]


# Time


async def test_a_source_that_cannot_tell_is_polled(clock: ManualClock) -> None:
    async with running(World(clock, Stage(tells=False), None, poll=30.0)) as world:
        await clock.advance(29)
        assert world.source.fetches == 1
        await clock.advance(300)
        assert world.source.fetches == 11


async def test_a_source_that_tells_is_not_polled(clock: ManualClock) -> None:
    async with running(World(clock, Stage(), None, poll=30.0)) as world:
        await clock.advance(3600)
        assert world.source.fetches == 1


async def test_a_source_that_cannot_change_is_asked_once_and_nobody_waits_for_it(clock: ManualClock) -> None:
    async with running(World(clock, Fixed(), None, poll=30.0)) as world:
        await clock.advance(3600)
        assert world.source.fetches == 1
        assert world.source.watches == 0
        assert await world.store.refused("db", 1, timeout=60.0) is None


async def test_a_value_with_an_end_is_renewed_at_about_two_thirds_of_its_life(clock: ManualClock) -> None:
    source = Stage(tells=False)
    source.not_after = clock.wall() + 900
    async with running(World(clock, source, None, poll=30.0)) as world:
        await clock.advance(539)
        assert source.fetches == 1
        source.not_after = clock.wall() + 900
        source.show("two")
        await clock.advance(62)
        assert (source.fetches, world.password) == (2, "two")
        assert world.metrics.expires == source.not_after


async def test_a_wall_clock_that_jumps_over_the_end_is_noticed_within_a_poll(clock: ManualClock) -> None:
    source = Stage(tells=False)
    source.not_after = clock.wall() + 36_000
    async with running(World(clock, source, None, poll=30.0)) as world:
        await clock.advance(31)
        clock.jump(36_000)
        source.not_after = clock.wall() + 36_000
        source.show("two")
        await clock.advance(31)
        assert world.password == "two"


async def test_use_of_an_expired_value_makes_the_keeper_look_at_once(clock: ManualClock) -> None:
    source = Stage(tells=False)
    source.not_after = clock.wall() + 36_000
    async with running(World(clock, source, Database("two"), poll=3600.0)) as world:
        await clock.advance(10)
        clock.jump(36_000)
        source.not_after = clock.wall() + 36_000
        source.show("two")
        with pytest.raises(CredentialError):
            world.store.require("db")
        await clock.settle()
        assert world.store.require("db").version == 2


# Beginning and end


async def test_a_new_keeper_of_the_same_name_takes_over_without_a_gap(clock: ManualClock) -> None:
    async with running(World(clock, Stage(), Database("two"))) as world:
        assert world.database is not None
        other = Stage()
        other.show("two")
        async with running(world, world.another(other)):
            assert (world.password, world.version) == ("two", 2)
            assert world.database.tries == [(2, "two")]
        same = Stage()
        same.show("two")
        async with running(world, world.another(same)):
            assert world.version == 2
            assert len(world.database.tries) == 1


async def test_the_value_stays_when_its_keeper_is_stopped_in_the_middle_of_a_fetch(clock: ManualClock) -> None:
    async with running(World(clock, Stage(), None)) as world:
        world.source.gate.clear()
        world.source.show("two")
        await clock.advance(1)
    assert world.password == "one"
    assert clock.sleepers == 0


async def test_one_look_can_be_had_without_a_keeper_at_work(clock: ManualClock) -> None:
    world = World(clock, Stage(), None)
    await world.keeper.look()
    assert world.password == "one"


async def test_no_value_is_ever_logged(clock: ManualClock, logged: Logged) -> None:
    secrets = [canary("first"), canary("second"), canary("third")]
    source = Stage()
    source.show(secrets[0])
    async with running(World(clock, source, Database(secrets[1]))) as world:
        for secret in secrets[1:]:
            source.show(secret)
            world.keeper.ask(world.version)
            await clock.advance(1)
        source.fail(ValueError(secrets[2]))
        await clock.advance(1)
        shown = repr(world.store.snapshot()) + repr(vars(world.keeper)) + repr(logged())
    assert not [secret for secret in secrets if secret in shown]


# Values that are made for us, each with a lease


class Lender(Stage):
    """Makes a user at each fetch, `one`, `two` and so on, good for 100 s at a time."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__()
        self.clock = clock
        self.grants: float | None = None  # what a renewal grants; None: as much as at first
        self.unwilling = False
        self.renewal: Exception | None = None
        self.renewals = 0
        self.live: list[str] = []
        self.asked_at: list[float] = []
        self.made = 0
        self.dud = False  # whether what it makes is no value
        self.late = False  # whether it has ended when it comes
        self.token: Token | None = None  # what its leases end with

    @property
    def makes_new(self) -> bool:
        return True

    @property
    def pace(self) -> tuple[int, float]:
        return 3, 5.0

    async def fetch(self) -> Fetched:
        self.asked_at.append(self.clock.now())
        await super().fetch()
        self.made += 1
        name = f"user {self.made}"
        self.live.append(name)
        term = Term(self.clock.now() - (200.0 if self.late else 0.0), 100.0, renewable=True, first=100.0)
        return Fetched(
            {"username": name.encode(), "password": b"" if self.dud else b"hunter22"},
            lease=Lease(name, term, self.token),
        )

    async def renew(self, lease: Lease) -> Lease | None:
        self.renewals += 1
        await self.gate.wait()
        if self.renewal is not None:
            raise self.renewal
        if self.unwilling:
            return None
        duration = lease.term.first if self.grants is None else self.grants
        return replace(lease, term=lease.term.renewed(duration, self.clock.now()))

    async def revoke(self, lease: Lease) -> bool:
        self.live.remove(lease.id)
        return True


class Doorman:
    """A trial that lets in whom the test says; None: nobody answers."""

    def __init__(self) -> None:
        self.answer: TrialResult = TrialResult.ACCEPTED
        self.tries: list[tuple[int, str | None]] = []

    async def __call__(self, credential: Credential) -> TrialResult:
        self.tries.append((credential.version, credential.username))
        return self.answer


class LendingWorld:
    """A keeper of a credential with leases, and everything around it."""

    def __init__(self, clock: ManualClock, doorman: Doorman | None = None) -> None:
        self.clock = clock
        self.source = Lender(clock)
        self.doorman = Doorman() if doorman is None else doorman
        self.store = Store(clock)
        self.metrics = CredentialMetrics()
        self.leases = Leases(self.store, clock, lambda _: self.metrics)
        self.settings = CredentialSettings(source="stage", options=Model())
        self.keeper = self.another(self.source)

    def another(self, source: Lender) -> Keeper:
        return Keeper(
            "db",
            source,
            self.settings,
            store=self.store,
            metrics=self.metrics,
            clock=self.clock,
            trial=self.doorman,
            leases=self.leases,
            rng=random.Random(7),
        )

    @property
    def user(self) -> str | None:
        current = self.store.current("db")
        return None if current is None else current.username

    @property
    def left(self) -> float:
        """Seconds until the current value ends, as far as we believe."""
        current = self.store.current("db")
        assert current is not None
        assert current.ends_at is not None
        return current.ends_at - self.clock.now()

    @property
    def events(self) -> dict[str, int]:
        return {event: number for event, number in self.metrics.leases.items() if number}

    def error(self) -> str | None:
        (status,) = self.store.snapshot()
        return status.error


@asynccontextmanager
async def lending(clock: ManualClock, world: LendingWorld | None = None) -> AsyncIterator[LendingWorld]:
    world = LendingWorld(clock) if world is None else world
    task = asyncio.ensure_future(world.keeper.run())
    await clock.settle()
    try:
        yield world
    finally:
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.result()
        await clock.settle()
        await world.leases.close(0.1)


async def test_a_lease_is_renewed_at_two_thirds_for_as_long_as_that_can_be_done(clock: ManualClock) -> None:
    async with lending(clock) as world:
        assert (world.user, world.left, world.events) == ("user 1", 100.0, {"issued": 1})
        await clock.advance(59)
        assert world.source.renewals == 0
        await clock.advance(8)
        assert world.source.renewals == 1
        await clock.advance(3600)
        assert 50 < world.source.renewals < 65
        assert (world.user, world.source.fetches, world.doorman.tries) == ("user 1", 1, [])
        assert world.left > 30
        assert world.metrics.expires == pytest.approx(clock.wall() + world.left)
        assert world.metrics.version == 1
        assert world.keeper.next_look == pytest.approx(world.left - 100 + 66.7, abs=7)


async def test_what_a_renewal_grants_is_what_whoever_uses_it_sees(clock: ManualClock) -> None:
    async with lending(clock) as world:
        before = world.store.current("db")
        await clock.advance(67)
        current = world.store.current("db")
        assert before is not None
        assert current is not None
        assert current.version == before.version
        assert current.ends_at is not None
        assert before.ends_at is not None
        assert current.ends_at > before.ends_at


async def test_one_that_meets_its_maximum_is_replaced_at_once_while_it_still_works(clock: ManualClock) -> None:
    async with lending(clock) as world:
        world.store.taken("db", 1)
        world.source.grants = 50.0
        await clock.advance(67)
        assert (world.user, world.source.renewals) == ("user 2", 1)
        assert world.doorman.tries == [(2, "user 2")]
        # Busy connections still use the old one; it is revoked when the last has gone.
        assert world.source.live == ["user 1", "user 2"]
        world.store.left("db", 1)
        await clock.settle()
        assert world.source.live == ["user 2"]
        assert world.events == {"issued": 2, "renewed": 1, "revoked": 1}


async def test_one_that_will_not_be_renewed_is_replaced_and_then_given_back(clock: ManualClock) -> None:
    async with lending(clock) as world:
        world.source.unwilling = True
        await clock.advance(67)
        assert (world.user, world.source.live) == ("user 2", ["user 2"])


async def test_one_that_is_lost_is_replaced_and_not_revoked(clock: ManualClock, logged: Logged) -> None:
    async with lending(clock) as world:
        world.store.taken("db", 1)
        world.source.renewal = LeaseLost(Reason.SOURCE_FAILED, "lease not found")
        await clock.advance(67)
        assert world.user == "user 2"
        assert world.leases.current("db") is not None
        await clock.advance(60)
        assert "user 1" in world.source.live  # not by us
        assert world.store.has_ended("db", 1)
        world.store.left("db", 1)
    lost = [(line["version"], line["error"]) for line in logged() if line["event"] == "lease lost"]
    assert lost[:1] == [(1, "lease not found")]


async def test_one_that_is_lost_without_a_successor_stays_until_there_is_one(clock: ManualClock) -> None:
    async with lending(clock) as world:
        world.source.renewal = LeaseLost(Reason.SOURCE_FAILED, "lease not found")
        world.source.fail("denied")
        await clock.advance(67)
        assert (world.user, world.error()) == ("user 1", "denied")
        world.source.failure = world.source.renewal = None
        await clock.advance(31)
        assert world.user == "user 2"


async def test_while_the_source_is_away_it_is_asked_more_often_the_nearer_the_end(clock: ManualClock) -> None:
    async with lending(clock) as world:
        world.source.renewal = CredentialError(Reason.SOURCE_FAILED, "sealed")
        await clock.advance(95)
        assert (world.user, world.error()) == ("user 1", "sealed")
        assert 3 < world.source.renewals < 30
        asked = world.source.renewals
        await clock.advance(4)
        assert asked + 1 < world.source.renewals < asked + 10
        world.source.renewal = None
        await clock.advance(2)
        assert world.user == "user 1"
        assert world.left > 90
        assert (world.source.fetches, world.error()) == (1, None)


def token(clock: ManualClock, seconds: float) -> Token:
    return Token(Secret("s.token"), Term(clock.now(), seconds, renewable=True), ours=True)


async def test_what_a_lease_ends_with_moves_its_end_and_that_is_said(clock: ManualClock) -> None:
    world = LendingWorld(clock)
    parent = world.source.token = token(clock, 50.0)
    async with lending(clock, world):
        assert (world.left, world.error()) == (100.0, None)
        end = world.metrics.expires
        assert end is not None
        parent.trouble = "the vault is sealed"
        world.source.tell(Change.END)
        await clock.advance(1)
        assert (world.left, world.error()) == (49.0, "the vault is sealed")
        assert world.metrics.expires == pytest.approx(end - 50)
        assert (world.source.fetches, world.source.renewals) == (1, 0), "nothing is asked for on that account"
        parent.trouble = None
        world.source.tell(Change.END)
        await clock.advance(1)
        assert (world.left, world.error()) == (98.0, None)
        assert world.metrics.expires == pytest.approx(end)


async def test_a_renewal_does_not_outlast_a_token_that_is_about_to_end(clock: ManualClock) -> None:
    world = LendingWorld(clock)
    parent = world.source.token = token(clock, 80.0)
    async with lending(clock, world):
        await clock.advance(1)
        parent.trouble = "no login succeeds"
        await clock.advance(69)
        assert world.source.renewals == 1
        assert (world.left, world.error()) == (10.0, "no login succeeds")


@asynccontextmanager
async def undecided(clock: ManualClock) -> AsyncIterator[tuple[LendingWorld, Token]]:
    """The current lease, and one that was made since and that no server has judged, come with one token of 50 s."""
    world = LendingWorld(clock)
    parent = world.source.token = token(clock, 50.0)
    async with lending(clock, world):
        world.doorman.answer = TrialResult.UNKNOWN
        world.source.tell()
        await clock.advance(1)
        assert (world.user, world.doorman.tries[-1]) == ("user 1", (2, "user 2"))
        yield world, parent


async def test_a_candidate_that_has_ended_with_its_token_makes_room_for_another(clock: ManualClock) -> None:
    async with undecided(clock) as (world, parent):
        parent.trouble = "the vault is sealed"
        world.source.tell(Change.END)
        await clock.advance(50)
        world.source.token, world.doorman.answer = token(clock, 5000.0), TrialResult.ACCEPTED
        await clock.advance(40)
        assert world.user not in {"user 1", "user 2"}
        assert world.left > 50
        assert world.leases.held_by(lambda source: True) == 1


async def test_a_candidate_whose_token_was_replaced_is_not_taken(clock: ManualClock) -> None:
    async with undecided(clock) as (world, parent):
        parent.replaced = True
        world.source.token, world.doorman.answer = token(clock, 5000.0), TrialResult.ACCEPTED
        world.source.tell()
        await clock.advance(6)
        assert world.user == "user 3"


async def test_a_candidate_is_taken_with_the_end_that_its_lease_has_by_then(clock: ManualClock) -> None:
    async with undecided(clock) as (world, parent):
        parent.trouble, world.doorman.answer = "the vault is sealed", TrialResult.ACCEPTED
        await clock.advance(35)
        assert (world.user, world.left) == ("user 2", 14.0)


async def test_a_fetch_that_fails_once_does_not_leave_it_with_a_token_that_was_replaced(clock: ManualClock) -> None:
    world = LendingWorld(clock)
    parent = world.source.token = token(clock, 50.0)
    async with lending(clock, world):
        parent.replaced, world.source.token = True, token(clock, 5000.0)
        world.source.fail("the database is away")
        await clock.advance(1)
        assert world.error() is not None
        world.source.failure = None
        await clock.advance(20)
        assert (world.user, world.error()) == ("user 2", None)
        assert world.left > 50


async def test_one_that_ended_while_the_source_was_away_is_replaced(clock: ManualClock) -> None:
    async with lending(clock) as world:
        world.source.renewal = CredentialError(Reason.SOURCE_FAILED, "sealed")
        world.source.failure = world.source.renewal
        await clock.advance(300)
        with pytest.raises(CredentialError, match=r"expired|ended"):
            world.store.require("db")
        assert world.source.renewals + world.source.fetches < 100
        world.source.renewal = world.source.failure = None
        await clock.advance(31)
        assert world.user is not None
        assert world.store.require("db").username == world.user != "user 1"


async def test_a_renewal_that_never_ends_is_cut_off(clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renewal, "LONGEST", 0.02)
    async with lending(clock) as world:
        world.source.gate.clear()
        await clock.advance(67)
        await asyncio.sleep(0.1)
        assert "the source gave no answer within 0.02 s" in (world.error() or "")
        world.source.gate.set()


async def test_a_wall_clock_that_jumps_ends_no_lease_early_or_late(clock: ManualClock) -> None:
    async with lending(clock) as world:
        for jump in (1e8, -2e8, 1e8):
            clock.jump(jump)
            await clock.advance(20)
            assert world.store.require("db").username == "user 1"
            assert world.source.renewals == (0 if clock.now() < 1060 else world.source.renewals)
        assert world.source.fetches == 1
        assert world.metrics.expires is not None


# A value that was made for us and is not accepted


async def test_one_that_is_refused_is_tried_three_times_then_given_back_and_another_made(clock: ManualClock) -> None:
    async with lending(clock) as world:
        world.doorman.answer = TrialResult.REFUSED
        world.source.unwilling = True
        await clock.advance(95)
        assert world.user == "user 1"
        tries = [user for _, user in world.doorman.tries]
        assert tries[: REFUSALS + 1] == ["user 2"] * REFUSALS + ["user 3"]
        assert len({version for version, user in world.doorman.tries if user == "user 2"}) == 1
        # Of those that were refused at most the one that is still tried is left.
        assert len(world.source.live) <= 2
        world.doorman.answer = TrialResult.ACCEPTED
        await clock.advance(4.9)
        assert world.source.live == [world.user]


async def test_one_that_could_not_be_tried_is_kept_and_tried_again_without_another(clock: ManualClock) -> None:
    async with lending(clock) as world:
        world.doorman.answer = TrialResult.UNKNOWN
        world.source.unwilling = True
        await clock.advance(99)
        assert (world.user, world.source.fetches) == ("user 1", 2)
        assert set(world.doorman.tries) == {(2, "user 2")}
        assert len(world.doorman.tries) > 3
        world.doorman.answer = TrialResult.ACCEPTED
        await clock.advance(8)
        assert (world.user, world.source.live) == ("user 2", ["user 2"])


async def test_one_that_nobody_could_try_takes_the_place_of_one_that_has_ended(clock: ManualClock) -> None:
    async with lending(clock) as world:
        world.doorman.answer = TrialResult.UNKNOWN
        world.source.unwilling = True
        await clock.advance(131)
        assert world.user == "user 2"


async def test_a_refused_login_while_the_lease_is_good_has_another_made_and_tried_until_it_is_taken(
    clock: ManualClock,
) -> None:
    """A renewal of what was refused must not put an end to the trials of what is to follow it."""
    async with lending(clock) as world:
        world.doorman.answer = TrialResult.REFUSED
        world.keeper.ask(1)
        await clock.advance(0.3)
        assert world.doorman.tries == [(2, "user 2")]
        world.doorman.answer = TrialResult.ACCEPTED
        await clock.advance(2)
        assert world.user == "user 2"
        assert world.source.live == ["user 2"]


async def test_while_another_is_refused_the_one_that_works_is_renewed(clock: ManualClock) -> None:
    async with lending(clock) as world:
        world.doorman.answer = TrialResult.REFUSED
        world.keeper.ask(1)
        await clock.advance(600)
        assert world.store.require("db").username == "user 1"
        assert world.source.renewals > 5


async def test_no_fault_makes_more_than_the_burst_and_one_every_five_seconds(clock: ManualClock) -> None:
    async with lending(clock) as world:
        for _ in range(600):
            current = world.store.current("db")
            world.keeper.ask(None if current is None else current.version)
            await clock.advance(0.1)
        made = world.source.asked_at
        assert 10 < len(made) <= 3 + 60 / 5 + 1
        for number, moment in enumerate(made):
            in_a_row = [other for other in made[number:] if other <= moment + 10]
            assert len(in_a_row) <= 3 + 2 + 1
        assert len(world.source.live) == 1


async def test_many_refused_logins_make_one(clock: ManualClock) -> None:
    async with lending(clock) as world:
        found = [asyncio.ensure_future(world.store.refused("db", 1, timeout=20.0)) for _ in range(100)]
        await clock.advance(1)
        assert {one.version for one in await asyncio.gather(*found) if one is not None} == {2}
        await clock.advance(10)
        assert world.source.fetches == 2


async def test_a_value_that_has_ended_when_it_comes_is_left_to_its_end(clock: ManualClock) -> None:
    async with lending(clock) as world:
        world.source.unwilling = world.source.late = True
        await clock.advance(80)
        assert world.user == "user 1"
        assert "expired" in (world.error() or "")
        assert world.events["lapsed"] == world.source.made - 1 > 0
        assert world.leases.held_by(lambda source: source is world.source) == 1


async def test_a_value_that_makes_no_credential_is_given_back(clock: ManualClock) -> None:
    async with lending(clock) as world:
        world.source.unwilling = True
        world.source.dud = True
        await clock.advance(67)
        assert world.user == "user 1"
        assert "the password is empty" in (world.error() or "")
        await clock.advance(20)
        assert world.source.live == ["user 1"]


# Its keeper's end


async def test_a_candidate_is_given_back_when_its_keeper_ends(clock: ManualClock) -> None:
    world = LendingWorld(clock)
    task = asyncio.ensure_future(world.keeper.run())
    await clock.settle()
    world.doorman.answer = TrialResult.UNKNOWN
    world.source.unwilling = True
    await clock.advance(70)
    assert world.source.live == ["user 1", "user 2"]
    task.cancel()
    await asyncio.wait([task])
    await clock.settle()
    assert world.source.live == ["user 1"]
    assert world.leases.current("db") is not None
    await world.leases.close(1.0)
    assert world.source.live == []


async def test_a_new_keeper_gets_a_lease_of_its_own_and_the_old_one_goes_back_where_it_came_from(
    clock: ManualClock,
) -> None:
    async with lending(clock) as world:
        other = Lender(clock)
        other.made = 10
        task = asyncio.ensure_future(world.another(other).run())
        await clock.settle()
        assert (world.user, other.live, world.source.live) == ("user 11", ["user 11"], [])
        task.cancel()
        await asyncio.wait([task])


async def test_a_told_change_has_another_made(clock: ManualClock) -> None:
    """The token that the lease came with has been replaced."""
    async with lending(clock) as world:
        await clock.advance(5)
        world.source.tell()
        await clock.advance(1)
        assert (world.user, world.source.live, world.source.renewals) == ("user 2", ["user 2"], 0)


async def test_a_value_that_comes_again_at_a_known_time_is_looked_for_then(clock: ManualClock) -> None:
    """A static role: its password is changed, and nobody tells."""

    class Rotated(Stage):
        async def fetch(self) -> Fetched:
            found = await super().fetch()
            return Fetched(found.fields, again=50.0)

    async with running(World(clock, Rotated(tells=False), None, poll=30.0)) as world:
        await clock.advance(49)
        before = world.source.fetches
        world.source.fields["password"] = b"two"
        await clock.advance(2)
        assert (world.password, world.source.fetches) == ("two", before + 1)


# Both sides changed by an operator, in either order, with clients that never rest


class Client:
    """Logs in over and over, as an upstream does for its sessions."""

    def __init__(self, store: Store, database: Database) -> None:
        self.store, self.database = store, database
        self.logins = self.retries = self.failures = 0

    async def run(self) -> None:
        while True:
            await self.login()
            await asyncio.sleep(0.005)

    async def login(self) -> None:
        credential = self.store.require("db")
        if not await self.accepted(credential):
            self.retries += 1
            newer = await self.store.refused("db", credential.version)
            if newer is None or not await self.accepted(newer):
                self.failures += 1
        self.logins += 1

    async def accepted(self, credential: Credential) -> bool:
        assert credential.password is not None
        await asyncio.sleep(0.001)  # on its way to the server
        answer = credential.password.reveal().decode() == self.database.password
        await asyncio.sleep(0.001)  # and back
        return answer


async def rotate(secret: SecretDir, database: Database, password: str, *, secret_first: bool, gap: float) -> None:
    steps: list[Callable[[], None]] = [
        lambda: secret.swap({"username": "app", "password": password}),
        lambda: setattr(database, "password", password),
    ]
    for step in steps if secret_first else reversed(steps):
        step()
        await asyncio.sleep(gap)


@pytest.mark.parametrize("secret_first", [True, False], ids=["secret first", "database first"])
async def test_no_login_fails_while_secret_and_database_change_one_after_the_other(
    tmp_path: Path, secret_first: bool
) -> None:
    database = Database("password 0")
    secret = SecretDir(tmp_path / "secret", {"username": "app", "password": "password 0"})
    settings = CredentialSettings(source="file", options=Model())
    store = Store()
    source = File("db", FileOptions(path=secret.path))
    keeper = Keeper("db", source, settings, store=store, metrics=CredentialMetrics(), trial=database)
    clients = [Client(store, database) for _ in range(20)]
    task = asyncio.ensure_future(keeper.run())
    await asyncio.sleep(0)
    await store.usable("db", timeout=5.0)
    tasks = [task, *(asyncio.ensure_future(client.run()) for client in clients)]
    for number, gap in enumerate((1.0, 0.02), 1):
        await rotate(secret, database, f"password {number}", secret_first=secret_first, gap=gap)
        await asyncio.sleep(0.7)
    for each in tasks:
        each.cancel()
    await asyncio.wait(tasks)
    assert sum(client.failures for client in clients) == 0
    assert min(client.logins for client in clients) > 50
    assert sum(client.retries for client in clients) >= 20
    assert store.require("db").version == 3
