"""Cancelling: the right query, by the right client, and no other."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Coroutine
from typing import Any

import pytest

from ambassador.wire.postgres import messages
from tests.scenario.plan import Plan
from tests.support.fake_postgres import FakePostgres
from tests.support.house import House, until
from tests.support.pgclient import PgClient, Result

SLEEP = "select pg_sleep(9)"
QUICK = "select pg_sleep(0.2)"


async def while_it_sleeps(client: PgClient, act: Coroutine[Any, Any, None], sql: str = SLEEP) -> Result:
    """Run a query that takes long, do something meanwhile, and return how the query ended."""
    client.send(messages.query(sql))
    await client.stream.drained()
    await act
    return await client.result()


@pytest.mark.parametrize("version", [messages.PROTOCOL_3_0, messages.PROTOCOL_3_2])
async def test_the_owner_of_a_key_cancels_its_query(plan: Plan, version: int) -> None:
    with FakePostgres() as server:
        async with House(plan.text(server)) as house, PgClient(plan.at) as client:
            await client.log_in(version=version)
            (session,) = server.sessions
            result = await while_it_sleeps(client, client.cancel())
            assert result.code == "57014"
            assert server.cancels == [(session.pid, session.key)]
            assert (await client.query("select 'goes on'")).rows == ["goes on"]
            (end,) = house.ends()
            assert (end["reason"], end["level"]) == ("cancel_request", "info")


async def test_of_two_clients_only_the_one_that_is_meant_is_cancelled(plan: Plan) -> None:
    with FakePostgres() as server:
        async with House(plan.text(server)), PgClient(plan.at) as mine, PgClient(plan.at) as other:
            await mine.log_in()
            await other.log_in()
            other.send(messages.query(QUICK))
            assert (await while_it_sleeps(mine, mine.cancel())).code == "57014"
            assert (await other.result()).errors == []


@pytest.mark.parametrize(
    "key",
    [bytes(4), bytes(32), b"\xff" * 256],
    ids=["short", "long", "longest"],
)
async def test_a_wrong_key_cancels_nothing_and_gets_no_answer(plan: Plan, key: bytes) -> None:
    with FakePostgres() as server:
        async with House(plan.text(server)), PgClient(plan.at) as client:
            await client.log_in()
            result = await while_it_sleeps(client, client.cancel(key), QUICK)
            assert result.errors == []
        assert server.cancels == []
        assert server.accepted == 1


async def test_the_server_s_own_key_cancels_nothing(plan: Plan) -> None:
    with FakePostgres() as server:
        async with House(plan.text(server)), PgClient(plan.at) as client, PgClient(plan.at) as thief:
            await client.log_in()
            (session,) = server.sessions
            thief.send(messages.cancel_request(session.pid, session.key))
            assert await thief.rest() == b""
        assert server.cancels == []


async def test_a_key_dies_with_its_session(plan: Plan) -> None:
    with FakePostgres() as server:
        async with House(plan.text(server)) as house, PgClient(plan.at) as late:
            async with PgClient(plan.at) as client:
                await client.log_in()
                retired = messages.cancel_request(client.pid, client.key)
                client.send(messages.TERMINATE)
                await client.rest()
            await until("the session to end", lambda: bool(house.ends()))
            async with PgClient(plan.at) as next_one:
                await next_one.log_in()
                late.send(retired)
                assert await late.rest() == b""
        assert server.cancels == []


async def test_a_cancel_over_tls_is_carried_over_tls(plan: Plan, trusting: ssl.SSLContext) -> None:
    with FakePostgres().tls(plan.authority.server("127.0.0.1")) as server:
        text = plan.text(server, listener={"tls": plan.server_tls()}, upstream={"tls": plan.client_tls()})
        async with House(text), PgClient(plan.at) as client, PgClient(plan.at) as other:
            await client.ask_for_tls(trusting)
            await client.log_in()

            async def cancel() -> None:
                await other.ask_for_tls(trusting)
                other.send(messages.cancel_request(client.pid, client.key))
                assert await other.rest() == b""

            assert (await while_it_sleeps(client, cancel())).code == "57014"


async def test_a_cancel_in_the_clear_is_taken_where_tls_is_required(plan: Plan, trusting: ssl.SSLContext) -> None:
    """As PostgreSQL does: libpq's older PQcancel never encrypts."""
    with FakePostgres() as server:
        async with House(plan.text(server, listener={"tls": plan.server_tls()})), PgClient(plan.at) as client:
            await client.ask_for_tls(trusting)
            await client.log_in()
            assert (await while_it_sleeps(client, client.cancel())).code == "57014"


async def test_a_cancel_comes_through_when_the_listener_has_all_its_connections(plan: Plan) -> None:
    with FakePostgres() as server:
        async with House(plan.text(server, listener={"limits": {"connections": 1}})), PgClient(plan.at) as client:
            await client.log_in()
            assert (await while_it_sleeps(client, client.cancel())).code == "57014"


async def test_a_cancel_at_another_listener_of_the_daemon_finds_its_session(plan: Plan) -> None:
    """A load balancer in front of two listeners may send it to either."""
    with FakePostgres() as server:
        listeners = {"front": plan.listener(), "side": plan.listener("unix:DIR/side")}
        async with House(plan.text(server, listeners=listeners)) as house, PgClient(plan.at) as client:
            await client.log_in()

            async def cancel() -> None:
                async with PgClient(f"unix:{house.directory}/side") as other:
                    other.send(messages.cancel_request(client.pid, client.key))
                    assert await other.rest() == b""

            assert (await while_it_sleeps(client, cancel())).code == "57014"


async def test_a_cancel_that_cannot_be_delivered_gets_no_answer_and_hurts_nobody(plan: Plan) -> None:
    with FakePostgres() as server:
        async with House(plan.text(server)), PgClient(plan.at) as client:
            await client.log_in()
            server.refuse_connections()
            result = await while_it_sleeps(client, client.cancel(), QUICK)
            assert result.errors == []


@pytest.mark.parametrize(
    "request_",
    [messages.cancel_request(1, b""), messages.cancel_request(1, b"k" * 257)],
    ids=["no key", "key too long"],
)
async def test_a_cancel_request_of_an_impossible_length_is_refused(plan: Plan, request_: bytes) -> None:
    with FakePostgres() as server:
        async with House(plan.text(server)) as house, PgClient(plan.at) as client:
            client.send(request_)
            await client.rest()
            await until("the session to end", lambda: bool(house.ends()))
            assert house.ends()[0]["reason"] == "bad_message"
        assert server.accepted == 0


async def test_a_client_that_begins_a_cancel_and_stalls_is_ended_by_the_deadline(plan: Plan) -> None:
    with FakePostgres() as server:
        text = plan.text(server, listener={"limits": {"login_timeout": "300ms"}})
        async with House(text) as house, PgClient(plan.at) as client:
            client.send(messages.cancel_request(1, b"abcd")[:12])
            async with asyncio.timeout(3):
                await client.rest()
            await until("the session to end", lambda: bool(house.ends()))
            assert house.ends()[0]["reason"] == "login_timeout"
