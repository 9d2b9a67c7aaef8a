"""How many clients, and for how long: each limit with its own SQLSTATE."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from ambassador.wire.postgres import messages
from tests.scenario.plan import Plan
from tests.support.clock import ManualClock
from tests.support.fake_postgres import FakePostgres
from tests.support.faulty import Fault, FaultyProxy
from tests.support.house import House, until
from tests.support.pgclient import PgClient


def limits(**spans: Any) -> dict[str, Any]:
    return {"limits": spans}


# ---- how many


async def test_one_client_more_than_allowed_is_told_so_and_none_is_disturbed(plan: Plan) -> None:
    with FakePostgres() as server:
        async with House(plan.text(server, listener=limits(connections=1))) as house, PgClient(plan.at) as first:
            await first.log_in()
            async with PgClient(plan.at) as second:
                second.start()
                error = await second.last_words()
                assert error is not None
                assert (error.severity, error.code) == ("FATAL", "53300")
            assert (await first.query("select 'undisturbed'")).rows == ["undisturbed"]
            (end,) = house.ends()
            assert (end["reason"], end["level"]) == ("too_many_connections", "warning")
        assert server.accepted == 1


async def test_a_place_is_free_again_when_a_client_leaves(plan: Plan) -> None:
    with FakePostgres() as server:
        async with House(plan.text(server, listener=limits(connections=1))) as house:
            for _ in range(3):
                async with PgClient(plan.at) as client:
                    await client.log_in()
                await until("the session to end", lambda: house.status()["listeners"][0]["active"] == 0)


async def test_clients_that_only_connect_take_no_place(plan: Plan) -> None:
    with FakePostgres() as server:
        async with (
            House(plan.text(server, listener=limits(connections=1))),
            PgClient(plan.at),
            PgClient(plan.at),
            PgClient(plan.at) as client,
        ):
            await client.log_in()


async def test_a_refused_login_upstream_frees_its_place(plan: Plan) -> None:
    with FakePostgres().refuse("53300", at="startup", times=1) as server:
        async with House(plan.text(server, listener=limits(connections=1))) as house:
            async with PgClient(plan.at) as client:
                client.start()
                error = await client.last_words()
                assert error is not None
                assert error.code == "53300"
            await until("the session to end", lambda: bool(house.ends()))
            async with PgClient(plan.at) as client:
                await client.log_in()


# ---- the login's deadline


@pytest.mark.parametrize(
    "said", [b"", messages.startup_message({"user": "app"})[:10]], ids=["silent", "half a message"]
)
async def test_a_client_that_does_not_finish_its_login_is_ended_at_the_deadline(plan: Plan, said: bytes) -> None:
    with FakePostgres() as server:
        async with House(plan.text(server, listener=limits(login_timeout="300ms"))) as house:
            async with PgClient(plan.at) as client:
                began = time.monotonic()
                client.send(said)
                error = await client.last_words()
                assert error is not None
                assert error.code == "57014"
                assert 0.2 < time.monotonic() - began < 5
            assert house.ends()[0]["reason"] == "login_timeout"
        assert server.accepted == 0


async def test_a_byte_now_and_then_buys_no_time(plan: Plan) -> None:
    with FakePostgres() as server:
        async with House(plan.text(server, listener=limits(login_timeout="600ms"))) as house:
            slow = Fault(piece=1, pause=0.1)
            host, _, port = plan.at.rpartition(":")
            async with (
                FaultyProxy(int(port), host=host, towards=slow) as between,
                PgClient(f"127.0.0.1:{between.port}") as client,
            ):
                client.start(application_name="a name that takes its time")
                assert (await client.error()).code == "57014"
            assert house.ends()[0]["reason"] == "login_timeout"


async def test_slow_clients_do_not_hold_up_the_others(plan: Plan) -> None:
    with FakePostgres() as server:
        async with House(plan.text(server)):
            slow = [PgClient(plan.at) for _ in range(40)]
            try:
                for one in slow:
                    await one.__aenter__()
                    one.send(messages.startup_message({"user": "app"})[:1])
                async with asyncio.timeout(5), PgClient(plan.at) as client:
                    await client.log_in()
                    assert (await client.query("select 'quick'")).rows == ["quick"]
            finally:
                for one in slow:
                    await one.__aexit__(None, None, None)


# ---- silence and age


@pytest.mark.parametrize(
    ("limit", "statement", "code", "reason"),
    [
        ("idle_timeout", "select 'idle'", "57P05", "idle_timeout"),
        ("idle_in_transaction_timeout", "begin", "25P03", "idle_in_transaction_timeout"),
        ("session_timeout", "select 'old'", "57P01", "session_timeout"),
    ],
)
async def test_a_session_past_its_limit_is_told_which(
    plan: Plan, limit: str, statement: str, code: str, reason: str
) -> None:
    clock = ManualClock()
    with FakePostgres() as server:
        async with House(plan.text(server, listener=limits(**{limit: "60s"})), clock=clock) as house:
            async with PgClient(plan.at) as client:
                await client.log_in()
                await client.query(statement)
                await clock.advance(50)
                assert house.ends() == []
                await clock.advance(20)
                error = await client.last_words()
                assert error is not None
                assert (error.severity, error.code) == ("FATAL", code)
            await until("the session to end", lambda: bool(house.ends()))
            assert house.ends()[0]["reason"] == reason
            await until("the server connection to close", lambda: server.connections == 0)


async def test_who_says_something_now_and_then_is_not_idle(plan: Plan) -> None:
    clock = ManualClock()
    with FakePostgres() as server:
        async with House(plan.text(server, listener=limits(idle_timeout="60s")), clock=clock) as house:
            async with PgClient(plan.at) as client:
                await client.log_in()
                for _ in range(4):
                    await clock.advance(40)
                    assert (await client.query("select 'here'")).rows == ["here"]
            assert house.lines("session ended", reason="idle_timeout") == []


async def test_a_server_at_work_is_not_idle(plan: Plan) -> None:
    clock = ManualClock()
    spans = limits(idle_timeout="60s", idle_in_transaction_timeout="60s")
    with FakePostgres() as server:
        async with House(plan.text(server, listener=spans), clock=clock), PgClient(plan.at) as client:
            await client.log_in()
            client.send(messages.query("select pg_sleep(0.5)"))
            await asyncio.sleep(0.1)  # for the query to reach the server
            await clock.advance(600)
            assert (await client.result()).errors == []


async def test_outside_a_transaction_the_limit_for_transactions_does_not_count(plan: Plan) -> None:
    clock = ManualClock()
    with FakePostgres() as server:
        text = plan.text(server, listener=limits(idle_in_transaction_timeout="60s"))
        async with House(text, clock=clock), PgClient(plan.at) as client:
            await client.log_in()
            await client.query("begin")
            await client.query("commit")
            await clock.advance(600)
            assert (await client.query("select 'here'")).rows == ["here"]


async def test_an_old_session_finishes_its_transaction_before_it_ends(plan: Plan) -> None:
    clock = ManualClock()
    with FakePostgres() as server:
        text = plan.text(server, listener=limits(session_timeout="60s"))
        async with House(text, clock=clock), PgClient(plan.at) as client:
            await client.log_in()
            await client.query("begin")
            await clock.advance(120)
            assert (await client.query("select 'still'")).rows == ["still"]
            assert (await client.query("commit")).tags == ["COMMIT"]
            error = await client.last_words()
            assert error is not None
            assert error.code == "57P01"


async def test_without_limits_a_session_may_be_silent_for_a_week(plan: Plan) -> None:
    clock = ManualClock()
    with FakePostgres() as server:
        async with House(plan.text(server), clock=clock), PgClient(plan.at) as client:
            await client.log_in()
            await client.query("begin")
            clock.jump(7 * 86_400)
            await clock.advance(3600)
            assert (await client.query("commit")).tags == ["COMMIT"]
