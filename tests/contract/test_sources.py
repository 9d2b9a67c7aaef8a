"""What every source of credentials must do, whichever it is. A new one needs one entry in `STAGES`."""

from __future__ import annotations

import asyncio
import shlex
import traceback
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from ambassador import registry
from ambassador.config.model import Model
from ambassador.config.schema import CredentialSettings
from ambassador.credentials.credential import Credential
from ambassador.credentials.rotation import Keeper
from ambassador.credentials.sources.base import Source
from ambassador.credentials.store import Store
from ambassador.errors import CredentialError, Reason
from ambassador.kit.clock import SYSTEM
from ambassador.telemetry.metrics import CredentialMetrics
from tests.support.secrets import SecretDir, canary

NAME = "orders-db"


class Stage(ABC):
    """A place where one kind of source finds what the test puts there."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.directory = directory
        self.monkeypatch = monkeypatch

    @property
    @abstractmethod
    def options(self) -> dict[str, Any]:
        """Options of a source that looks here, as written in a file."""

    @abstractmethod
    def show(self, username: bytes, password: bytes) -> None:
        """Put a value there; a first time too."""

    @abstractmethod
    def clear(self) -> None:
        """Take away whatever is there."""


class FileStage(Stage):
    """A mounted Secret."""

    @property
    def options(self) -> dict[str, Any]:
        return {"path": str(self.directory / "secret")}

    def show(self, username: bytes, password: bytes) -> None:
        SecretDir(self.directory / "secret").swap({"username": username, "password": password})

    def clear(self) -> None:
        SecretDir(self.directory / "secret").empty()


class EnvStage(Stage):
    """Two environment variables."""

    @property
    def options(self) -> dict[str, Any]:
        return {"username": "STAGE_USERNAME", "password": "STAGE_PASSWORD"}

    def show(self, username: bytes, password: bytes) -> None:
        self.monkeypatch.setenv("STAGE_USERNAME", username.decode("utf-8", "surrogateescape"))
        self.monkeypatch.setenv("STAGE_PASSWORD", password.decode("utf-8", "surrogateescape"))

    def clear(self) -> None:
        self.monkeypatch.delenv("STAGE_USERNAME", raising=False)
        self.monkeypatch.delenv("STAGE_PASSWORD", raising=False)


class ExecStage(Stage):
    """A script that prints a file, and takes its user name from the options."""

    username = "app"

    @property
    def options(self) -> dict[str, Any]:
        return {"command": ["/bin/sh", str(self.directory / "command")], "format": "text", "username": self.username}

    def show(self, username: bytes, password: bytes) -> None:
        self.username = username.decode().rstrip("\n")
        (self.directory / "value").write_bytes(password)
        (self.directory / "command").write_text(f"cat {shlex.quote(str(self.directory / 'value'))}")

    def clear(self) -> None:
        (self.directory / "command").write_text("echo not available >&2; exit 1")


STAGES: dict[str, type[Stage]] = {"file": FileStage, "env": EnvStage, "exec": ExecStage}


@pytest.fixture(params=sorted(registry.SOURCES))
def kind(request: pytest.FixtureRequest) -> str:
    """Every source of the registry."""
    found: str = request.param
    return found


@pytest.fixture
def stage(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    return STAGES[kind](tmp_path, monkeypatch)


@pytest.fixture
def make(kind: str, stage: Stage) -> Callable[[], Source]:
    """Makes a source as the daemon does: from the words of a file."""

    def source() -> Source:
        settings = CredentialSettings.model_validate({kind: stage.options})
        found: Source = registry.resolve("sources", settings.source)(NAME, settings.options)
        return found

    return source


@asynccontextmanager
async def kept(source: Source) -> AsyncIterator[Store]:
    """A store whose credential is kept current from this source."""
    settings = CredentialSettings(source="stage", options=Model(), poll=0.2, debounce=0.01, min_interval=0.05)
    store = Store()
    keeper = Keeper(NAME, source, settings, store=store, metrics=CredentialMetrics())
    task = asyncio.ensure_future(keeper.run())
    await asyncio.sleep(0)
    try:
        yield store
    finally:
        task.cancel()
        await asyncio.wait([task])


def shown(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))


def test_it_is_a_source_whose_options_are_a_frozen_model_of_its_own(kind: str) -> None:
    found = registry.resolve("sources", kind)
    assert issubclass(found, Source)
    assert issubclass(found.Options, Model)
    assert found.Options is not Model
    assert found.Options.__doc__


def test_it_refuses_options_it_does_not_know(kind: str, stage: Stage) -> None:
    with pytest.raises(ValidationError):
        CredentialSettings.model_validate({kind: {**stage.options, "no_such_option": 1}})


@pytest.mark.parametrize(
    "password", [b"hunter22", b"t" * 900, b"\xff\xfe\x01 $(id) `id` 'quote\" \\n", "p\u00e4ssw\u00f6rd".encode(), b" "]
)
async def test_it_fetches_user_name_and_password_to_the_byte(
    stage: Stage, make: Callable[[], Source], password: bytes
) -> None:
    stage.show(b"app", password)
    found = await make().fetch()
    assert found.fields == {"username": b"app", "password": password}


async def test_one_newline_at_the_end_is_no_part_of_the_value(stage: Stage, make: Callable[[], Source]) -> None:
    stage.show(b"app\n", b"secret\n\n")
    found = await make().fetch()
    assert found.fields == {"username": b"app", "password": b"secret\n"}


async def test_what_it_fetches_makes_a_credential(stage: Stage, make: Callable[[], Source]) -> None:
    stage.show(b"app", b"hunter22")
    found = await make().fetch()
    credential = Credential(NAME, 1, found.fields, not_after=found.not_after)
    assert credential.username == "app"
    assert credential.password is not None
    assert credential.password.reveal() == b"hunter22"


async def test_the_next_fetch_shows_the_next_value(stage: Stage, make: Callable[[], Source]) -> None:
    stage.show(b"app", b"one")
    source = make()
    await source.fetch()
    stage.show(b"app", b"two")
    assert (await source.fetch()).fields["password"] == b"two"


async def test_where_there_is_no_value_no_credential_comes_of_it(stage: Stage, make: Callable[[], Source]) -> None:
    secret = canary()
    stage.show(b"app", secret.encode())
    source = make()
    await source.fetch()
    stage.clear()
    with pytest.raises(CredentialError) as caught:
        Credential(NAME, 1, (await source.fetch()).fields)
    assert caught.value.reason is Reason.SOURCE_FAILED
    assert repr(NAME) in str(caught.value)
    assert secret not in shown(caught.value)


async def test_an_empty_password_is_no_value(stage: Stage, make: Callable[[], Source]) -> None:
    stage.show(b"app", b"\n")
    with pytest.raises(CredentialError, match="the password is empty"):
        Credential(NAME, 1, (await make().fetch()).fields)


async def test_what_it_says_of_itself_holds_no_value(stage: Stage, make: Callable[[], Source], kind: str) -> None:
    secret = canary()
    stage.show(b"app", secret.encode())
    source = make()
    found = await source.fetch()
    said = [source.describe(), repr(source), repr(found), str(found), *await source.warnings()]
    assert source.describe().startswith(kind + " ")
    assert not [text for text in said if secret in text]


async def test_a_fetch_can_be_given_up_at_any_moment(stage: Stage, make: Callable[[], Source]) -> None:
    stage.show(b"app", b"hunter22")
    source = make()
    for turns in (0, 1, 2, 5, 20):
        fetching = asyncio.ensure_future(source.fetch())
        for _ in range(turns):
            await asyncio.sleep(0)
        fetching.cancel()
        await asyncio.wait([fetching])
    assert (await source.fetch()).fields["password"] == b"hunter22"


async def test_fetches_at_the_same_time_do_not_get_in_each_other_s_way(
    stage: Stage, make: Callable[[], Source]
) -> None:
    stage.show(b"app", b"hunter22")
    source = make()
    found = await asyncio.gather(*(source.fetch() for _ in range(10)))
    assert {one.fields["password"] for one in found} == {b"hunter22"}


async def test_one_that_tells_of_changes_tells_of_each(stage: Stage, make: Callable[[], Source]) -> None:
    stage.show(b"app", b"one")
    source = make()
    changes = source.changes(poll=30.0, debounce=0.01, clock=SYSTEM)
    if changes is None:
        stage.show(b"app", b"two")
        assert (await source.fetch()).fields["password"] == b"two"
        return
    async with asyncio.timeout(20), aclosing(changes):
        for password in (b"two", b"three"):
            stage.show(b"app", password)
            await anext(changes)
            assert (await source.fetch()).fields["password"] == password


async def test_a_keeper_follows_it_and_keeps_the_last_good_value(
    stage: Stage, make: Callable[[], Source], capfd: pytest.CaptureFixture[str]
) -> None:
    first, second = canary("first"), canary("second")
    stage.show(b"app", first.encode())
    source = make()
    async with asyncio.timeout(20), kept(source) as store:
        loaded = await store.usable(NAME, timeout=10)
        assert loaded.password is not None
        assert loaded.password.reveal() == first.encode()
        if not source.fixed:
            stage.clear()
            await noted(store)
            assert store.require(NAME) is loaded
            # Shown by way of the same options, so only the password changes.
            stage.show(b"app", second.encode())
            newer = await store.refused(NAME, 1, timeout=10)
            assert newer is not None
            assert newer.password is not None
            assert newer.password.reveal() == second.encode()
    log = capfd.readouterr()
    assert first not in log.err + log.out
    assert second not in log.err + log.out


async def noted(store: Store) -> None:
    """Wait until the status tells of trouble."""
    for _ in range(500):
        if any(status.error for status in store.snapshot()):
            return
        await asyncio.sleep(0.01)
    raise AssertionError("the status tells of no trouble")
