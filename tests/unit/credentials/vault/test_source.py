"""What the sources that ask a Vault have in common: leases, and what becomes of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest

from ambassador.config.model import Model
from ambassador.credentials.sources.base import Change, Fetched, Lease, LeaseLost
from ambassador.credentials.sources.vault_database import VaultDatabase, VaultDatabaseOptions
from ambassador.credentials.term import Care, Term
from ambassador.credentials.vault.failure import Kind, VaultError
from ambassador.credentials.vault.source import HINT, PACE, VaultSource
from ambassador.credentials.vault.token import Token
from ambassador.kit.clock import Clock
from tests.support.clock import ManualClock
from tests.support.fake_vault import FakeVault
from tests.support.house import until
from tests.support.openbao import OpenBao
from tests.support.openbao_engines import PostgresDatabase
from tests.support.postgres import PostgresServer
from tests.support.vaults import opened

Logged = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeVault]:
    with FakeVault().login("auth/userpass/login/app", password="p").database("db/creds/app", ttl=60) as found:
        monkeypatch.setenv("PASSWORD_HERE", "p")
        yield found


@asynccontextmanager
async def lending(address: str, clock: Clock, mount: str = "db", **settings: Any) -> AsyncIterator[VaultDatabase]:
    login = settings.pop("auth", {"userpass": {"username": "app", "password_env": "PASSWORD_HERE"}})
    async with opened(address, login, clock=clock, **settings) as vault:
        yield VaultDatabase("db", VaultDatabaseOptions(vault="main", role="app", mount=mount), {"main": vault})


async def leased(source: VaultDatabase) -> Lease:
    found = await source.fetch()
    assert found.lease is not None
    return found.lease


class Plain(VaultSource):
    """One without leases."""

    Options = Model

    async def fetch(self) -> Fetched:
        raise NotImplementedError

    def describe(self) -> str:
        return "plain"


async def test_it_asks_the_vault_that_its_options_name(server: FakeVault) -> None:
    async with lending(server.url, ManualClock(), name="shop") as other:
        options = VaultDatabaseOptions(vault="shop", static_role="x")
        plain = Plain("db", options, {"main": None, "shop": other.vault})  # type: ignore[dict-item]  # not the one
        assert plain.vault is other.vault
        assert plain.pace == PACE
        error = plain.error(Kind.MISSING, "read x", "there is no x")
        assert (error.kind, str(error)) == (Kind.MISSING, "vault 'shop', to read x: there is no x")


# Renewals


async def test_a_renewal_asks_for_as_long_as_was_granted_first(server: FakeVault) -> None:
    clock = ManualClock()
    async with lending(server.url, clock) as source:
        lease = await leased(source)
        await clock.advance(40)
        renewed = await source.renew(lease)
        assert renewed is not None
        assert renewed.term == Term(clock.now(), 60.0, renewable=True, first=60.0)
        (asked,) = server.asked("sys/leases/renew")
        assert asked.body == {"lease_id": lease.id, "increment": 60}


async def test_a_renewal_near_the_longest_life_is_short_and_the_last(server: FakeVault) -> None:
    server.database("db/creds/app", ttl=60, max_ttl=61).on(
        "sys/leases/renew", change=lambda said: said | {"lease_duration": 20}
    )
    async with lending(server.url, ManualClock()) as source:
        renewed = await source.renew(await leased(source))
        assert renewed is not None
        assert (renewed.term.duration, renewed.term.care) == (20.0, Care.REPLACE)


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (400, "lease is not renewable"),
        (400, "failed to renew entry: err: past the max TTL, cannot renew"),
        (403, "permission denied"),
    ],
)
async def test_a_lease_that_will_not_be_renewed_is_good_until_its_end(
    server: FakeVault, status: int, text: str
) -> None:
    async with lending(server.url, ManualClock()) as source:
        lease = await leased(source)
        server.on("sys/leases/renew", status=status, errors=[text])
        assert await source.renew(lease) is None
        assert len(server.asked("auth")) == 1


async def test_a_lease_that_is_gone_is_lost(server: FakeVault) -> None:
    async with lending(server.url, ManualClock()) as source:
        lease = await leased(source)
        server.contents.leases.clear()
        with pytest.raises(LeaseLost, match=r"to renew a lease of credential 'db': .*lease not found"):
            await source.renew(lease)


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ({"status": 503, "errors": []}, Kind.SEALED),
        ({"status": 500, "errors": ["the database is away"]}, Kind.FAILED),
        ({"status": 400, "errors": ["failed to renew entry: the database is away"]}, Kind.REJECTED),
        ({"act": "close"}, Kind.UNREACHABLE),
        ({"change": lambda said: {}}, Kind.MALFORMED),
        ({"change": lambda said: said | {"lease_duration": "1h"}}, Kind.MALFORMED),
        ({"body": "<html>"}, Kind.MALFORMED),
    ],
)
async def test_a_renewal_that_fails_says_nothing_of_the_lease(
    server: FakeVault, fault: dict[str, Any], kind: Kind
) -> None:
    async with lending(server.url, ManualClock()) as source:
        lease = await leased(source)
        server.on("sys/leases/renew", **fault)
        with pytest.raises(VaultError) as caught:
            await source.renew(lease)
        assert caught.value.kind is kind
        assert not isinstance(caught.value, LeaseLost)


# How long it lasts


async def test_a_lease_ends_with_the_token_it_was_asked_for_with(server: FakeVault) -> None:
    async with lending(server.url, ManualClock(now=1000.0), revoke=False) as source:
        lease = await leased(source)
        first = source.vault.token
        assert lease.parent is first is not None
        assert (lease.ends_at, lease.trouble) == (1060.0, None)
        first.term, first.trouble = Term(1000.0, 30.0, renewable=False), "it is revoked"
        assert (lease.ends_at, lease.trouble) == (1030.0, "it is revoked")
        renewed = await source.renew(lease)
        assert renewed is not None
        assert (renewed.parent, renewed.ends_at) == (first, 1030.0)


async def test_it_tells_that_the_end_has_moved_or_that_there_is_another_token(server: FakeVault) -> None:
    async with lending(server.url, ManualClock()) as source:
        changes = source.changes(poll=1.0, debounce=0.1, clock=source.vault.clock)
        assert changes is not None
        lease = await leased(source)
        told: list[Change] = []

        async def listen() -> None:
            async with aclosing(changes):
                while True:
                    told.append(await anext(changes))

        listening = asyncio.ensure_future(listen())
        await asyncio.sleep(0.01)
        assert isinstance(lease.parent, Token)
        source.vault.worry(lease.parent, "it is sealed")
        await until("the first word", lambda: told == [Change.END])
        source.vault.worry(lease.parent, "it is sealed")
        source.vault.worry(lease.parent, None)
        await until("the second", lambda: told == [Change.END] * 2)
        await source.vault.log_in(lease.parent)
        await until("the third", lambda: told == [Change.END, Change.END, Change.VALUE])
        listening.cancel()
        await asyncio.wait([listening])


# Revocation


async def test_a_lease_is_given_back(server: FakeVault) -> None:
    async with lending(server.url, ManualClock()) as source:
        lease = await leased(source)
        assert await source.revoke(lease)
        assert server.contents.leases == {}
        assert await source.revoke(lease)


async def test_where_nothing_is_to_be_revoked_nothing_is(server: FakeVault) -> None:
    async with lending(server.url, ManualClock(), revoke=False) as source:
        lease = await leased(source)
        assert not await source.revoke(lease)
        assert server.asked("sys/leases") == []


async def test_without_a_policy_it_is_left_to_its_end_and_the_operator_told_what_to_write(
    openbao: OpenBao, postgres17: PostgresServer, monkeypatch: pytest.MonkeyPatch, logged: Logged
) -> None:
    database: PostgresDatabase = openbao.postgres_database(postgres17, default_ttl=60)
    user = openbao.userpass(openbao.policy("borrower", database.reading()))
    monkeypatch.setenv("PASSWORD_HERE", user.password)
    login = {"userpass": {"username": user.name, "password_env": "PASSWORD_HERE", "mount": user.mount}}
    async with lending(openbao.url, ManualClock(), database.mount, auth=login) as source:
        lease = await leased(source)
        assert not await source.revoke(lease)
        (line,) = [line for line in logged() if line["event"] == "lease not revoked"]
        assert HINT in line["error"]
        openbao.policy("borrower", database.reading() + '\npath "sys/leases/revoke" { capabilities = ["update"] }')
        assert await source.revoke(lease)


async def test_a_revocation_that_fails_may_be_tried_again(server: FakeVault) -> None:
    async with lending(server.url, ManualClock()) as source:
        lease = await leased(source)
        server.on("sys/leases/revoke", status=503, errors=[], times=1)
        with pytest.raises(VaultError, match="is sealed"):
            await source.revoke(lease)
        assert await source.revoke(lease)


async def test_one_that_is_gone_in_whatever_words_is_given_back(server: FakeVault) -> None:
    async with lending(server.url, ManualClock()) as source:
        lease = await leased(source)
        server.on("sys/leases/revoke", status=400, errors=["lease not found"])
        assert await source.revoke(lease)
