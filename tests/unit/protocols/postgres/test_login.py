"""The server's side: TLS, the login in the credential's name, the server's role."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any
from unittest import mock

import pytest

from ambassador.credentials.credential import Credential
from ambassador.errors import Reason, UpstreamError
from ambassador.protocols.postgres import login as module
from ambassador.protocols.postgres.login import ServerFacts, Wish, begin_tls, login, wish_of
from ambassador.protocols.postgres.options import PostgresUpstreamOptions
from ambassador.upstreams.upstream import Attempt, Lease, Upstream
from ambassador.wire.postgres.login.events import KeysNeeded
from ambassador.wire.scram import derive
from tests.support.certificates import Authority
from tests.support.fake_conversation import Method
from tests.support.fake_postgres import FakePostgres
from tests.unit.protocols.postgres.conftest import MakeUpstream

WISH = Wish("real", "orders", {})


async def lease(upstream: Upstream, wish: Wish = WISH) -> ServerFacts:
    """Log in and close again."""
    return await _released(await upstream.lease(partial(_login, wish)))


async def _login(wish: Wish, attempt: Attempt) -> ServerFacts:
    return await login(attempt, wish)


async def _released(held: Lease) -> ServerFacts:
    held.stream.abort()
    held.release()
    await held.stream.wait_closed(5)
    facts: ServerFacts = held.connection.facts
    return facts


async def refused(upstream: Upstream, wish: Wish = WISH) -> UpstreamError:
    with pytest.raises(UpstreamError) as caught:
        await lease(upstream, wish)
    return caught.value


# ---- the happy path


async def test_facts_are_what_the_server_said(fake: FakePostgres, make_upstream: MakeUpstream) -> None:
    fake.setting("application_name", "x")
    facts = await lease(make_upstream(fake), replace(WISH, parameters={"application_name": "x", "options": "-c a=b"}))
    (seen,) = fake.logins
    assert (seen.user, seen.database) == ("real", "orders")
    assert seen.parameters == {"application_name": "x", "options": "-c a=b"}
    assert facts.parameters["server_version"] == "17.0 (fake)"
    assert facts.parameters_raw.startswith(b"S")
    assert len(facts.secret) == 4
    assert (facts.status, facts.rest) == (b"I", b"")


@pytest.mark.parametrize("method", ["trust", "cleartext", "md5", "scram-sha-256"])
async def test_every_method_is_spoken(
    fake: FakePostgres, make_upstream: MakeUpstream, password: str, method: Method
) -> None:
    fake.user("real", password, method)
    await lease(make_upstream(fake, password=password))
    assert fake.logins[0].mechanism == {"trust": "none", "scram-sha-256": "SCRAM-SHA-256"}.get(method, method)


async def test_a_password_of_900_bytes_passes(fake: FakePostgres, make_upstream: MakeUpstream) -> None:
    token = "t" * 900
    fake.user("real", token)
    await lease(make_upstream(fake, password=token))
    assert fake.logins[0].mechanism == "SCRAM-SHA-256"


async def test_a_refused_password_is_the_credential_s_fault(
    fake: FakePostgres, make_upstream: MakeUpstream, password: str
) -> None:
    fake.user("real", "another")
    error = await refused(make_upstream(fake, password=password))
    assert (error.reason, error.code) == (Reason.UPSTREAM_LOGIN_REFUSED, "28P01")
    assert "password authentication failed" in str(error)
    assert "password authentication failed" not in error.public


async def test_a_server_that_wants_a_password_and_gets_none_is_named(
    fake: FakePostgres, make_upstream: MakeUpstream
) -> None:
    fake.user("real", "secret")
    assert (await refused(make_upstream(fake))).reason is Reason.NO_CREDENTIAL


async def test_an_unknown_database_is_not_the_credential_s_fault(
    fake: FakePostgres, make_upstream: MakeUpstream
) -> None:
    fake.database("other")
    error = await refused(make_upstream(fake))
    assert (error.reason, error.code) == (Reason.UPSTREAM_REJECTED, "3D000")


async def test_keys_are_derived_once_for_all_logins_of_a_credential(
    fake: FakePostgres, make_upstream: MakeUpstream, password: str
) -> None:
    fake.user("real", password)
    upstream = make_upstream(fake, password=password)
    with mock.patch("ambassador.wire.scram.derive", wraps=derive) as derived:
        await asyncio.gather(*(lease(upstream) for _ in range(5)))
        await lease(upstream)
    assert len(fake.logins) == 6
    assert derived.call_count == 6 + 1, "the fake server derives its own at each login"


# ---- cleartext passwords


async def test_a_cleartext_password_does_not_leave_this_machine_without_tls(
    fake: FakePostgres, make_upstream: MakeUpstream, password: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.user("real", password, "cleartext")
    monkeypatch.setattr("ambassador.config.address.Address.is_loopback", property(lambda _: False))
    error = await refused(make_upstream(fake, password=password))
    assert error.reason is Reason.UPSTREAM_UNSUPPORTED
    await lease(make_upstream(fake, password=password, allow_cleartext_password=True))
    assert fake.logins[0].mechanism == "cleartext"


async def test_over_tls_it_may(
    fake: FakePostgres,
    make_upstream: MakeUpstream,
    password: str,
    authority: Authority,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake.user("real", password, "cleartext").tls(authority.server("127.0.0.1"))
    monkeypatch.setattr("ambassador.config.address.Address.is_loopback", property(lambda _: False))
    await lease(make_upstream(fake, password=password, tls={}))
    assert fake.logins[0].mechanism == "cleartext"


# ---- TLS


@pytest.mark.parametrize("negotiation", ["postgres", "direct"])
async def test_tls_is_begun_as_configured(
    fake: FakePostgres, make_upstream: MakeUpstream, authority: Authority, negotiation: str
) -> None:
    fake.tls(authority.server("127.0.0.1"))
    await lease(make_upstream(fake, tls={}, options={"tls_negotiation": negotiation}))
    assert (fake.logins[0].tls, fake.logins[0].alpn) == ("TLSv1.3", "postgresql")


async def test_a_server_without_tls_is_refused_and_what_to_do_is_said(
    fake: FakePostgres, make_upstream: MakeUpstream
) -> None:
    error = await refused(make_upstream(fake, tls={}))
    assert error.reason is Reason.UPSTREAM_TLS_REFUSED
    assert "tls.mode to disable" in str(error)
    assert fake.logins == []


async def test_a_server_that_closes_when_asked_for_tls_has_closed(
    fake: FakePostgres, make_upstream: MakeUpstream
) -> None:
    fake.close_at("ssl")
    error = await refused(make_upstream(fake, tls={}))
    assert error.reason is Reason.UPSTREAM_CLOSED
    assert "when asked for TLS" in str(error)


async def test_a_direct_handshake_that_does_not_name_the_protocol_is_refused(
    fake: FakePostgres, make_upstream: MakeUpstream, authority: Authority
) -> None:
    fake.tls(authority.server("127.0.0.1"), alpn=False)
    error = await refused(make_upstream(fake, tls={}, options={"tls_negotiation": "direct"}))
    assert error.reason is Reason.UPSTREAM_TLS_FAILED
    assert "did not confirm" in str(error)


async def test_an_asked_for_handshake_need_not_name_it(
    fake: FakePostgres, make_upstream: MakeUpstream, authority: Authority
) -> None:
    fake.tls(authority.server("127.0.0.1"), alpn=False)
    await lease(make_upstream(fake, tls={}))
    assert fake.logins[0].alpn is None


async def test_a_client_certificate_is_shown(
    fake: FakePostgres, make_upstream: MakeUpstream, authority: Authority
) -> None:
    fake.tls(authority.server("127.0.0.1"), client_ca=authority.file)
    pair = authority.client("ambassador")
    await lease(make_upstream(fake, tls={"cert": pair.cert, "key": pair.key}))
    assert fake.logins[0].client_name == "ambassador"


@pytest.mark.parametrize(
    ("binding", "mechanism"),
    [("prefer", "SCRAM-SHA-256-PLUS"), ("require", "SCRAM-SHA-256-PLUS"), ("disable", "SCRAM-SHA-256")],
)
async def test_the_login_is_bound_to_tls_as_configured(
    fake: FakePostgres, make_upstream: MakeUpstream, authority: Authority, binding: str, mechanism: str
) -> None:
    fake.user("real", "a password").tls(authority.server("127.0.0.1"))
    await lease(make_upstream(fake, password="a password", tls={}, options={"channel_binding": binding}))
    assert fake.logins[0].mechanism == mechanism


async def test_without_tls_there_is_nothing_to_begin() -> None:
    attempt = mock.create_autospec(Attempt, instance=True)
    attempt.tls = None
    await begin_tls(attempt)
    attempt.start_tls.assert_not_called()


# ---- the server's role


def role(*, standby: bool = False, read_only: bool = False) -> Callable[[FakePostgres], FakePostgres]:
    def apply(server: FakePostgres) -> FakePostgres:
        if standby:
            server.standby()
        return server.read_only() if read_only else server

    return apply


@pytest.mark.parametrize(
    ("apply", "fits"),
    [
        (role(), {"any", "read-write", "primary"}),
        (role(read_only=True), {"any", "read-only", "primary"}),
        (role(standby=True), {"any", "read-only", "standby"}),
        (role(standby=True, read_only=True), {"any", "read-only", "standby"}),
    ],
)
@pytest.mark.parametrize("wanted", ["any", "read-write", "read-only", "primary", "standby"])
async def test_a_server_of_another_role_is_passed_over(
    fake: FakePostgres, make_upstream: MakeUpstream, apply: Any, fits: set[str], wanted: str
) -> None:
    apply(fake)
    if wanted in fits:
        await lease(make_upstream(fake), replace(WISH, attributes=wanted))
    else:
        error = await refused(make_upstream(fake), replace(WISH, attributes=wanted))
        assert error.reason is Reason.WRONG_ROLE
        assert f"is not {wanted}" in str(error)


@pytest.mark.parametrize("missing", ["in_hot_standby", "default_transaction_read_only"])
async def test_a_server_too_old_to_tell_its_role_is_named(
    fake: FakePostgres, make_upstream: MakeUpstream, missing: str
) -> None:
    fake.setting(missing, None)
    error = await refused(make_upstream(fake), replace(WISH, attributes="primary"))
    assert error.reason is Reason.UPSTREAM_UNSUPPORTED
    assert "PostgreSQL 14" in str(error)


# ---- whom to log in


@pytest.mark.parametrize(
    ("fields", "user"),
    [({"username": b"real", "password": b"secret"}, "real"), ({"password": b"secret"}, "app"), (None, "app")],
)
def test_the_credential_s_user_takes_the_place_of_the_client_s(fields: dict[str, bytes] | None, user: str) -> None:
    credential = None if fields is None else Credential("orders-db", 1, fields)
    options = PostgresUpstreamOptions(databases={"shop": "orders"}, target_session_attrs="primary")
    wish = wish_of(credential, "app", "shop", {"options": "-c a=b"}, options)
    assert wish == Wish(user, "orders", {"options": "-c a=b"}, "primary")


async def test_keys_for_nobody_are_a_fault_of_ours() -> None:
    attempt = mock.create_autospec(Attempt, instance=True)
    attempt.credential = None
    machine = mock.Mock()
    machine.next_event.return_value = KeysNeeded(b"", b"salt", 4096)
    with pytest.raises(AssertionError, match="keys are asked for"):
        await module._converse(attempt, machine)


async def test_a_server_that_closes_mid_login_has_closed(fake: FakePostgres, make_upstream: MakeUpstream) -> None:
    fake.close_at("settings")
    error = await refused(make_upstream(fake))
    assert error.reason is Reason.UPSTREAM_CLOSED
