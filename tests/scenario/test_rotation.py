"""Passwords that change under running sessions: nobody notices, and nothing that does not work becomes current."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from ambassador.errors import UpstreamError
from tests.scenario.plan import Plan
from tests.support.clock import ManualClock
from tests.support.fake_postgres import FakePostgres
from tests.support.house import House, until
from tests.support.pgclient import PgClient
from tests.support.secrets import canary

QUICKLY = {"debounce": "0s"}
UNTOLD = {"debounce": "60s", "min_interval": "0s", "refused_wait": "10s"}
"""Changes are heard of, but not looked at before a minute of quiet: what is asked anew is asked for a reason."""

HOUR = 3600.0


async def log_in(plan: Plan) -> None:
    async with PgClient(plan.at) as client:
        await client.log_in()


async def refusal(plan: Plan) -> str:
    async with PgClient(plan.at) as client:
        client.start()
        error = await client.last_words()
        assert error is not None
        return error.code


def counted(house: House, metric: str) -> list[str]:
    """Samples of one metric of the upstream's credential."""
    return [line for line in house.metrics().splitlines() if line.startswith(f'ambassador_{metric}{{credential="db"')]


class Program:
    """A command that prints a credential, and keeps count of how often it was run."""

    def __init__(self, home: Path) -> None:
        self._token, self._runs = home / "token", home / "runs"
        self._runs.touch()

    @property
    def runs(self) -> int:
        return len(self._runs.read_bytes())

    def prints(self, password: str, expires_at: float | None = None) -> None:
        self._token.write_text(json.dumps({"username": "app", "password": password, "expires_at": expires_at}))

    def text(self, plan: Plan, server: FakePostgres, **settings: Any) -> str:
        command = ["/bin/sh", "-c", f"printf x >> {self._runs}; cat {self._token}"]
        credentials = {"db": {"exec": {"command": command}, "min_interval": "0s", **settings}}
        return plan.text(server, upstream={"credential": "db"}, credentials=credentials)


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """A command that prints a credential."""
    return Program(tmp_path)


# ---- the value changes


async def test_the_next_login_uses_the_new_value_and_nobody_who_is_connected_notices(plan: Plan) -> None:
    with FakePostgres().user("orders_rw", plan.secret("db")) as server:
        async with House(plan.text(server, credential=QUICKLY)) as house, PgClient(plan.at) as client:
            await client.log_in()
            server.user("orders_rw", plan.swap("db"))
            await until("the rotation", lambda: bool(house.lines("credential rotated")))
            await log_in(plan)
            assert (await client.query("select 'undisturbed'")).rows == ["undisturbed"]
            assert counted(house, "credential_version") == ['ambassador_credential_version{credential="db"} 2.0']
            assert 'ambassador_credential_connections{credential="db",version="1"} 1.0' in house.metrics()


async def test_the_user_may_change_with_the_password(plan: Plan) -> None:
    """As Vault's dynamic roles do."""
    with FakePostgres().user("orders_rw", plan.secret("db")) as server:
        async with House(plan.text(server, credential=QUICKLY)) as house:
            server.user("v-orders-2", plan.swap("db", "v-orders-2"))
            await until("the rotation", lambda: bool(house.lines("credential rotated")))
            async with PgClient(plan.at) as client:
                await client.log_in()
                assert (await client.query("select current_user")).rows == ["v-orders-2"]


async def test_many_changes_in_a_row_end_with_the_last(plan: Plan) -> None:
    with FakePostgres().user("orders_rw", plan.secret("db")) as server:
        async with House(plan.text(server, credential={**QUICKLY, "min_interval": "0s", "verify": False})) as house:
            for _ in range(20):
                last = plan.swap("db")
                await asyncio.sleep(0.005)
            server.user("orders_rw", last)

            def current() -> bytes:
                return house.daemon.commons.store.require("db").fields["password"].reveal()

            await until("the last value", lambda: current() == last.encode())
            await log_in(plan)


async def test_until_a_first_value_comes_the_daemon_is_not_ready(plan: Plan) -> None:
    password = plan.secret("db")
    plan.secrets["db"].empty()
    with FakePostgres().user("orders_rw", password) as server:
        async with House(plan.text(server, credential=QUICKLY), ready=False) as house:
            await until("the keeper's first look", lambda: bool(house.lines("credential not read")))
            assert house.daemon.held() == ("credential db",)
            plan.swap("db", password=password)
            await until("the daemon to be ready", lambda: not house.daemon.held())
            await log_in(plan)


# ---- make before break


async def test_a_value_that_is_refused_does_not_replace_one_that_works(plan: Plan) -> None:
    with FakePostgres().user("orders_rw", plan.secret("db")) as server:
        async with House(plan.text(server, credential=QUICKLY)) as house:
            fresh = plan.swap("db")
            await until("the trial", lambda: bool(house.lines("credential not rotated", reason="refused")))
            await log_in(plan)
            assert 'ambassador_credential_refreshes_total{credential="db",result="refused"} 1.0' in house.metrics()
            assert "refused in a trial login" in house.status()["credentials"][0]["last_error"]
            server.user("orders_rw", fresh)
            await until("the rotation, once the server knows it", lambda: bool(house.lines("credential rotated")))
            await log_in(plan)
            assert house.status()["credentials"][0]["last_error"] is None


async def test_a_value_that_no_server_could_judge_waits(plan: Plan) -> None:
    with FakePostgres().user("orders_rw", plan.secret("db")) as server:
        async with House(plan.text(server, credential=QUICKLY)) as house:
            server.close_at("startup")
            fresh = plan.swap("db")
            await until("the trial", lambda: bool(house.lines("credential not rotated", reason="unverified")))
            server.say_at("startup", b"").user("orders_rw", fresh)
            await until("the rotation", lambda: bool(house.lines("credential rotated")))
            await log_in(plan)


async def test_a_trial_needs_no_database_that_exists(plan: Plan) -> None:
    with FakePostgres().user("orders_rw", plan.secret("db")).database("orders") as server:
        async with House(plan.text(server, credential=QUICKLY)) as house:
            server.user("orders_rw", plan.swap("db"))
            await until("the rotation", lambda: bool(house.lines("credential rotated", trial="accepted")))


async def test_without_verification_a_new_value_is_taken_as_it_comes(plan: Plan) -> None:
    with FakePostgres().user("orders_rw", plan.secret("db")) as server:
        async with House(plan.text(server, credential={**QUICKLY, "verify": False})) as house:
            plan.swap("db")
            await until("the rotation", lambda: bool(house.lines("credential rotated", trial="not tried")))
        assert server.accepted == 0


# ---- values that are none


@pytest.mark.parametrize("verify", [True, False], ids=["tried", "not tried"])
@pytest.mark.parametrize("damage", ["an empty password", "no password", "no user", "empty", "gone"])
async def test_the_last_good_value_outlives_a_secret_that_is(plan: Plan, damage: str, verify: bool) -> None:
    password = plan.secret("db")
    secret = plan.secrets["db"]
    with FakePostgres().user("orders_rw", password) as server:
        async with House(plan.text(server, credential={**QUICKLY, "verify": verify})) as house:
            if damage == "an empty password":
                secret.swap_half({"username": "orders_rw"}, lost="password")
            elif damage == "no password":
                secret.swap({"username": "orders_rw"})
            elif damage == "no user":
                secret.swap({"password": canary("another")})
            elif damage == "empty":
                secret.empty()
            else:
                shutil.rmtree(secret.path)

            def complained() -> bool:
                return bool(house.lines("credential not read") + house.lines("credential not rotated"))

            await until("the complaint", complained)
            await log_in(plan)
            assert house.status()["credentials"][0]["last_error"]
            failures = [line for line in counted(house, "credential_refreshes_total") if 'result="ok"' not in line]
            assert any(not line.endswith(" 0.0") for line in failures)


# ---- a refused login


async def test_a_refused_login_asks_once_more_and_is_tried_again(plan: Plan) -> None:
    with FakePostgres().user("orders_rw", plan.secret("db")) as server:
        async with House(plan.text(server, credential=UNTOLD)) as house:
            server.user("orders_rw", plan.swap("db"))
            await log_in(plan)
            assert house.lines("credential refused by upstream", version=1)
            assert house.lines("credential rotated", version=2)
            assert house.lines("session ended", reason="upstream_login_refused") == []


async def test_a_refused_login_without_a_newer_value_is_told_after_a_short_wait(plan: Plan, program: Program) -> None:
    program.prints(canary("stale"))
    with FakePostgres().user("app", canary("another")) as server:
        async with House(program.text(plan, server, refused_wait="200ms")) as house:
            assert await refusal(plan) == "08006"
            await until("the session to end", lambda: bool(house.ends()))
            assert house.ends()[0]["reason"] == "upstream_login_refused"
        assert program.runs == 2


async def test_a_hundred_refused_logins_ask_the_source_once(plan: Plan, program: Program) -> None:
    program.prints(canary("old"))
    fresh = canary("fresh")
    with FakePostgres().iterations(64).user("app", fresh) as server:
        async with House(program.text(plan, server, refused_wait="10s")) as house:
            program.prints(fresh)
            async with asyncio.timeout(20):
                await asyncio.gather(*(log_in(plan) for _ in range(100)))
            assert len(house.lines("credential rotated")) == 1
        assert program.runs == 2
        assert len(server.logins) == 101, "a hundred clients, and the trial"


async def test_a_value_that_is_wrong_for_good_does_not_flood_the_source(plan: Plan, program: Program) -> None:
    program.prints(canary("stale"))
    with FakePostgres().iterations(64).user("app", canary("another")) as server:
        async with House(program.text(plan, server, refused_wait="50ms", min_interval="10s")):
            assert [await refusal(plan) for _ in range(5)] == ["08006"] * 5
        assert program.runs == 1


# ---- expiry


async def test_a_value_that_expired_while_the_machine_slept_is_replaced_before_it_is_shown(
    plan: Plan, program: Program
) -> None:
    clock = ManualClock()
    program.prints(old := canary("old"), clock.wall() + HOUR)
    with FakePostgres().user("app", old) as server:
        async with House(program.text(plan, server, refused_wait="10s"), clock=clock) as house:
            await log_in(plan)
            program.prints(fresh := canary("fresh"), clock.wall() + 3 * HOUR)
            server.user("app", fresh)
            clock.jump(2 * HOUR)
            await log_in(plan)
            assert house.lines("credential refused by upstream") == []
            assert house.lines("credential rotated", version=2)


async def test_a_value_that_expired_without_a_successor_is_not_shown(plan: Plan, program: Program) -> None:
    clock = ManualClock()
    program.prints(old := canary("old"), clock.wall() + HOUR)
    with FakePostgres().user("app", old) as server:
        async with House(program.text(plan, server, refused_wait="100ms"), clock=clock) as house:
            await log_in(plan)
            clock.jump(2 * HOUR)
            assert await refusal(plan) == "08006"
            await until("the session to end", lambda: len(house.ends()) == 2)
            assert house.ends()[1]["reason"] == "credential_expired"
        assert server.accepted == 1


async def test_a_clock_that_is_set_back_changes_nothing(plan: Plan, program: Program) -> None:
    clock = ManualClock()
    program.prints(password := canary("password"), clock.wall() + HOUR)
    with FakePostgres().user("app", password) as server:
        async with House(program.text(plan, server), clock=clock):
            clock.jump(-24 * HOUR)
            await log_in(plan)


async def test_a_value_is_renewed_before_it_expires(plan: Plan, program: Program) -> None:
    clock = ManualClock()
    program.prints(old := canary("old"), clock.wall() + HOUR)
    with FakePostgres().user("app", old) as server:
        async with House(program.text(plan, server), clock=clock) as house:
            program.prints(fresh := canary("fresh"), clock.wall() + 2 * HOUR)
            server.user("app", fresh)

            async def patience() -> None:
                while not house.lines("credential rotated"):
                    assert clock.wall() < 1_700_000_000.0 + HOUR, "it expired first"
                    await clock.advance(60)
                    await asyncio.sleep(0.01)  # for the program to run

            await patience()


# ---- what our own clients show


async def test_clients_may_show_their_old_password_for_a_while(plan: Plan) -> None:
    old = plan.secret("clients", "app")
    clock = ManualClock()
    access = {"access": {"password": {"credential": "clients", "grace": "60s"}}}
    with FakePostgres() as server:
        settings = {"debounce": "0s", "min_interval": "0s"}
        async with House(plan.text(server, listener=access, credential=settings), clock=clock) as house:
            new = plan.swap("clients", "app")
            await until("the change to be seen", lambda: bool(house.lines("credential rotated")))
            for password in (old, new):
                async with PgClient(plan.at) as client:
                    await client.log_in("app", password)
            await clock.advance(61)
            async with PgClient(plan.at) as client:
                with pytest.raises(UpstreamError) as caught:
                    await client.log_in("app", old)
                assert caught.value.code == "28P01"
            async with PgClient(plan.at) as client:
                await client.log_in("app", new)
