"""One conversation of the fake, word by word; that it is like a real server's is shown in `tests/contract`."""

from __future__ import annotations

import ssl

import pytest

from ambassador.errors import UpstreamError
from ambassador.wire.postgres import messages
from tests.support.certificates import Authority
from tests.support.fake_postgres import FakePostgres
from tests.support.house import until
from tests.support.pgclient import PgClient


async def refused(client: PgClient, user: str, password: str) -> UpstreamError:
    with pytest.raises(UpstreamError) as caught:
        await client.log_in(user, password)
    return caught.value


async def test_without_users_everyone_is_let_in_to_any_database() -> None:
    with FakePostgres() as server:
        for user in ("one", "two"):
            async with PgClient(server.address) as client:
                logged_in = await client.log_in(user, database="any", options="-c a=b")
                assert logged_in.method == "none"
                assert (await client.query("select current_database()")).rows == ["any"]
        assert [login.user for login in server.logins] == ["one", "two"]
        assert server.logins[0].parameters == {"options": "-c a=b"}


async def test_a_settings_list_is_what_it_was_told_to_be() -> None:
    with FakePostgres().setting("server_version", "14.1").setting("TimeZone", None).standby().read_only() as server:
        async with PgClient(server.address) as client:
            await client.log_in()
            assert client.settings["server_version"] == "14.1"
            assert "TimeZone" not in client.settings
            assert client.settings["in_hot_standby"] == client.settings["default_transaction_read_only"] == "on"
            assert (await client.query("show server_version")).rows == ["14.1"]


@pytest.mark.parametrize("method", ["cleartext", "md5", "scram-sha-256"])
async def test_every_method_takes_the_password_and_no_other(method: str) -> None:
    with FakePostgres().user("app", "right", method) as server:  # type: ignore[arg-type]  # one of the three words
        async with PgClient(server.address) as client:
            await client.log_in("app", "right")
        async with PgClient(server.address) as client:
            assert (await refused(client, "app", "wrong")).code == "28P01"
        assert server.logins[0].mechanism.lower() == method


async def test_a_user_without_a_method_is_let_in_unasked_beside_others() -> None:
    with FakePostgres().user("app", method="trust").user("other", "secret") as server:
        async with PgClient(server.address) as client:
            assert (await client.log_in("app")).method == "none"
        async with PgClient(server.address) as client:
            assert (await refused(client, "nobody", "secret")).code == "28P01"


async def test_what_a_client_showed_by_its_certificate_is_noted(authority: Authority) -> None:
    pair = authority.client("somebody")
    context = ssl.create_default_context(cafile=str(authority.file))
    context.load_cert_chain(pair.cert, pair.key)
    context.set_alpn_protocols(["postgresql"])
    with FakePostgres().tls(authority.server("localhost"), client_ca=authority.file) as server:
        async with PgClient(server.address) as client:
            await client.begin_tls(context)
            await client.log_in()
        async with PgClient(server.address) as client:
            assert await client.ask_for_tls(context) == b"S"
            await client.log_in()
        assert [(login.client_name, login.alpn) for login in server.logins] == [("somebody", "postgresql")] * 2


async def test_a_cancel_request_is_heard_in_the_clear_and_over_tls(authority: Authority) -> None:
    context = ssl.create_default_context(cafile=str(authority.file))
    with FakePostgres().tls(authority.server("localhost")) as server:
        for encrypted in (False, True):
            async with PgClient(server.address) as client:
                if encrypted:
                    await client.ask_for_tls(context)
                client.send(messages.cancel_request(7, b"key!"))
                await client.rest()
        assert server.cancels == [(7, b"key!"), (7, b"key!")]


@pytest.mark.parametrize("version", [messages.PROTOCOL_3_0, messages.PROTOCOL_3_2])
async def test_a_key_is_as_long_as_the_version_wants_it(version: int) -> None:
    with FakePostgres() as server:
        async with PgClient(server.address) as client:
            await client.log_in(version=version)
            assert len(client.key) == (4 if version == messages.PROTOCOL_3_0 else 32)


async def test_a_proxy_header_says_where_the_client_is() -> None:
    with FakePostgres().proxied() as server:
        async with PgClient(server.address) as client:
            client.send(b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 5432\r\n")
            await client.log_in()
        async with PgClient(server.address) as client:
            client.send(b"PROXY UNKNOWN\r\n")
            await client.log_in()
        assert [login.source for login in server.logins] == ["192.0.2.7:4711", None]


async def test_malformed_scram_is_no_proof() -> None:
    with FakePostgres().user("app", "right") as server:
        async with PgClient(server.address) as client:
            client.start("app")
            assert (await client.message())[0] == b"R"
            client.send(messages.sasl_initial_response("SCRAM-SHA-256", b"nonsense"))
            assert (await client.error()).code == "08P01"
        async with PgClient(server.address) as client:
            client.start("app")
            await client.message()
            client.send(messages.query("select 1"))
            assert await client.rest() == b""


# ---- statements beyond the contract


async def test_a_scripted_statement_is_answered_as_told() -> None:
    with FakePostgres().on("do it", messages.message(b"C", b"DONE\0")) as server:
        async with PgClient(server.address) as client:
            await client.log_in()
            result = await client.query("do it;")
            assert (result.tags, result.status) == (["DONE"], b"I")


async def test_set_is_no_news() -> None:
    with FakePostgres() as server:
        async with PgClient(server.address) as client:
            await client.log_in()
            assert (await client.query("set a to b")).tags == ["SET"]
            assert (await client.query("select pg_sleep(0)")).rows == [""]


async def test_describe_and_flush_are_passed_over() -> None:
    with FakePostgres() as server:
        async with PgClient(server.address) as client:
            await client.log_in()
            client.send(messages.message(b"D", b"S\0") + messages.message(b"H"))
            assert (await client.query("select 1")).rows == ["1"]


# ---- from the test's own hand


async def test_a_session_may_be_spoken_into_ended_and_reset() -> None:
    notice = messages.message(b"N", b"SNOTICE\0C00000\0Mhello\0\0")
    with FakePostgres() as server:
        async with PgClient(server.address) as client:
            await client.log_in()
            (session,) = server.sessions
            session.say(notice)
            assert await client.message() == (b"N", notice[5:])
            session.end()
            assert await client.rest() == b""
        await until("the session to be over", lambda: not server.sessions)
        async with PgClient(server.address) as client:
            await client.log_in()
            server.sessions[0].reset()
            with pytest.raises(ConnectionError):
                await client.message()


async def test_a_session_is_known_from_its_login_to_its_end() -> None:
    with FakePostgres() as server:
        assert server.sessions == []
        async with PgClient(server.address) as client:
            await client.log_in()
            (session,) = server.sessions
            assert (session.pid, session.key) == (client.pid, client.key)
            client.send(messages.TERMINATE)
            assert await client.rest() == b""
        await until("the session to be over", lambda: not server.sessions)
