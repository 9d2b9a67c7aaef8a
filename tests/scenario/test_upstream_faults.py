"""A server that fails: at the request for TLS, during the login, in the middle of a session."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from ambassador.wire.postgres import messages
from ambassador.wire.postgres.messages import ErrorFields
from tests.scenario.plan import Plan
from tests.support.fake_postgres import FakePostgres
from tests.support.house import House, until
from tests.support.pgclient import PgClient

ROW = messages.message(b"D", b"\0\1\0\0\0\x05whole")
HALF = ROW[:-3]


async def refusal(plan: Plan) -> ErrorFields:
    async with PgClient(plan.at) as client:
        client.start("app", database="shop")
        error = await client.last_words()
        assert error is not None
        return error


async def reason(house: House) -> str:
    """Why the one session ended."""
    await until("the session to end", lambda: bool(house.ends()))
    (end,) = house.ends()
    return str(end["reason"])


# ---- in the middle of a session


@pytest.mark.parametrize("how", ["end", "reset"])
async def test_when_the_server_goes_an_idle_client_is_told(plan: Plan, how: str) -> None:
    with FakePostgres() as server:
        async with House(plan.text(server)) as house, PgClient(plan.at) as client:
            await client.log_in()
            getattr(server.sessions[0], how)()
            error = await client.last_words()
            assert error is not None
            assert (error.severity, error.code) == ("FATAL", "08006")
            assert await reason(house) == "upstream_closed"


@pytest.mark.parametrize(("said", "told"), [(ROW, True), (HALF, False)], ids=["between messages", "within a message"])
@pytest.mark.parametrize("how", ["close", "reset"])
async def test_when_the_server_goes_amid_an_answer_words_are_put_only_between_messages(
    plan: Plan, said: bytes, told: bool, how: Any
) -> None:
    with FakePostgres().on("select half", said, "hang") as server:
        async with House(plan.text(server)) as house, PgClient(plan.at) as client:
            await client.log_in()
            client.send(messages.query("select half"))
            heard = await client.receive(len(said))
            assert heard == said
            {"close": server.hang_up, "reset": server.reset}[how]()
            last = await client.rest()
            assert bool(last) is told
            assert not told or messages.parse_error(last[5:]).code == "08006"
            assert await reason(house) == "upstream_closed"


async def test_what_the_server_says_last_itself_is_passed_on_and_nothing_added(plan: Plan) -> None:
    words = messages.error_response("FATAL", "57P01", "terminating connection due to administrator command")
    with FakePostgres() as server:
        async with House(plan.text(server)) as house, PgClient(plan.at) as client:
            await client.log_in()
            server.sessions[0].say(words)
            server.sessions[0].end()
            assert await client.rest() == words
            assert await reason(house) == "upstream_closed"


async def test_a_server_error_in_a_session_passes_as_it_is(plan: Plan) -> None:
    with FakePostgres() as server:
        async with House(plan.text(server)) as house, PgClient(plan.at) as client:
            await client.log_in()
            assert (await client.query("selec 1")).code == "42601"
            assert (await client.query("select 'goes on'")).rows == ["goes on"]
            assert 'requests_total{kind="transaction",listener="front",result="error",upstream="behind"} 1.0' in (
                house.metrics()
            )


async def test_a_server_that_breaks_the_protocol_ends_the_session(plan: Plan) -> None:
    with FakePostgres().on("select bad", b"D\0\0\0\1", "hang") as server:
        async with House(plan.text(server)) as house, PgClient(plan.at) as client:
            await client.log_in()
            client.send(messages.query("select bad"))
            await client.rest()
            assert await reason(house) == "upstream_bad_message"


async def test_a_client_that_goes_takes_its_server_connection_with_it(plan: Plan) -> None:
    with FakePostgres() as server:
        async with House(plan.text(server)) as house:
            async with PgClient(plan.at) as client:
                await client.log_in()
                client.send(messages.query("select pg_sleep(0.3)"))
                await client.stream.drained()
            assert await reason(house) == "client_closed"
            (endpoint,) = house.status()["upstreams"][0]["endpoints"]
            assert endpoint["connections"] == 0


# ---- during the login


LOGINS: dict[str, tuple[Callable[[FakePostgres], object], str, str]] = {
    "nobody listens": (lambda server: server.refuse_connections(), "08001", "connect_failed"),
    "closed at once": (lambda server: server.close_at("connect"), "08006", "upstream_closed"),
    "reset at the startup": (lambda server: server.reset_at("startup"), "08006", "upstream_closed"),
    "closed ahead of the settings": (lambda server: server.close_at("settings"), "08006", "upstream_closed"),
    "closed behind the settings": (lambda server: server.close_at("ready"), "08006", "upstream_closed"),
    "full": (lambda server: server.refuse("53300", at="startup"), "53300", "upstream_rejected"),
    "starting": (lambda server: server.refuse("57P03", at="startup"), "57P03", "upstream_rejected"),
    "wrong password": (lambda server: server.refuse("28P01", at="startup"), "08006", "upstream_login_refused"),
    "not in pg_hba": (lambda server: server.refuse("28000", at="startup"), "08006", "upstream_login_refused"),
    "broken": (lambda server: server.refuse("XX000", at="startup"), "08004", "upstream_rejected"),
    "unknown parameter": (lambda server: server.refuse("42704", at="proof"), "42704", "upstream_rejected"),
    "wants GSS": (lambda server: server.ask_for(7), "0A000", "upstream_unsupported"),
    "wants SSPI": (lambda server: server.ask_for(9), "0A000", "upstream_unsupported"),
}


@pytest.mark.parametrize(("fault", "code", "why"), LOGINS.values(), ids=LOGINS)
async def test_a_login_that_fails_upstream_has_its_own_code_and_reason(
    plan: Plan, fault: Callable[[FakePostgres], object], code: str, why: str
) -> None:
    with FakePostgres() as server:
        fault(server)
        async with House(plan.text(server)) as house:
            assert (await refusal(plan)).code == code
            assert await reason(house) == why


@pytest.mark.parametrize("moment", ["connect", "startup", "ready"])
async def test_silence_during_the_login_is_ended_by_the_deadline(plan: Plan, moment: Any) -> None:
    with FakePostgres().hang_at(moment) as server:
        async with House(plan.text(server, upstream={"login_timeout": "300ms"})) as house:
            assert (await refusal(plan)).code == "08001"
            assert await reason(house) == "upstream_login_timeout"


async def test_a_server_that_sends_byte_by_byte_gains_no_time(plan: Plan) -> None:
    with FakePostgres().trickle(0.05) as server:
        async with House(plan.text(server, upstream={"login_timeout": "500ms"})) as house:
            began = time.monotonic()
            assert (await refusal(plan)).code == "08001"
            assert time.monotonic() - began < 5
            assert await reason(house) == "upstream_login_timeout"


async def test_a_server_that_wants_a_password_we_do_not_have_is_the_operator_s_matter(plan: Plan) -> None:
    with FakePostgres().user("app", b"secret") as server:
        async with House(plan.text(server)) as house:
            assert (await refusal(plan)).code == "08006"
            assert await reason(house) == "no_credential"


async def test_a_cleartext_password_leaves_only_where_nobody_can_read_along(plan: Plan) -> None:
    """This machine is such a place; what is beyond is tested with the login itself."""
    with FakePostgres().user("orders_rw", plan.secret("db"), "cleartext") as server:
        async with House(plan.text(server)), PgClient(plan.at) as client:
            await client.log_in()


# ---- what the client is told


PRIVATE = 'role "orders_rw" of 10.1.2.3 may not log in'


@pytest.mark.parametrize("reveal", [False, True], ids=["by default", "when allowed"])
@pytest.mark.parametrize("code", ["28P01", "53300", "XX000"])
async def test_an_upstream_s_words_address_and_user_are_told(plan: Plan, code: str, reveal: bool) -> None:
    plan.secret("db")
    with FakePostgres().refuse(code, PRIVATE, at="startup") as server:
        upstream = {"reveal_errors": reveal}
        async with House(plan.text(server, upstream=upstream, credential={"refused_wait": "50ms"})) as house:
            error = await refusal(plan)
            assert (PRIVATE in error.message) is reveal
            assert reveal or not any(word in error.message for word in ("orders_rw", "10.1.2.3", "127.0.0.1"))
            await reason(house)
            assert PRIVATE in house.ends()[0]["error"], "the log has the whole reason"


# ---- the request for TLS


@pytest.mark.parametrize(
    ("answer", "code", "why"),
    [
        (b"N", "08001", "upstream_tls_refused"),
        (b"E", "08004", "upstream_rejected"),
        (messages.error_response("FATAL", "53300", "full"), "08004", "upstream_rejected"),
        (b"X", "08P01", "upstream_bad_message"),
        (b"SR", "08P01", "upstream_bad_message"),
        (b"S" + messages.authentication(messages.AUTH_OK), "08P01", "upstream_bad_message"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "08P01", "upstream_bad_message"),
    ],
    ids=["no", "an error's first byte", "an error", "garbage", "a byte too much", "a smuggled message", "http"],
)
async def test_an_answer_to_the_request_for_tls_that_is_not_yes_ends_the_attempt(
    plan: Plan, answer: bytes, code: str, why: str
) -> None:
    """CVE-2021-23222: what comes in the clear behind the answer must not be read as if it had come encrypted."""
    plan.secret("db")
    with FakePostgres().answer_ssl(answer) as server:
        async with House(plan.text(server, upstream={"tls": plan.client_tls()})) as house:
            assert (await refusal(plan)).code == code
            assert await reason(house) == why
        assert server.logins == []


@pytest.mark.parametrize("moment", ["connect", "ssl"])
async def test_silence_at_the_request_for_tls_is_ended_by_the_deadline(plan: Plan, moment: Any) -> None:
    with FakePostgres().hang_at(moment) as server:
        upstream = {"tls": plan.client_tls(), "login_timeout": "300ms"}
        async with House(plan.text(server, upstream=upstream)) as house:
            assert (await refusal(plan)).code == "08001"
            assert await reason(house) == "upstream_login_timeout"


async def test_a_server_without_tls_gets_no_password_where_tls_is_wanted(plan: Plan) -> None:
    with FakePostgres().user("orders_rw", plan.secret("db"), "cleartext") as server:
        async with House(plan.text(server, upstream={"tls": plan.client_tls(mode="require")})) as house:
            assert (await refusal(plan)).code == "08001"
            assert await reason(house) == "upstream_tls_refused"
        assert server.logins == []
