"""What the sources that ask a Vault have in common: leases, and what becomes of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from ambassador.config.model import Model
from ambassador.credentials.secret import Secret
from ambassador.credentials.sources.base import Fetched, Lease, LeaseLost
from ambassador.credentials.sources.vault_database import VaultDatabase, VaultDatabaseOptions
from ambassador.credentials.term import Care, Term
from ambassador.credentials.vault.failure import Kind, VaultError
from ambassador.credentials.vault.source import HINT, PACE, VaultSource
from ambassador.credentials.vault.token import Token
from ambassador.kit.clock import Clock
from tests.support.clock import ManualClock
from tests.support.fake_vault import FakeVault
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


@pytest.mark.parametrize(
    ("token", "seconds"),
    [
        (None, 60.0),
        (Term(1000.0, 30.0, renewable=True), 60.0),
        (Term(1000.0, 30.0, renewable=False), 30.0),
        (Term(1000.0, 30.0, renewable=True, first=600.0), 30.0),
        (Term(1000.0, 600.0, renewable=False), 60.0),
        (Term(900.0, 50.0, renewable=False), 0.0),
        (Term(1000.0, float("inf"), renewable=False), 60.0),
    ],
)
async def test_no_lease_is_believed_to_outlast_a_token_that_will_not_be_renewed(
    server: FakeVault, token: Term | None, seconds: float
) -> None:
    async with lending(server.url, ManualClock(now=1000.0), revoke=False) as source:
        source.vault.token = None if token is None else Token(Secret("s.token"), token, ours=True)
        assert source.bounded(60.0) == seconds


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
