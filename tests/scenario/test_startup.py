"""What a client asks for at its start, and what of it reaches the server."""

from __future__ import annotations

import pytest

from ambassador.wire.postgres import messages
from tests.scenario.plan import Plan
from tests.support.fake_postgres import FakePostgres
from tests.support.house import House, until
from tests.support.pgclient import PgClient

PROTOCOL_3_9 = 3 << 16 | 9


@pytest.mark.parametrize(("version", "key_size"), [(messages.PROTOCOL_3_0, 4), (messages.PROTOCOL_3_2, 32)])
async def test_a_version_that_we_speak_is_taken_as_it_is(plan: Plan, version: int, key_size: int) -> None:
    with FakePostgres() as server:
        async with House(plan.text(server)), PgClient(plan.at) as client:
            client.start(version=version)
            said = await client.until(b"Z")
            assert b"v" not in [tag for tag, _ in said]
            (key,) = [payload[4:] for tag, payload in said if tag == b"K"]
            assert len(key) == key_size


async def test_a_version_beyond_ours_is_negotiated_down_to_3_2(plan: Plan) -> None:
    with FakePostgres() as server:
        async with House(plan.text(server)), PgClient(plan.at) as client:
            client.start(version=PROTOCOL_3_9)
            tag, payload = await client.message()
            assert tag == b"v"
            assert messages.parse_negotiate_protocol_version(payload) == (messages.PROTOCOL_3_2, [])
            assert (await client.until(b"Z"))[0] == (b"R", bytes(4))


async def test_options_of_the_protocol_that_we_do_not_know_are_named_and_left_out(plan: Plan) -> None:
    with FakePostgres() as server:
        async with House(plan.text(server)), PgClient(plan.at) as client:
            asked = {"user": "app", "_pq_.command_tag": "on", "_pq_.other": "1", "application_name": "shop"}
            client.send(messages.startup_message(asked))
            tag, payload = await client.message()
            assert tag == b"v"
            assert messages.parse_negotiate_protocol_version(payload) == (
                messages.PROTOCOL_3_0,
                ["_pq_.command_tag", "_pq_.other"],
            )
            await client.until(b"Z")
        assert server.logins[0].parameters == {"application_name": "shop"}


@pytest.mark.parametrize("version", [2 << 16, 4 << 16, 0])
async def test_a_protocol_of_another_age_is_refused_in_words(plan: Plan, version: int) -> None:
    with FakePostgres() as server:
        async with House(plan.text(server)), PgClient(plan.at) as client:
            client.start(version=version)
            error = await client.last_words()
            assert error is not None
            assert error.code == "0A000"
            assert "3.0 to 3.2" in error.message
        assert server.accepted == 0


async def test_every_startup_parameter_reaches_the_server(plan: Plan) -> None:
    wanted = {
        "options": "-c search_path=shop -c statement_timeout=5s",
        "replication": "database",
        "application_name": "läden ☃",
        "client_encoding": "UTF8",
    }
    with FakePostgres() as server:
        async with House(plan.text(server)), PgClient(plan.at) as client:
            client.send(messages.startup_message({"user": "app", "database": "orders", **wanted}))
            await client.until(b"Z")
        (login,) = server.logins
        assert login.parameters == wanted
        assert login.database == "orders"


async def test_what_the_server_reports_reaches_the_client(plan: Plan) -> None:
    with FakePostgres().setting("server_version", "15.9").setting("TimeZone", "Asia/Tokyo") as server:
        async with House(plan.text(server)), PgClient(plan.at) as client:
            await client.log_in()
            assert client.settings["server_version"] == "15.9"
            assert client.settings["TimeZone"] == "Asia/Tokyo"


async def test_the_server_s_own_cancel_key_is_kept_from_the_client(plan: Plan) -> None:
    with FakePostgres() as server:
        async with House(plan.text(server)), PgClient(plan.at) as client:
            await client.log_in()
            (session,) = server.sessions
            assert (client.pid, client.key) != (session.pid, session.key)


@pytest.mark.parametrize(
    ("options", "asked", "reached"),
    [
        ({}, {"database": "shop"}, "shop"),
        ({}, {}, "app"),
        ({"database": "orders"}, {"database": "shop"}, "orders"),
        ({"databases": {"shop": "shop_v2"}}, {"database": "shop"}, "shop_v2"),
        ({"databases": {"shop": "shop_v2"}}, {"database": "other"}, "other"),
    ],
)
async def test_the_database_is_the_one_asked_for_unless_it_is_mapped(
    plan: Plan, options: dict[str, object], asked: dict[str, str], reached: str
) -> None:
    plan.secret("db")
    with FakePostgres() as server:
        async with House(plan.text(server, upstream={"postgres": options})), PgClient(plan.at) as client:
            client.send(messages.startup_message({"user": "app", **asked}))
            await client.until(b"Z")
            assert (await client.query("select current_database()")).rows == [reached]


async def test_a_database_that_does_not_exist_is_told_without_naming_the_server_s_user(plan: Plan) -> None:
    password = plan.secret("db")
    with FakePostgres().user("orders_rw", password).database("orders") as server:
        async with House(plan.text(server)), PgClient(plan.at) as client:
            client.start(database="nowhere")
            error = await client.last_words()
            assert error is not None
            assert error.code == "3D000"
            assert "orders_rw" not in error.message


async def test_what_is_pipelined_behind_the_startup_message_is_answered_in_turn(plan: Plan) -> None:
    with FakePostgres() as server:
        async with House(plan.text(server)) as house, PgClient(plan.at) as client:
            client.send(messages.startup_message({"user": "app"}) + messages.query("select 'early'"))
            await client.until(b"Z")
            assert (await client.result()).rows == ["early"]
            counted = 'ambassador_requests_total{kind="transaction",listener="front",result="ok",upstream="behind"} 1.0'
            assert counted in house.metrics()


async def test_a_startup_message_byte_by_byte_is_taken(plan: Plan) -> None:
    with FakePostgres() as server:
        async with House(plan.text(server)), PgClient(plan.at) as client:
            for byte in messages.startup_message({"user": "app"}):
                client.send(bytes((byte,)))
                await client.stream.drained()
            await client.until(b"Z")


async def test_a_client_without_a_user_name_is_told_so(plan: Plan) -> None:
    with FakePostgres() as server:
        async with House(plan.text(server)) as house, PgClient(plan.at) as client:
            client.send(messages.startup_message({"database": "orders"}))
            error = await client.last_words()
            assert error is not None
            assert error.code == "28000"
            await until("the session to end", lambda: bool(house.ends()))
        assert server.accepted == 0
