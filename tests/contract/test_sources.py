"""What every source of credentials must do, whichever it is. A new one needs one entry in `STAGES`."""

from __future__ import annotations

import asyncio
import shlex
import traceback
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import ExitStack, aclosing, asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
from pydantic import ValidationError

from ambassador import registry
from ambassador.config.model import Model
from ambassador.config.schema import CredentialSettings
from ambassador.credentials.candidate import credential_of
from ambassador.credentials.credential import PUBLIC_FIELDS, Credential
from ambassador.credentials.leases import Leases
from ambassador.credentials.rotation import Keeper
from ambassador.credentials.sources.base import Fetched, LeaseLost, Source
from ambassador.credentials.store import Store
from ambassador.credentials.vault.vault import Vault
from ambassador.errors import CredentialError, Reason
from ambassador.kit.clock import SYSTEM
from ambassador.telemetry.metrics import CredentialMetrics
from tests.support.fake_vault import FakeVault
from tests.support.openbao import OpenBao
from tests.support.openbao_engines import POSTGRES_ROLE
from tests.support.postgres import Servers, new_role
from tests.support.secrets import SecretDir, canary
from tests.support.vaults import opened

NAME = "orders-db"


class Stage(ABC):
    """A place where one kind of source finds what the test puts there.

    Args:
        fixture: what brings the servers of this run, by name.

    Attributes:
        kind: the source's name in the registry.
        carries: what it can be told to show: any `bytes`, any `text`, or `nothing`, because it makes its values.
        address: the Vault it is asked of.
    """

    kind: ClassVar[str]
    carries: ClassVar[Literal["bytes", "text", "nothing"]]
    address: str | None = None

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch, fixture: Callable[[str], Any]) -> None:
        self.directory = directory
        self.monkeypatch = monkeypatch
        self.fixture = fixture
        self.open = ExitStack()

    @property
    @abstractmethod
    def options(self) -> dict[str, Any]:
        """Options of a source that looks here, as written in a file."""

    @abstractmethod
    def show(self, username: bytes, password: bytes) -> None:
        """Put a value there; a first time too. One that makes its values makes them from now on."""

    @abstractmethod
    def clear(self) -> None:
        """Take away whatever is there."""


class FileStage(Stage):
    """A mounted Secret."""

    kind = "file"
    carries = "bytes"

    @property
    def options(self) -> dict[str, Any]:
        return {"path": str(self.directory / "secret")}

    def show(self, username: bytes, password: bytes) -> None:
        SecretDir(self.directory / "secret").swap({"username": username, "password": password})

    def clear(self) -> None:
        SecretDir(self.directory / "secret").empty()


class EnvStage(Stage):
    """Two environment variables."""

    kind = "env"
    carries = "bytes"

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

    kind = "exec"
    carries = "bytes"
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


class FakeStage(Stage):
    """A Vault that is none."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch, fixture: Callable[[str], Any]) -> None:
        super().__init__(directory, monkeypatch, fixture)
        self.server = self.open.enter_context(FakeVault())
        self.address = self.server.url
        monkeypatch.setenv("STAGE_TOKEN", self.server.root)


class RealStage(Stage):
    """An OpenBao."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch, fixture: Callable[[str], Any]) -> None:
        super().__init__(directory, monkeypatch, fixture)
        self.server: OpenBao = fixture("openbao")
        self.address = self.server.url
        monkeypatch.setenv("STAGE_TOKEN", self.server.root)


class FakeKeyValue(FakeStage):
    """A secret that the test wrote down."""

    kind = "vault_kv"
    carries = "text"

    @property
    def options(self) -> dict[str, Any]:
        return {"vault": "main", "mount": "kv", "path": "shop/app"}

    def show(self, username: bytes, password: bytes) -> None:
        self.server.key_value("kv").put("kv", "shop/app", username=username.decode(), password=password.decode())

    def clear(self) -> None:
        self.server.delete("kv", "shop/app")


class KeyValue(RealStage):
    """The same in an OpenBao."""

    kind = "vault_kv"
    carries = "text"

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch, fixture: Callable[[str], Any]) -> None:
        super().__init__(directory, monkeypatch, fixture)
        self.store = self.server.key_value(2)

    @property
    def options(self) -> dict[str, Any]:
        return {"vault": "main", "mount": self.store.mount, "path": "shop/app"}

    def show(self, username: bytes, password: bytes) -> None:
        self.store.put("shop/app", {"username": username.decode(), "password": password.decode()})

    def clear(self) -> None:
        self.store.delete("shop/app")


class KeyValueOne(KeyValue):
    """And in one that remembers nothing."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch, fixture: Callable[[str], Any]) -> None:
        super().__init__(directory, monkeypatch, fixture)
        self.store = self.server.key_value(1)

    @property
    def options(self) -> dict[str, Any]:
        return {**super().options, "engine": "1"}


class FakeStaticRole(FakeStage):
    """A user whose password the test changes."""

    kind = "vault_database"
    carries = "text"

    @property
    def options(self) -> dict[str, Any]:
        return {"vault": "main", "mount": "db", "static_role": "app"}

    def show(self, username: bytes, password: bytes) -> None:
        self.server.static_role("db/static-creds/app", username.decode(), password.decode())

    def clear(self) -> None:
        del self.server.contents.lenders["db/static-creds/app"]


class StaticRole(RealStage):
    """A user whose password an OpenBao changes."""

    kind = "vault_database"
    carries = "nothing"

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch, fixture: Callable[[str], Any]) -> None:
        super().__init__(directory, monkeypatch, fixture)
        servers: Servers = fixture("servers")
        self.database = self.server.postgres_database(servers.get(17))
        self.user = new_role(servers.get(17))
        self.shown = False

    @property
    def options(self) -> dict[str, Any]:
        return {"vault": "main", "mount": self.database.mount, "static_role": "kept"}

    def show(self, username: bytes, password: bytes) -> None:
        if self.shown:
            self.database.rotate("kept")
        else:
            self.database.set_static_role("kept", self.user.name)
        self.shown = True

    def clear(self) -> None:
        self.server.api("DELETE", f"{self.database.mount}/static-roles/kept")
        self.shown = False


class FakeRole(FakeStage):
    """A role whose users exist nowhere."""

    kind = "vault_database"
    carries = "nothing"

    @property
    def options(self) -> dict[str, Any]:
        return {"vault": "main", "mount": "db", "role": "app"}

    def show(self, username: bytes, password: bytes) -> None:
        self.server.database("db/creds/app", ttl=60, max_ttl=600)

    def clear(self) -> None:
        del self.server.contents.lenders["db/creds/app"]


class Role(RealStage):
    """A role of a PostgreSQL behind an OpenBao."""

    kind = "vault_database"
    carries = "nothing"

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch, fixture: Callable[[str], Any]) -> None:
        super().__init__(directory, monkeypatch, fixture)
        servers: Servers = fixture("servers")
        self.database = self.server.postgres_database(servers.get(17))

    @property
    def options(self) -> dict[str, Any]:
        return {"vault": "main", "mount": self.database.mount, "role": "app"}

    def show(self, username: bytes, password: bytes) -> None:
        self.database.set_role("app", [POSTGRES_ROLE], default_ttl=60, max_ttl=600)

    def clear(self) -> None:
        self.server.api("DELETE", f"{self.database.mount}/roles/app")


class FakeAuthority(FakeStage):
    """An authority whose certificates are real."""

    kind = "vault_pki"
    carries = "nothing"

    @property
    def options(self) -> dict[str, Any]:
        return {"vault": "main", "mount": "pki", "role": "app", "common_name": "app.example"}

    def show(self, username: bytes, password: bytes) -> None:
        self.server.authority("pki/issue/app", ttl=60)

    def clear(self) -> None:
        del self.server.contents.lenders["pki/issue/app"]


class Authority(RealStage):
    """An authority in an OpenBao."""

    kind = "vault_pki"
    carries = "nothing"

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch, fixture: Callable[[str], Any]) -> None:
        super().__init__(directory, monkeypatch, fixture)
        self.mount = self.server.authority(ttl=60).mount

    @property
    def options(self) -> dict[str, Any]:
        return {"vault": "main", "mount": self.mount, "role": "app", "common_name": "app.example"}

    def show(self, username: bytes, password: bytes) -> None:
        self.server.api("POST", f"{self.mount}/roles/app", {"allow_any_name": True, "key_type": "ec", "ttl": "60s"})

    def clear(self) -> None:
        self.server.api("DELETE", f"{self.mount}/roles/app")


STAGES: dict[str, type[Stage]] = {
    "file": FileStage,
    "env": EnvStage,
    "exec": ExecStage,
    "vault_kv": KeyValue,
    "vault_kv of version 1": KeyValueOne,
    "vault_kv of a fake": FakeKeyValue,
    "vault_database": Role,
    "vault_database of a fake": FakeRole,
    "vault_database with a static role": StaticRole,
    "vault_database with a fake's static role": FakeStaticRole,
    "vault_pki": Authority,
    "vault_pki of a fake": FakeAuthority,
}


def carrying(*what: str) -> pytest.MarkDecorator:
    """For stages that can be told to show such values."""
    return pytest.mark.parametrize(
        "stage", [name for name, stage in STAGES.items() if stage.carries in what], indirect=True
    )


@pytest.fixture(params=STAGES)
def stage(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    """Every place where a source of the registry finds something."""
    found = STAGES[request.param](tmp_path, monkeypatch, request.getfixturevalue)
    with found.open:
        yield found


@pytest.fixture
async def vaults(stage: Stage) -> AsyncIterator[Mapping[str, Vault]]:
    """The Vault of a stage, where it has one."""
    if stage.address is None:
        yield {}
        return
    async with opened(stage.address, {"token": {"env": "STAGE_TOKEN"}}) as vault:
        yield {"main": vault}


@pytest.fixture
def make(stage: Stage, vaults: Mapping[str, Vault]) -> Callable[[], Source]:
    """Makes a source as the daemon does: from the words of a file."""

    def source() -> Source:
        settings = CredentialSettings.model_validate({stage.kind: stage.options})
        found: Source = registry.resolve("sources", settings.source)(NAME, settings.options, vaults)
        return found

    return source


@asynccontextmanager
async def kept(source: Source) -> AsyncIterator[Store]:
    """A store whose credential is kept current from this source."""
    settings = CredentialSettings(source="stage", options=Model(), poll=0.2, debounce=0.01, min_interval=0.05)
    store, metrics = Store(), CredentialMetrics()
    leases = Leases(store, SYSTEM, lambda _: metrics)
    keeper = Keeper(NAME, source, settings, store=store, metrics=metrics, leases=leases)
    task = asyncio.ensure_future(keeper.run())
    await asyncio.sleep(0)
    try:
        yield store
    finally:
        task.cancel()
        await asyncio.wait([task])
        assert await leases.close(5.0) == 0


def shown(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))


def secrets_in(found: Fetched) -> list[str]:
    """What nobody may be told, of a value."""
    return [value.decode().strip() for field, value in found.fields.items() if field not in PUBLIC_FIELDS]


def test_every_source_of_the_registry_has_a_stage() -> None:
    assert {stage.kind for stage in STAGES.values()} == set(registry.SOURCES)


@pytest.mark.parametrize("kind", sorted(registry.SOURCES))
def test_it_is_a_source_whose_options_are_a_frozen_model_of_its_own(kind: str) -> None:
    found = registry.resolve("sources", kind)
    assert issubclass(found, Source)
    assert issubclass(found.Options, Model)
    assert found.Options is not Model
    assert found.Options.__doc__


def test_it_refuses_options_it_does_not_know(stage: Stage) -> None:
    with pytest.raises(ValidationError):
        CredentialSettings.model_validate({stage.kind: {**stage.options, "no_such_option": 1}})


@carrying("bytes")
@pytest.mark.parametrize(
    "password", [b"hunter22", b"t" * 900, b"\xff\xfe\x01 $(id) `id` 'quote\" \\n", "p\u00e4ssw\u00f6rd".encode(), b" "]
)
async def test_it_fetches_user_name_and_password_to_the_byte(
    stage: Stage, make: Callable[[], Source], password: bytes
) -> None:
    stage.show(b"app", password)
    found = await make().fetch()
    assert found.fields == {"username": b"app", "password": password}


@carrying("text")
@pytest.mark.parametrize(
    "password", ["hunter22", "t" * 900, "\x01 $(id) 'quote\" \\n", "p\u00e4ss \u2603", " ", "a\n\n"]
)
async def test_it_fetches_user_name_and_password_to_the_letter(
    stage: Stage, make: Callable[[], Source], password: str
) -> None:
    stage.show(b"app", password.encode())
    found = await make().fetch()
    assert found.fields == {"username": b"app", "password": password.encode()}


@carrying("bytes")
async def test_one_newline_at_the_end_is_no_part_of_the_value(stage: Stage, make: Callable[[], Source]) -> None:
    stage.show(b"app\n", b"secret\n\n")
    found = await make().fetch()
    assert found.fields == {"username": b"app", "password": b"secret\n"}


async def test_what_it_fetches_makes_a_credential(stage: Stage, make: Callable[[], Source]) -> None:
    stage.show(b"app", b"hunter22")
    found = await make().fetch()
    credential = credential_of(NAME, found, SYSTEM, version=1)
    assert credential.fields.keys() >= {"username", "password"} or credential.fields.keys() >= {"tls.crt", "tls.key"}
    assert not credential.expired(SYSTEM)
    if stage.carries != "nothing":
        assert credential.password is not None
        assert (credential.username, credential.password.reveal()) == ("app", b"hunter22")


async def test_the_next_fetch_shows_the_next_value(stage: Stage, make: Callable[[], Source]) -> None:
    stage.show(b"app", b"one")
    source = make()
    first = await source.fetch()
    stage.show(b"app", b"two")
    second = await source.fetch()
    assert second.fields.keys() == first.fields.keys()
    assert second.fields != first.fields
    if stage.carries != "nothing":
        assert second.fields["password"] == b"two"


async def test_where_there_is_no_value_no_credential_comes_of_it(stage: Stage, make: Callable[[], Source]) -> None:
    stage.show(b"app", canary().encode())
    source = make()
    secrets = secrets_in(await source.fetch())
    stage.clear()
    with pytest.raises(CredentialError) as caught:
        credential_of(NAME, await source.fetch(), SYSTEM)
    assert caught.value.reason is Reason.SOURCE_FAILED
    assert repr(NAME if stage.address is None else "main") in str(caught.value)
    assert not [secret for secret in secrets if secret in shown(caught.value)]


@carrying("bytes", "text")
async def test_an_empty_password_is_no_value(stage: Stage, make: Callable[[], Source]) -> None:
    stage.show(b"app", b"\n" if stage.carries == "bytes" else b"")
    with pytest.raises(CredentialError, match=r"the password is empty|no usable username and password"):
        credential_of(NAME, await make().fetch(), SYSTEM)


async def test_what_it_says_of_itself_holds_no_value(stage: Stage, make: Callable[[], Source]) -> None:
    stage.show(b"app", canary().encode())
    source = make()
    found = await source.fetch()
    said = [source.describe(), repr(source), repr(vars(source)), repr(found), str(found), *await source.warnings()]
    assert source.describe().split(" ")[0] == stage.kind.split("_")[0]
    assert not [text for secret in secrets_in(found) for text in said if secret in text]


async def test_a_fetch_can_be_given_up_at_any_moment(stage: Stage, make: Callable[[], Source]) -> None:
    stage.show(b"app", b"hunter22")
    source = make()
    for turns in (0, 1, 2, 5, 20):
        fetching = asyncio.ensure_future(source.fetch())
        for _ in range(turns):
            await asyncio.sleep(0)
        fetching.cancel()
        await asyncio.wait([fetching])
    credential_of(NAME, await source.fetch(), SYSTEM)


async def test_fetches_at_the_same_time_do_not_get_in_each_other_s_way(
    stage: Stage, make: Callable[[], Source]
) -> None:
    stage.show(b"app", b"hunter22")
    source = make()
    found = await asyncio.gather(*(source.fetch() for _ in range(10)))
    different = {credential_of(NAME, one, SYSTEM).fingerprint for one in found}
    assert len(different) == (10 if source.makes_new else 1)


@carrying("bytes", "text")
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


async def test_a_lease_can_be_renewed_and_given_back_and_is_gone_then(stage: Stage, make: Callable[[], Source]) -> None:
    stage.show(b"app", b"hunter22")
    source = make()
    lease = (await source.fetch()).lease
    if lease is None:
        assert "role" not in stage.options or stage.kind == "vault_pki"
        return
    renewed = await source.renew(lease)
    assert renewed is not None
    assert renewed.id == lease.id
    assert renewed.term.ends_at > lease.term.ends_at
    assert await source.revoke(lease)
    assert await source.revoke(lease)
    with pytest.raises(LeaseLost):
        await source.renew(lease)


async def test_a_keeper_follows_it_and_keeps_the_last_good_value(
    stage: Stage, make: Callable[[], Source], capfd: pytest.CaptureFixture[str]
) -> None:
    stage.show(b"app", canary("first").encode())
    source = make()
    async with asyncio.timeout(20), kept(source) as store:
        loaded = await store.usable(NAME, timeout=10)
        secrets = told_by(loaded)
        if not source.fixed:
            stage.clear()
            # What makes its values is only asked when another is needed.
            await store.refused(NAME, 1, timeout=0.01)
            await noted(store)
            assert store.require(NAME) is loaded
            # Shown by way of the same options, so only the password changes.
            stage.show(b"app", canary("second").encode())
            newer = await store.refused(NAME, 1, timeout=10)
            assert newer is not None
            assert newer.version == 2
            assert newer.fingerprint != loaded.fingerprint
            secrets += told_by(newer)
    log = capfd.readouterr()
    assert not [secret for secret in secrets if secret in log.err + log.out]


def told_by(credential: Credential) -> list[str]:
    """Its secrets, as text."""
    return [value.reveal().decode() for field, value in credential.fields.items() if field not in PUBLIC_FIELDS]


async def noted(store: Store) -> None:
    """Wait until the status tells of trouble."""
    for _ in range(500):
        if any(status.error for status in store.snapshot()):
            return
        await asyncio.sleep(0.01)
    raise AssertionError("the status tells of no trouble")
