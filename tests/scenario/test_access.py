"""Who may come in, and as whom they reach the server."""

from __future__ import annotations

import os
import pwd
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from ambassador.errors import UpstreamError
from ambassador.wire import scram
from ambassador.wire.postgres import messages
from ambassador.wire.postgres.login.client import md5_digest
from tests.scenario.plan import Plan
from tests.support.fake_postgres import FakePostgres
from tests.support.house import House
from tests.support.pgclient import PgClient

ME = pwd.getpwuid(os.geteuid()).pw_name


def password_access(**more: Any) -> dict[str, Any]:
    return {"access": {"password": {"credential": "clients", **more}}}


async def who_am_i(client: PgClient) -> list[str]:
    return (await client.query("select current_user")).rows


async def refused(client: PgClient, user: str = "app", password: str | None = None) -> UpstreamError:
    with pytest.raises(UpstreamError) as caught:
        await client.log_in(user, password)
    return caught.value


# ---- trust


@pytest.mark.parametrize("method", ["trust", "cleartext", "md5", "scram-sha-256"])
async def test_an_application_without_a_password_reaches_a_server_that_wants_one(plan: Plan, method: Any) -> None:
    password = plan.secret("db")
    with FakePostgres().user("orders_rw", password, method) as server:
        async with House(plan.text(server)) as house, PgClient(plan.at) as client:
            logged_in = await client.log_in("whoever")
            assert logged_in.method == "none"
            assert await who_am_i(client) == ["orders_rw"]
            (session,) = house.status()["sessions"]
            assert (session["user"], session["credential_version"]) == ("whoever", 1)
        assert [login.user for login in server.logins] == ["orders_rw"]


async def test_without_a_credential_the_client_s_own_user_reaches_a_server_that_trusts(plan: Plan) -> None:
    with FakePostgres().user("app", method="trust") as server:
        async with House(plan.text(server)), PgClient(plan.at) as client:
            await client.log_in("app")
            assert await who_am_i(client) == ["app"]


async def test_a_password_of_a_cloud_token_s_length_is_shown_whole(plan: Plan) -> None:
    plan.secret("db")
    token = plan.swap("db", password="t" * 40 + os.urandom(450).hex())
    with FakePostgres().user("orders_rw", token, "cleartext") as server:
        async with House(plan.text(server)), PgClient(plan.at) as client:
            await client.log_in()


# ---- password


@pytest.mark.parametrize("method", ["scram-sha-256", "md5"])
async def test_a_client_with_the_right_password_comes_in(plan: Plan, method: str) -> None:
    password = plan.secret("clients", "app")
    with FakePostgres() as server:
        text = plan.text(server, listener=password_access(method=method))
        async with House(text), PgClient(plan.at) as client:
            logged_in = await client.log_in("app", password)
            assert logged_in.method.lower() == method
            assert (await client.query("select 'in'")).rows == ["in"]


async def test_over_tls_the_password_may_be_asked_for_in_cleartext(plan: Plan, trusting: ssl.SSLContext) -> None:
    password = plan.secret("clients", "app")
    with FakePostgres() as server:
        text = plan.text(server, listener={**password_access(method="cleartext"), "tls": plan.server_tls()})
        async with House(text):
            async with PgClient(plan.at) as client:
                await client.ask_for_tls(trusting)
                assert (await client.log_in("app", password)).method == "cleartext"
            async with PgClient(plan.at) as client:
                await client.ask_for_tls(trusting)
                error = await refused(client, "app", "not " + password)
                assert error.code == "28P01"


async def test_over_tls_scram_is_bound_to_the_connection_when_the_client_insists(
    plan: Plan, trusting: ssl.SSLContext
) -> None:
    password = plan.secret("clients", "app")
    with FakePostgres() as server:
        text = plan.text(server, listener={**password_access(), "tls": plan.server_tls()})
        async with House(text), PgClient(plan.at) as client:
            await client.ask_for_tls(trusting)
            assert (await client.log_in("app", password, binding="require")).method == "SCRAM-SHA-256-PLUS"


async def test_several_users_each_have_their_own_password(plan: Plan) -> None:
    alice, bob = plan.secret("alice", "alice"), plan.secret("bob", "bob")
    access = {"access": {"password": {"credentials": ["alice", "bob"]}}}
    with FakePostgres() as server:
        async with House(plan.text(server, listener=access)):
            for user, password in (("alice", alice), ("bob", bob)):
                async with PgClient(plan.at) as client:
                    await client.log_in(user, password)
            async with PgClient(plan.at) as client:
                assert (await refused(client, "alice", bob)).code == "28P01"


async def heard_by_scram(client: PgClient, user: str) -> tuple[object, bytes]:
    """What the proxy tells `user`, who shows a wrong password: of what is random the size, and its last words."""
    machine = scram.ScramClient("what-a-client-makes-up")
    client.start(user)
    request = await client.message()
    client.send(messages.sasl_initial_response(scram.MECHANISM, machine.first()))
    _, payload = await client.message()
    challenge = machine.challenged(payload[4:])
    keys = scram.derive(b"wrong", challenge.salt, challenge.iterations)
    client.send(messages.sasl_response(machine.prove(keys)))
    return (request, len(payload), len(challenge.salt), challenge.iterations), await client.rest()


async def heard_by_md5(client: PgClient, user: str) -> tuple[object, bytes]:
    """As `heard_by_scram`."""
    client.start(user)
    tag, payload = await client.message()
    client.send(messages.password_message(md5_digest(user, b"wrong", payload[4:])))
    return (tag, payload[:4], len(payload)), await client.rest()


@pytest.mark.parametrize(
    ("method", "hear"), [("scram-sha-256", heard_by_scram), ("md5", heard_by_md5)], ids=["scram", "md5"]
)
async def test_a_wrong_user_and_a_wrong_password_get_the_same_answer_to_the_byte(
    plan: Plan, method: str, hear: Callable[[PgClient, str], Awaitable[tuple[object, bytes]]]
) -> None:
    plan.secret("clients", "known")
    with FakePostgres() as server:
        async with House(plan.text(server, listener=password_access(method=method))) as house:
            async with PgClient(plan.at) as client:
                exchange, last = await hear(client, "known")
            async with PgClient(plan.at) as client:
                assert await hear(client, "wrong") == (exchange, last.replace(b'"known"', b'"wrong"'))
            assert messages.parse_error(last[5:]).code == "28P01"
            assert [line["reason"] for line in house.ends()] == ["auth_failed", "auth_failed"]
        assert server.accepted == 0


async def test_a_user_who_is_unknown_is_given_the_same_salt_every_time(plan: Plan) -> None:
    plan.secret("clients", "known")
    salts = set()
    with FakePostgres() as server:
        async with House(plan.text(server, listener=password_access())):
            for _ in range(2):
                machine = scram.ScramClient("what-a-client-makes-up")
                async with PgClient(plan.at) as client:
                    client.start("unknown")
                    await client.message()
                    client.send(messages.sasl_initial_response(scram.MECHANISM, machine.first()))
                    salts.add(machine.challenged((await client.message())[1][4:]).salt)
    assert len(salts) == 1


# ---- peer


@pytest.mark.parametrize(
    ("rules", "user", "comes_in"),
    [
        ({}, ME, True),
        ({}, "somebody_else", False),
        ({"users": {str(os.geteuid()): ["app"]}}, "app", True),
        ({"users": {str(os.geteuid()): ["app"]}}, ME, False),
        ({"groups": {str(os.getegid()): "*"}}, "anyone", True),
        ({"users": {str(os.geteuid() + 1): "*"}}, "app", False),
    ],
)
async def test_at_a_unix_socket_the_kernel_says_who_the_client_is(
    plan: Plan, rules: dict[str, Any], user: str, comes_in: bool
) -> None:
    with FakePostgres() as server:
        text = plan.text(server, listener={"listen": "unix:DIR/front", "access": {"peer": rules}})
        async with House(text) as house, PgClient(f"unix:{house.directory}/front") as client:
            if comes_in:
                await client.log_in(user)
                assert await who_am_i(client) == [user]
            else:
                assert (await refused(client, user)).code == "28000"
                assert server.accepted == 0


# ---- mtls


@pytest.mark.parametrize(
    ("certificate", "user", "comes_in"),
    [
        ("billing", "alice", True),
        ("billing", "mallory", False),
        ("spiffe", "anyone", True),
        ("stranger", "alice", False),
        (None, "alice", False),
    ],
)
async def test_a_certificate_lets_in_the_users_it_is_mapped_to(
    plan: Plan, trusting: ssl.SSLContext, certificate: str | None, user: str, comes_in: bool
) -> None:
    rules = {"users": {"cn:billing": ["alice"], "spiffe://example.com/ns/*/sa/orders": "*"}}
    tls = plan.server_tls(client_ca=str(plan.authority.file))
    if certificate is not None:
        uris = ("spiffe://example.com/ns/shop/sa/orders",) if certificate == "spiffe" else ()
        pair = plan.authority.client(certificate, uris=uris)
        trusting.load_cert_chain(pair.cert, pair.key)
    with FakePostgres() as server:
        async with (
            House(plan.text(server, listener={"tls": tls, "access": {"mtls": rules}})),
            PgClient(plan.at) as client,
        ):
            await client.ask_for_tls(trusting)
            if comes_in:
                await client.log_in(user)
                assert await who_am_i(client) == [user]
            else:
                assert (await refused(client, user)).code == "28000"
                assert server.accepted == 0
