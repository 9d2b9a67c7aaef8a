"""Users that a Vault makes for minutes, renewed, replaced and given back under load, and nobody notices."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

import psycopg
import pytest

from tests.e2e.drivers.psycopg3 import connect, value
from tests.e2e.load import Bench
from tests.e2e.redis.load import Load
from tests.e2e.redis.plan import MODES
from tests.e2e.vault.plan import Plan
from tests.e2e.vault.stay import Stayers
from tests.support.daemon import Daemon
from tests.support.openbao import OpenBao
from tests.support.postgres import PostgresServer
from tests.support.processes import wait_until
from tests.support.valkey import ValkeyServer

ENDED = "ambassador_credential_connections_ended_total"
LEASES = "ambassador_credential_leases_total"


@dataclass(frozen=True)
class Times:
    """How long leases last, at most, and for how long there is a load; seconds."""

    ttl: int
    most: int
    load: int


@pytest.fixture
def times(long: bool) -> Times:
    """Several leases one after the other, whatever there is time for."""
    return Times(10, 25, 120) if long else Times(4, 9, 10)


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_no_transaction_fails_while_leases_come_and_go(
    openbao: OpenBao, postgres17: PostgresServer, plan: Plan, times: Times, figure: Callable[[str], None]
) -> None:
    database = openbao.postgres_database(postgres17, default_ttl=times.ttl, max_ttl=times.most)
    plan.vault(openbao, database.reading(f"creds/{database.role}"), token_ttl=20, token_max_ttl=60)
    plan.lent("db", "vault_database", mount=database.mount, role=database.role)
    where = plan.postgres("db", postgres17)
    with Daemon(plan.text()) as daemon:
        most = 0

        def look(_: int) -> None:
            nonlocal most
            most = max(most, len(database.live_roles()))

        pgbench = Bench(postgres17.tool("pgbench"), where, plan.home, seconds=times.load, reconnect=True)
        with Stayers(where, postgres17) as stayers, pgbench as bench:
            bench.during(look, every=0.5)
            done = bench.finished()
        wait_until("one lease", lambda: len(database.leases()) == len(database.live_roles()) == 1)
        replaced = daemon.metric("ambassador_credential_version", credential="db") - 1
        assert replaced >= times.load // times.most
        assert most <= 3
        # Everyone who stayed was told, and all who were told are counted. The last one's time may not have come yet.
        assert min(stayers.told.values()) >= max(1, replaced // 2)
        ended = daemon.logged("session ended", reason="credential_ended")
        assert daemon.metric(ENDED, credential="db", how="left") == len(ended) >= sum(stayers.told.values())
        assert daemon.metric(ENDED, credential="db", how="cut") == 0
        issued, revoked = (daemon.metric(LEASES, credential="db", event=event) for event in ("issued", "revoked"))
        assert issued == replaced + 1 == revoked + 1
        renewed = daemon.metric(LEASES, credential="db", event="renewed")
        asked = len(openbao.requests(f"{database.mount}/creds"))
        assert asked == issued
    assert database.live_roles() == []
    assert database.leases() == []
    figure(
        f"{done} transactions in {times.load} s, none failed; {issued:g} leases of {times.ttl} to {times.most} s, "
        f"{renewed:g} renewals; {sum(stayers.told.values())} stays told at a boundary"
    )


@pytest.mark.timeout(60)
def test_a_transaction_that_outlives_its_lease_is_cut_and_told(
    openbao: OpenBao, postgres17: PostgresServer, plan: Plan
) -> None:
    database = openbao.postgres_database(postgres17, default_ttl=4, max_ttl=6)
    plan.vault(openbao, database.reading(f"creds/{database.role}"))
    plan.lent("db", "vault_database", mount=database.mount, role=database.role)
    where = plan.postgres("db", postgres17)
    with Daemon(plan.text()) as daemon:
        with connect(where) as connection:
            began = time.monotonic()
            connection.execute("BEGIN")
            with pytest.raises(psycopg.errors.AdminShutdown, match="credential"):
                connection.execute("SELECT pg_sleep(10)")
        assert 2 < time.monotonic() - began < 6.8
        assert daemon.metric(ENDED, credential="db", how="cut") == 1
        assert daemon.log_contains("session ended", reason="credential_ended")["level"] == "warning"
        with connect(where) as connection:
            assert value(connection.execute("SELECT 42")) == 42


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_no_command_fails_while_leases_come_and_go(
    openbao: OpenBao, valkey: ValkeyServer, plan: Plan, times: Times, figure: Callable[[str], None]
) -> None:
    database = openbao.valkey_database(valkey, default_ttl=times.ttl, max_ttl=times.most)
    plan.vault(openbao, database.reading(f"creds/{database.role}"), token_ttl=20, token_max_ttl=60)
    plan.lent("cache", "vault_database", mount=database.mount, role=database.role)
    ports = {mode: plan.redis(mode, valkey, "cache", mode) for mode in MODES}
    loads = {mode: Load(port, f"lease-{mode}-{secrets.token_hex(4)}") for mode, port in ports.items()}

    async def work() -> None:
        for load in loads.values():
            load.add(load.count, 100)
        await asyncio.gather(*(load.run(asyncio.sleep(times.load)) for load in loads.values()))

    with Daemon(plan.text()) as daemon:
        asyncio.run(work())
        for mode, load in loads.items():
            assert load.errors == [], mode
            assert len(load.clients) == 100
            assert load.done > 1000 * times.load
        wait_until("one lease", lambda: len(database.leases()) == len(database.live_users()) == 1)
        replaced = daemon.metric("ambassador_credential_version", credential="cache") - 1
        assert replaced >= times.load // times.most
        assert daemon.metric("ambassador_downstream_connections_total", result="credential_ended") == 0
        assert len(openbao.requests(f"{database.mount}/creds")) == replaced + 1
    assert database.live_users() == []
    assert database.leases() == []
    for mode, load in loads.items():
        figure(f"{mode}: {load.done} INCRs by 100 clients in {times.load} s, each once; {replaced + 1:g} leases")
