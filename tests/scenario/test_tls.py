"""TLS towards clients: how it begins, whose certificate is shown, and what is refused in the clear."""

from __future__ import annotations

import asyncio
import ssl

import pytest

from ambassador.wire.postgres import messages
from tests.scenario.plan import Plan
from tests.support.certificates import Pair
from tests.support.fake_postgres import FakePostgres
from tests.support.house import House, until
from tests.support.pgclient import PATIENCE, PgClient


async def names_shown(at: str, context: ssl.SSLContext, name: str = "localhost") -> list[str]:
    """The host names of the certificate that is shown to a client who asks for `name`."""
    context.check_hostname = False
    host, _, port = at.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port), ssl=context, server_hostname=name)
    try:
        shown = writer.get_extra_info("peercert")
    finally:
        writer.transport.abort()
        del reader
    return [value for kind, value in shown["subjectAltName"] if kind == "DNS"]


async def test_a_client_that_asks_for_tls_gets_it(plan: Plan, trusting: ssl.SSLContext) -> None:
    with FakePostgres() as server:
        async with House(plan.text(server, listener={"tls": plan.server_tls()})), PgClient(plan.at) as client:
            assert await client.ask_for_tls(trusting) == b"S"
            await client.log_in()
            assert (await client.query("select 'sealed'")).rows == ["sealed"]


async def test_a_client_may_begin_tls_directly(plan: Plan, trusting: ssl.SSLContext) -> None:
    with FakePostgres() as server:
        async with House(plan.text(server, listener={"tls": plan.server_tls()})), PgClient(plan.at) as client:
            await client.begin_tls(trusting)
            assert client.stream.tls is not None
            assert client.stream.tls.alpn == "postgresql"
            await client.log_in()
            assert (await client.query("select 'sealed'")).rows == ["sealed"]


async def test_direct_tls_without_alpn_is_refused(plan: Plan, authority: object, trusting: ssl.SSLContext) -> None:
    """A connection that was meant for another protocol must not be turned against PostgreSQL (ALPACA attack)."""
    silent = ssl.create_default_context(cafile=str(plan.authority.file))
    with FakePostgres() as server:
        async with House(plan.text(server, listener={"tls": plan.server_tls()})) as house:
            async with PgClient(plan.at) as client:
                await client.begin_tls(silent)
                client.start()
                assert (await client.error()).code == "08006"
            await until("the session to end", lambda: bool(house.ends()))
            assert "ALPN" in house.ends()[0]["error"]
        assert server.accepted == 0


async def test_direct_tls_where_none_is_configured_ends_without_a_session(plan: Plan, trusting: ssl.SSLContext) -> None:
    with FakePostgres() as server:
        async with House(plan.text(server)) as house, PgClient(plan.at) as client:
            with pytest.raises(ConnectionError):
                await client.begin_tls(trusting)
            await until("the session to end", lambda: bool(house.ends()))
            assert house.ends()[0]["reason"] == "unsupported"
        assert server.accepted == 0


async def test_encryption_by_gssapi_is_declined_and_the_client_goes_on(plan: Plan, trusting: ssl.SSLContext) -> None:
    gss = (8).to_bytes(4) + messages.GSSENC_REQUEST.to_bytes(4)
    with FakePostgres() as server:
        async with House(plan.text(server, listener={"tls": plan.server_tls()})), PgClient(plan.at) as client:
            client.send(gss)
            assert await client.receive(1) == b"N"
            assert await client.ask_for_tls(trusting) == b"S"
            await client.log_in()


async def test_a_request_for_tls_is_answered_no_where_none_is_configured(plan: Plan) -> None:
    with FakePostgres() as server:
        async with House(plan.text(server)), PgClient(plan.at) as client:
            assert await client.ask_for_tls() == b"N"
            await client.log_in()


async def test_what_is_sent_in_the_clear_behind_a_request_for_tls_is_refused(plan: Plan) -> None:
    """CVE-2021-23214: it must not be read as if it had come encrypted."""
    smuggled = messages.startup_message({"user": "mallory"})
    with FakePostgres() as server:
        async with House(plan.text(server, listener={"tls": plan.server_tls()})) as house:
            async with PgClient(plan.at) as client:
                client.send(messages.ssl_request() + smuggled)
                answer = await client.rest()
                assert answer[:1] != b"S"
            await until("the session to end", lambda: bool(house.ends()))
            assert house.ends()[0]["reason"] == "cleartext_before_tls"
        assert server.accepted == 0


async def test_what_follows_the_handshake_s_first_bytes_in_the_clear_is_refused(plan: Plan) -> None:
    with FakePostgres() as server:
        async with House(plan.text(server, listener={"tls": plan.server_tls()})) as house:
            async with PgClient(plan.at) as client:
                assert await client.ask_for_tls() == b"S"
                client.start("mallory")
                await client.rest()
            await until("the session to end", lambda: bool(house.ends()))
            assert house.ends()[0]["reason"] == "tls_failed"
        assert server.accepted == 0


async def test_a_client_without_tls_is_told_that_it_is_needed(plan: Plan) -> None:
    with FakePostgres() as server:
        async with House(plan.text(server, listener={"tls": plan.server_tls()})), PgClient(plan.at) as client:
            client.start()
            error = await client.last_words()
            assert error is not None
            assert error.code == "28000"
            assert "sslmode=require" in error.message
        assert server.accepted == 0


async def test_a_listener_that_allows_it_lets_clients_without_tls_in(plan: Plan, trusting: ssl.SSLContext) -> None:
    with FakePostgres() as server:
        async with House(plan.text(server, listener={"tls": plan.server_tls(mode="allow")})):
            async with PgClient(plan.at) as client:
                await client.log_in()
            async with PgClient(plan.at) as client:
                assert await client.ask_for_tls(trusting) == b"S"
                await client.log_in()


@pytest.mark.parametrize(
    ("asked", "shown"),
    [
        ("orders.example.com", "orders.example.com"),
        ("any.wild.example.com", "*.wild.example.com"),
        ("elsewhere.example.org", "localhost"),
    ],
)
async def test_the_name_a_client_asks_for_chooses_the_certificate(
    plan: Plan, trusting: ssl.SSLContext, asked: str, shown: str
) -> None:
    more = {name: plan.server_tls(name) for name in ("orders.example.com", "*.wild.example.com")}
    with FakePostgres() as server:
        async with House(plan.text(server, listener={"tls": plan.server_tls(sni=more)})):
            assert shown in await names_shown(plan.at, trusting, asked)


# ---- certificates that change


def replace(tls: dict[str, object], pair: Pair) -> None:
    """Put another certificate and key in the place of those the listener reads."""
    for key, new in (("cert", pair.cert), ("key", pair.key)):
        new.replace(str(tls[key]))


async def test_a_new_certificate_is_shown_from_the_next_handshake_on(plan: Plan, trusting: ssl.SSLContext) -> None:
    tls = plan.server_tls("localhost")
    with FakePostgres() as server:
        async with House(plan.text(server, listener={"tls": tls})) as house, PgClient(plan.at) as client:
            await client.ask_for_tls(trusting)
            await client.log_in()
            replace(tls, plan.authority.server("renewed.example.com"))
            await until("the new certificate", lambda: bool(house.lines("certificate replaced")))
            assert await names_shown(plan.at, trusting) == ["renewed.example.com"]
            assert (await client.query("select 'still here'")).rows == ["still here"]


async def test_a_certificate_that_does_not_fit_its_key_leaves_the_old_one_in_place(
    plan: Plan, trusting: ssl.SSLContext
) -> None:
    tls = plan.server_tls("localhost")
    with FakePostgres() as server:
        async with House(plan.text(server, listener={"tls": tls})) as house:
            plan.authority.server("renewed.example.com").cert.replace(str(tls["cert"]))
            await until("the complaint", lambda: bool(house.lines("certificate not replaced")))
            assert await names_shown(plan.at, trusting) == ["localhost"]
            (shown,) = house.status()["certificates"]
            assert shown["error"]
            async with PgClient(plan.at) as client:
                await client.ask_for_tls(trusting)
                await client.log_in()


async def test_the_key_that_follows_its_certificate_completes_the_change(plan: Plan, trusting: ssl.SSLContext) -> None:
    tls = plan.server_tls("localhost")
    fresh = plan.authority.server("renewed.example.com")
    with FakePostgres() as server:
        async with House(plan.text(server, listener={"tls": tls})) as house:
            fresh.cert.replace(str(tls["cert"]))
            await until("the complaint", lambda: bool(house.lines("certificate not replaced")))
            fresh.key.replace(str(tls["key"]))
            await until("the new certificate", lambda: bool(house.lines("certificate replaced")))
            assert await names_shown(plan.at, trusting) == ["renewed.example.com"]
            assert house.status()["certificates"][0]["error"] is None


# ---- towards the upstream


@pytest.mark.parametrize("negotiation", ["postgres", "direct"])
async def test_the_upstream_s_certificate_is_verified_and_scram_bound_to_it(plan: Plan, negotiation: str) -> None:
    password = plan.secret("db")
    with FakePostgres().user("orders_rw", password).tls(plan.authority.server("127.0.0.1")) as server:
        upstream = {
            "tls": plan.client_tls(),
            "postgres": {"tls_negotiation": negotiation, "channel_binding": "require"},
        }
        async with House(plan.text(server, upstream=upstream)), PgClient(plan.at) as client:
            await client.log_in()
        (login,) = server.logins
        assert (login.mechanism, login.alpn) == ("SCRAM-SHA-256-PLUS", "postgresql")


@pytest.mark.parametrize(
    ("mode", "name", "comes_in"),
    [("verify-full", "elsewhere.example.com", False), ("verify-ca", "elsewhere.example.com", True)],
)
async def test_a_certificate_for_another_name_is_taken_only_where_names_do_not_count(
    plan: Plan, mode: str, name: str, comes_in: bool
) -> None:
    password = plan.secret("db")
    with FakePostgres().user("orders_rw", password).tls(plan.authority.server(name)) as server:
        async with (
            House(plan.text(server, upstream={"tls": plan.client_tls(mode=mode)})) as house,
            PgClient(plan.at) as client,
        ):
            if comes_in:
                await client.log_in()
            else:
                client.start()
                error = await client.last_words()
                assert error is not None
                assert error.code == "08001"
                await until("the session to end", lambda: bool(house.ends()))
                assert house.ends()[0]["reason"] == "upstream_tls_failed"
        assert len(server.logins) == comes_in


async def test_a_client_certificate_from_a_secret_is_shown_upstream(plan: Plan) -> None:
    pair = plan.authority.client("orders_rw")
    plan.secret("cert", None, **{"tls.crt": pair.cert.read_bytes(), "tls.key": pair.key.read_bytes()})
    with FakePostgres().tls(plan.authority.server("127.0.0.1"), client_ca=plan.authority.file) as server:
        async with (
            House(plan.text(server, upstream={"tls": plan.client_tls(credential="cert")})),
            PgClient(plan.at) as client,
        ):
            await client.log_in()
        assert server.logins[0].client_name == "orders_rw"


async def test_a_handshake_that_never_ends_is_ended_at_the_login_s_deadline(plan: Plan) -> None:
    with FakePostgres() as server:
        limits = {"login_timeout": "1s"}
        async with House(plan.text(server, listener={"tls": plan.server_tls(), "limits": limits})) as house:
            async with PgClient(plan.at) as client:
                assert await client.ask_for_tls() == b"S"
                async with asyncio.timeout(PATIENCE):
                    await client.rest()
            await until("the session to end", lambda: bool(house.ends()))
            assert house.ends()[0]["reason"] == "login_timeout"
