"""PROXY protocol: whom we believe about a client's address, and what we tell the upstream."""

from __future__ import annotations

from typing import Any

import pytest

from ambassador.wire import proxy_header
from ambassador.wire.postgres import messages
from ambassador.wire.proxy_header import Endpoint
from tests.scenario.plan import Plan
from tests.support.fake_postgres import FakePostgres
from tests.support.house import House, until
from tests.support.pgclient import PgClient

CLIENT = Endpoint("192.0.2.7", 40000)
HERE = Endpoint("198.51.100.1", 5432)
CLIENT6 = Endpoint("2001:db8::7", 40000)
HERE6 = Endpoint("2001:db8::1", 5432)

TRUSTING: dict[str, Any] = {"proxy_protocol": {"trusted": ["127.0.0.0/8"]}}
WARY: dict[str, Any] = {"proxy_protocol": {"trusted": ["192.0.2.0/24"]}}

HEADERS = {
    "v1": (proxy_header.build_v1(CLIENT, HERE), "192.0.2.7:40000"),
    "v2": (proxy_header.build_v2(CLIENT, HERE), "192.0.2.7:40000"),
    "v1 IPv6": (proxy_header.build_v1(CLIENT6, HERE6), "[2001:db8::7]:40000"),
    "v2 IPv6": (proxy_header.build_v2(CLIENT6, HERE6), "[2001:db8::7]:40000"),
}


# ---- in


@pytest.mark.parametrize(("header", "told"), HEADERS.values(), ids=HEADERS)
async def test_a_balancer_in_a_listed_network_says_where_the_client_is(plan: Plan, header: bytes, told: str) -> None:
    with FakePostgres() as server:
        async with House(plan.text(server, listener=TRUSTING)) as house, PgClient(plan.at) as client:
            client.send(header)
            await client.log_in()
            assert house.status()["sessions"][0]["client"] == told
            client.send(messages.TERMINATE)
            await client.rest()
            assert house.ends()[0]["client"] == told


@pytest.mark.parametrize("header", [proxy_header.build_v1(None, None), proxy_header.build_v2(None, None)])
async def test_a_balancer_that_speaks_for_itself_is_the_client(plan: Plan, header: bytes) -> None:
    with FakePostgres() as server:
        async with House(plan.text(server, listener=TRUSTING)) as house, PgClient(plan.at) as client:
            client.send(header)
            await client.log_in()
            assert house.status()["sessions"][0]["client"].startswith("127.0.0.1:")


async def test_the_header_and_the_startup_may_come_byte_by_byte_and_in_one_piece(plan: Plan) -> None:
    whole = HEADERS["v2"][0] + messages.startup_message({"user": "app"})
    with FakePostgres() as server:
        async with House(plan.text(server, listener=TRUSTING)):
            async with PgClient(plan.at) as client:
                client.send(whole)
                await client.until(b"Z")
            async with PgClient(plan.at) as client:
                for byte in whole:
                    client.send(bytes((byte,)))
                    await client.stream.drained()
                await client.until(b"Z")


@pytest.mark.parametrize(
    "said",
    [
        messages.startup_message({"user": "app"}),
        b"PROXY TCP4 not-an-address 10.0.0.1 1 2\r\n",
        b"PROXY " + b"x" * 200,
        proxy_header.build_v2(CLIENT, HERE)[:12] + b"\xff" + proxy_header.build_v2(CLIENT, HERE)[13:],
    ],
    ids=["none", "bad address", "endless", "bad version"],
)
async def test_a_balancer_without_a_good_header_is_turned_away(plan: Plan, said: bytes) -> None:
    with FakePostgres() as server:
        async with House(plan.text(server, listener=TRUSTING)) as house, PgClient(plan.at) as client:
            client.send(said)
            error = await client.last_words()
            assert error is None or error.code == "08P01"
            await until("the session to end", lambda: bool(house.ends()))
            assert house.ends()[0]["reason"] == "proxy_header"
        assert server.accepted == 0


@pytest.mark.parametrize("header", [HEADERS["v1"][0], HEADERS["v2"][0]], ids=["v1", "v2"])
@pytest.mark.parametrize("listener", [{}, WARY], ids=["not configured", "not listed"])
async def test_nobody_else_may_say_where_it_is(plan: Plan, header: bytes, listener: dict[str, Any]) -> None:
    with FakePostgres() as server:
        async with House(plan.text(server, listener=listener)) as house, PgClient(plan.at) as client:
            client.send(header + messages.startup_message({"user": "app"}))
            await client.rest()
            await until("the session to end", lambda: bool(house.ends()))
            (end,) = house.ends()
            assert end["reason"] == "bad_message"
            assert end["client"].startswith("127.0.0.1:")
        assert server.accepted == 0


async def test_who_is_not_listed_comes_in_without_a_header(plan: Plan) -> None:
    with FakePostgres() as server:
        async with House(plan.text(server, listener=WARY)), PgClient(plan.at) as client:
            await client.log_in()


async def test_a_balancer_that_keeps_its_header_to_itself_is_ended_by_the_deadline(plan: Plan) -> None:
    limits = {"limits": {"login_timeout": "300ms"}}
    with FakePostgres() as server:
        async with House(plan.text(server, listener={**TRUSTING, **limits})) as house, PgClient(plan.at) as client:
            client.send(b"PROXY TCP4 ")
            await client.rest()
            await until("the session to end", lambda: bool(house.ends()))
            assert house.ends()[0]["reason"] == "login_timeout"


# ---- out


@pytest.mark.parametrize("version", ["v1", "v2"])
async def test_the_upstream_is_told_where_the_client_is(plan: Plan, version: str) -> None:
    with FakePostgres().proxied() as server:
        text = plan.text(server, listener=TRUSTING, upstream={"send_proxy_protocol": version})
        async with House(text), PgClient(plan.at) as client:
            client.send(HEADERS["v1"][0])
            await client.log_in()
        assert server.logins[0].source == "192.0.2.7:40000"


@pytest.mark.parametrize("version", ["v1", "v2"])
async def test_without_a_balancer_the_upstream_is_told_the_socket_s_own_peer(plan: Plan, version: str) -> None:
    with FakePostgres().proxied() as server:
        text = plan.text(server, upstream={"send_proxy_protocol": version})
        async with House(text), PgClient(plan.at) as client:
            await client.log_in()
            near = client.stream.local.address
        assert server.logins[0].source == near


async def test_the_header_goes_ahead_of_tls_and_of_cancels(plan: Plan) -> None:
    with FakePostgres().proxied().tls(plan.authority.server("127.0.0.1")) as server:
        text = plan.text(server, upstream={"send_proxy_protocol": "v2", "tls": plan.client_tls()})
        async with House(text), PgClient(plan.at) as client:
            await client.log_in()
            client.send(messages.query("select pg_sleep(9)"))
            await client.cancel()
            assert (await client.result()).code == "57014"
        assert len(server.cancels) == 1


async def test_a_trial_login_says_that_it_is_made_for_nobody(plan: Plan) -> None:
    password = plan.secret("db")
    with FakePostgres().proxied().user("orders_rw", password) as server:
        text = plan.text(server, upstream={"send_proxy_protocol": "v2"}, credential={"debounce": "0s"})
        async with House(text) as house:
            fresh = plan.swap("db")
            server.user("orders_rw", fresh)
            await until("the rotation", lambda: bool(house.lines("credential rotated")))
        (login,) = server.logins
        assert login.source is None
