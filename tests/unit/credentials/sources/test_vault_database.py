"""A database user that a Vault makes, or whose password it changes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import psycopg
import pytest
from pydantic import ValidationError

from ambassador.credentials.sources.base import LeaseLost
from ambassador.credentials.sources.vault_database import LATE, VaultDatabase, VaultDatabaseOptions
from ambassador.credentials.vault.failure import Kind, VaultError
from ambassador.credentials.vault.vault import Vault
from ambassador.kit.clock import SYSTEM
from tests.support.clock import ManualClock
from tests.support.fake_vault import FakeVault
from tests.support.house import until
from tests.support.openbao import OpenBao
from tests.support.openbao_engines import PostgresDatabase
from tests.support.postgres import PostgresServer, new_role
from tests.support.vaults import opened


@pytest.fixture(autouse=True)
def token(openbao: OpenBao, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_TOKEN", openbao.root)


@pytest.fixture
async def vault(openbao: OpenBao) -> AsyncIterator[Vault]:
    async with opened(openbao.url, {"token": {"env": "DATABASE_TOKEN"}}) as found:
        yield found


@pytest.fixture
def database(openbao: OpenBao, postgres17: PostgresServer) -> PostgresDatabase:
    """A PostgreSQL with a dynamic role, whose leases last 60 s and 600 s in all."""
    return openbao.postgres_database(postgres17, default_ttl=60, max_ttl=600)


def source(vault: Vault, mount: str, **role: str) -> VaultDatabase:
    options = VaultDatabaseOptions.model_validate({"vault": "main", "mount": mount, **role})
    return VaultDatabase("db", options, {"main": vault})


def let_in(server: PostgresServer, fields: Any) -> bool:
    user, password = fields["username"].decode(), fields["password"].decode()
    try:
        psycopg.connect(host=server.host, port=server.port, dbname="postgres", user=user, password=password).close()
    except psycopg.OperationalError:
        return False
    return True


# Dynamic roles


async def test_each_fetch_makes_a_user_that_can_log_in_and_has_a_lease(
    vault: Vault, database: PostgresDatabase
) -> None:
    users = source(vault, database.mount, role="app")
    first, second = await users.fetch(), await users.fetch()
    assert users.makes_new
    assert sorted(one.fields["username"].decode() for one in (first, second)) == database.live_roles()
    assert await asyncio.to_thread(let_in, database.postgres, first.fields)
    assert first.lease is not None
    assert second.lease is not None
    assert sorted([first.lease.id, second.lease.id]) == sorted(database.leases())
    assert (first.lease.term.duration, first.lease.term.renewable) == (60.0, True)
    assert first.not_after is None


async def test_a_revoked_lease_takes_its_user_along_and_may_be_revoked_twice(
    vault: Vault, database: PostgresDatabase
) -> None:
    users = source(vault, database.mount, role="app")
    found = await users.fetch()
    assert found.lease is not None
    assert await users.revoke(found.lease)
    assert await users.revoke(found.lease)
    assert database.live_roles() == []
    assert database.leases() == []
    with pytest.raises(LeaseLost, match="lease not found"):
        await users.renew(found.lease)


async def test_a_renewed_lease_has_another_term(vault: Vault, database: PostgresDatabase) -> None:
    users = source(vault, database.mount, role="app")
    found = await users.fetch()
    assert found.lease is not None
    renewed = await users.renew(found.lease)
    assert renewed is not None
    assert renewed.id == found.lease.id
    assert (renewed.term.duration, renewed.term.first) == (60.0, 60.0)
    assert renewed.term.ends_at > found.lease.term.ends_at


@pytest.mark.parametrize(("role", "words"), [("nobody", "refused the request: unknown role: nobody")])
async def test_a_role_that_does_not_exist_is_said_not_to(
    vault: Vault, database: PostgresDatabase, role: str, words: str
) -> None:
    with pytest.raises(VaultError) as caught:
        await source(vault, database.mount, role=role).fetch()
    assert caught.value.kind is Kind.REJECTED
    assert words in str(caught.value)
    assert f"to get {database.mount}/creds/nobody" in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        {"lease_id": ""},
        {"lease_id": None},
        {"lease_duration": 0},
        {"lease_duration": "1h"},
        {"data": None},
        {"data": {"username": "u"}},
        {"data": {"username": "u", "password": ""}},
        {"data": {"username": 5, "password": "p"}},
    ],
)
async def test_half_an_answer_is_none(monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]) -> None:
    with FakeVault().database("db/creds/app") as server:
        monkeypatch.setenv("DATABASE_TOKEN", server.root)
        server.on("db/creds/app", change=lambda said: said | change)
        async with opened(server.url, {"token": {"env": "DATABASE_TOKEN"}}) as vault:
            with pytest.raises(VaultError, match="its answer has no usable") as caught:
                await source(vault, "db", role="app").fetch()
    assert caught.value.kind is Kind.MALFORMED


@pytest.mark.parametrize("body", ["<html>", "[]", "null", '"text"'])
async def test_what_is_no_object_is_none(monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    with FakeVault().database("db/creds/app").on("db/", body=body) as server:
        monkeypatch.setenv("DATABASE_TOKEN", server.root)
        async with opened(server.url, {"token": {"env": "DATABASE_TOKEN"}}) as vault:
            for role in ({"role": "app"}, {"static_role": "app"}):
                with pytest.raises(VaultError, match="its answer has no usable username and password"):
                    await source(vault, "db", **role).fetch()


async def test_the_term_counts_from_before_the_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that took long must not make us believe in a longer lease than there is."""
    clock = ManualClock()
    with FakeVault().database("db/creds/app", ttl=60).on("db/", delay=0.3) as server:
        monkeypatch.setenv("DATABASE_TOKEN", server.root)
        async with opened(server.url, {"token": {"env": "DATABASE_TOKEN"}}, clock=clock) as vault:
            await vault.reach()
            users = source(vault, "db", role="app")
            asking = asyncio.ensure_future(users.fetch())
            await asyncio.sleep(0.1)
            await clock.advance(5)
            found = await asking
            assert found.lease is not None
            assert found.lease.term.ends_at == clock.now() + 55
            server.on("sys/leases/renew", delay=0.3)
            renewing = asyncio.ensure_future(users.renew(found.lease))
            await asyncio.sleep(0.1)
            await clock.advance(5)
            renewed = await renewing
            assert renewed is not None
            assert renewed.term.ends_at == clock.now() + 55


async def test_another_token_is_told_for_leases_end_with_the_one_they_came_with(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with FakeVault().login("auth/userpass/login/app", password="p").database("db/creds/app") as server:
        monkeypatch.setenv("DATABASE_TOKEN", "p")
        login = {"userpass": {"username": "app", "password_env": "DATABASE_TOKEN"}}
        async with opened(server.url, login) as vault:
            users = source(vault, "db", role="app")
            changes = users.changes(poll=1.0, debounce=0.0, clock=SYSTEM)
            assert changes is not None
            await users.fetch()
            async with aclosing(changes), asyncio.timeout(5):
                assert vault.token is not None
                server.revoke(vault.token.secret.reveal().decode())
                told = asyncio.ensure_future(anext(changes))
                await asyncio.sleep(0.05)
                assert not told.done()
                await source(vault, "db", role="app").fetch()  # another one's, with the new token
                await told
            assert vault._listeners == []


# Static roles


async def test_a_static_role_shows_the_user_s_password_of_now(
    openbao: OpenBao, vault: Vault, database: PostgresDatabase
) -> None:
    role = new_role(database.postgres)
    database.set_static_role("kept", role.name, rotation_period=3600)
    shown = source(vault, database.mount, static_role="kept")
    first = await shown.fetch()
    assert first.fields["username"] == role.name.encode()
    assert await asyncio.to_thread(let_in, database.postgres, first.fields)
    assert first.lease is None
    assert first.again is not None
    assert 3590 < first.again <= 3600 + LATE
    database.rotate("kept")
    second = await shown.fetch()
    assert second.fields["password"] != first.fields["password"]
    assert await asyncio.to_thread(let_in, database.postgres, second.fields)


async def test_one_that_does_not_say_when_it_changes_is_looked_at_as_others_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with FakeVault().static_role("db/static-creds/kept", "u", "p", ttl=7) as server:
        monkeypatch.setenv("DATABASE_TOKEN", server.root)
        async with opened(server.url, {"token": {"env": "DATABASE_TOKEN"}}) as vault:
            shown = source(vault, "db", static_role="kept")
            assert (await shown.fetch()).again == 7 + LATE
            server.on("db/", change=lambda said: said | {"data": {"username": "u", "password": "p", "ttl": None}})
            assert (await shown.fetch()).again is None


async def test_a_static_role_makes_nothing_new_and_ends_with_no_token(vault: Vault) -> None:
    shown = source(vault, "db", static_role="kept")
    assert not shown.makes_new
    assert shown.changes(poll=1.0, debounce=0.0, clock=SYSTEM) is None


# Its options


@pytest.mark.parametrize("roles", [{}, {"role": "a", "static_role": "b"}])
def test_one_role_is_named(roles: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match="say which role: by role, or by static_role"):
        VaultDatabaseOptions.model_validate({"vault": "main", **roles})


async def test_it_says_where_it_asks(vault: Vault) -> None:
    assert source(vault, "db", role="app").describe() == "vault main db/creds/app"
    assert source(vault, "db", static_role="app").describe() == "vault main db/static-creds/app"


async def test_what_is_lent_too_late_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeVault() as server:
        server.database("database/creds/app")
        monkeypatch.setenv("VAULT_TOKEN", server.root)
        server.on("database/creds/app", delay=0.3, times=1)
        async with opened(server.url, {"token": {}}) as vault:
            asking = asyncio.ensure_future(source(vault, "database", role="app").fetch())
            await until("it to be asked", lambda: len(server.asked("database/creds/app")) == 1)
            asking.cancel()
            await vault.close(5.0)
        assert len(server.asked("sys/leases/revoke")) == 1
        assert server.contents.leases == {}


@pytest.mark.parametrize(
    ("change", "lacks"),
    [
        ({"data": {"user": "x", "password": "y"}}, "username and password"),
        ({"data": {"username": "\ud800", "password": "y"}}, "username"),
        ({"lease_duration": "an hour"}, "lease"),
    ],
)
async def test_what_cannot_be_used_is_given_back(
    monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], lacks: str
) -> None:
    with FakeVault() as server:
        server.database("database/creds/app")
        monkeypatch.setenv("VAULT_TOKEN", server.root)
        server.on("database/creds/app", change=lambda answer: {**answer, **change})
        async with opened(server.url, {"token": {}}) as vault:
            with pytest.raises(VaultError, match=f"has no usable {lacks}$"):
                await source(vault, "database", role="app").fetch()
            await until("it to be given back", lambda: server.contents.leases == {})
