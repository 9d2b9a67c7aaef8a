"""The client's side: TLS, startup, and the proof of who it is."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable
from typing import TypeVar
from unittest import mock

import pytest

from ambassador.access.base import Check, Principal, Proven, Refused
from ambassador.errors import ClientError, Reason, UpstreamError
from ambassador.net.tls import ServerContexts
from ambassador.protocols.postgres.accept import Startup, _handshake, authenticate, hear_out
from ambassador.protocols.postgres.cancel import CancelKeys
from ambassador.wire import scram
from ambassador.wire.postgres import messages
from ambassador.wire.postgres.login.client import md5_digest
from ambassador.wire.postgres.login.events import StartupReceived
from ambassador.wire.postgres.login.server import ServerLogin
from tests.support.certificates import Authority
from tests.support.pgclient import PgClient
from tests.unit.protocols.postgres.conftest import Front, MakeClient

T = TypeVar("T")

GSSENC_REQUEST = (8).to_bytes(4) + messages.GSSENC_REQUEST.to_bytes(4)


async def both(server: Awaitable[T], client: Callable[[], Awaitable[object]]) -> T:
    """The two sides of a conversation; the server's result."""
    async with asyncio.timeout(5):
        task = asyncio.ensure_future(server)
        await client()
        return await task


async def heard(front: Front, client: Callable[[PgClient], Awaitable[object]]) -> StartupReceived:
    startup, _ = await both(hear_out(front.side, CancelKeys()), lambda: client(front.client))
    return startup


async def refused(front: Front, client: Callable[[PgClient], Awaitable[object]]) -> ClientError:
    with pytest.raises(ClientError) as caught:
        await heard(front, client)
    return caught.value


async def start(client: PgClient) -> None:
    client.start("app", database="orders", application_name="tests")


# ---- up to the startup message


async def test_a_startup_in_the_clear_is_heard(make_front: MakeClient) -> None:
    startup = await heard(await make_front(), start)
    assert (startup.user, startup.database) == ("app", "orders")
    assert startup.parameters == {"application_name": "tests"}


async def test_tls_that_is_not_configured_is_declined_and_the_client_goes_on(make_front: MakeClient) -> None:
    async def ask(client: PgClient) -> None:
        assert await client.ask_for_tls() == b"N"
        await start(client)

    assert (await heard(await make_front(), ask)).user == "app"


async def test_tls_is_begun_when_asked_for(
    make_front: MakeClient, server_tls: ServerContexts, trusting: ssl.SSLContext
) -> None:
    async def ask(client: PgClient) -> None:
        assert await client.ask_for_tls(trusting) == b"S"
        await start(client)

    front = await make_front(tls=server_tls, required=True)
    assert (await heard(front, ask)).user == "app"
    assert front.side.stream.tls is not None


async def test_tls_may_begin_without_asking(
    make_front: MakeClient, server_tls: ServerContexts, trusting: ssl.SSLContext
) -> None:
    async def direct(client: PgClient) -> None:
        await client.begin_tls(trusting)
        await start(client)

    front = await make_front(tls=server_tls, required=True)
    assert (await heard(front, direct)).user == "app"
    assert front.side.stream.tls is not None
    assert front.side.stream.tls.alpn == "postgresql"


async def test_inside_tls_a_request_for_tls_is_declined(
    make_front: MakeClient, server_tls: ServerContexts, trusting: ssl.SSLContext
) -> None:
    async def direct(client: PgClient) -> None:
        await client.begin_tls(trusting)
        assert await client.ask_for_tls() == b"N"
        await start(client)

    assert (await heard(await make_front(tls=server_tls), direct)).user == "app"


async def test_direct_tls_without_alpn_is_refused(
    make_front: MakeClient, server_tls: ServerContexts, authority: Authority
) -> None:
    context = ssl.create_default_context(cafile=str(authority.file))
    error = await refused(await make_front(tls=server_tls), lambda client: client.begin_tls(context))
    assert error.reason is Reason.TLS_FAILED
    assert "ALPN" in str(error)


async def test_direct_tls_where_there_is_none_is_refused(make_front: MakeClient, trusting: ssl.SSLContext) -> None:
    async def direct(client: PgClient) -> None:
        client.send(b"\x16\x03\x01\x00\x05hello")

    error = await refused(await make_front(), direct)
    assert error.reason is Reason.UNSUPPORTED


async def test_asking_for_tls_inside_tls_gets_a_no(
    make_front: MakeClient, server_tls: ServerContexts, trusting: ssl.SSLContext
) -> None:
    async def ask_twice(client: PgClient) -> None:
        await client.begin_tls(trusting)
        assert await client.ask_for_tls() == b"N"
        await start(client)

    assert (await heard(await make_front(tls=server_tls), ask_twice)).user == "app"


async def test_gss_encryption_is_declined_and_tls_may_follow(
    make_front: MakeClient, server_tls: ServerContexts, trusting: ssl.SSLContext
) -> None:
    async def ask(client: PgClient) -> None:
        client.send(GSSENC_REQUEST)
        assert await client.receive(1) == b"N"
        assert await client.ask_for_tls(trusting) == b"S"
        await start(client)

    assert (await heard(await make_front(tls=server_tls), ask)).user == "app"


async def test_a_client_without_tls_is_refused_where_it_is_required(
    make_front: MakeClient, server_tls: ServerContexts
) -> None:
    error = await refused(await make_front(tls=server_tls, required=True), start)
    assert error.reason is Reason.TLS_REQUIRED
    assert "sslmode=require" in error.public


async def test_a_client_without_tls_is_let_in_where_it_is_allowed(
    make_front: MakeClient, server_tls: ServerContexts
) -> None:
    assert (await heard(await make_front(tls=server_tls), start)).user == "app"


@pytest.mark.parametrize("tls", [True, False])
async def test_bytes_behind_the_request_for_tls_are_refused_and_never_read(
    make_front: MakeClient, server_tls: ServerContexts, tls: bool
) -> None:
    async def smuggle(client: PgClient) -> None:
        client.send(messages.ssl_request() + messages.startup_message({"user": "attacker"}))

    error = await refused(await make_front(tls=server_tls if tls else None), smuggle)
    assert error.reason is Reason.CLEARTEXT_BEFORE_TLS


async def test_bytes_that_came_while_the_answer_was_made_are_refused(
    make_front: MakeClient, server_tls: ServerContexts
) -> None:
    front = await make_front(tls=server_tls)
    original = front.side.stream.read

    async def read_in_pieces() -> bytes:
        data = await original()
        front.side.stream.unread(data[8:])
        return data[:8]

    async def smuggle(client: PgClient) -> None:
        client.send(messages.ssl_request() + b"more")

    stream = mock.Mock(wraps=front.side.stream, tls=None)
    stream.read = read_in_pieces
    stream.buffered = 4
    front.side.stream = stream
    assert (await refused(front, smuggle)).reason is Reason.CLEARTEXT_BEFORE_TLS
    stream.start_tls.assert_not_called()


async def test_a_handshake_that_fails_is_the_client_s_end(make_front: MakeClient, server_tls: ServerContexts) -> None:
    async def ask(client: PgClient) -> None:
        assert await client.ask_for_tls() == b"S"
        client.send(b"GET / HTTP/1.1\r\n\r\n")

    error = await refused(await make_front(tls=server_tls), ask)
    assert (error.reason, error.public) == (Reason.TLS_FAILED, "TLS failed")


@pytest.mark.parametrize("said", [b"", b"\0\0", b"\0\0\0\x08\x04\xd2"])
async def test_a_client_that_leaves_has_left(make_front: MakeClient, said: bytes) -> None:
    async def leave(client: PgClient) -> None:
        client.send(said)
        client.stream.write_eof()

    assert (await refused(await make_front(), leave)).reason is Reason.CLIENT_CLOSED


@pytest.mark.parametrize(
    ("carried", "words"),
    [(True, "was carried"), (False, "was dropped: no session has its key, or its server is away")],
)
async def test_a_cancel_request_is_carried_and_ends_the_connection(
    make_front: MakeClient, carried: bool, words: str
) -> None:
    keys = mock.create_autospec(CancelKeys, instance=True)
    keys.carry.return_value = carried
    front = await make_front()
    front.client.send(messages.cancel_request(4711, b"key!"))
    with pytest.raises(ClientError) as caught:
        await hear_out(front.side, keys)
    assert caught.value.reason is Reason.CANCEL_REQUEST
    assert str(caught.value) == f"a cancel request {words}"
    keys.carry.assert_awaited_once_with(4711, b"key!")


async def test_a_cancel_request_is_taken_in_the_clear_where_tls_is_required_and_over_tls_too(
    make_front: MakeClient, server_tls: ServerContexts, trusting: ssl.SSLContext
) -> None:
    keys = mock.create_autospec(CancelKeys, instance=True)
    in_the_clear = await make_front(tls=server_tls, required=True)
    in_the_clear.client.send(messages.cancel_request(1, b"key!"))
    with pytest.raises(ClientError):
        await hear_out(in_the_clear.side, keys)
    encrypted = await make_front(tls=server_tls, required=True)

    async def ask(client: PgClient) -> None:
        await client.ask_for_tls(trusting)
        client.send(messages.cancel_request(2, b"key!"))

    with pytest.raises(ClientError):
        await both(hear_out(encrypted.side, keys), lambda: ask(encrypted.client))
    assert [call.args[0] for call in keys.carry.await_args_list] == [1, 2]


async def test_a_handshake_without_settings_is_a_fault_of_ours(make_front: MakeClient) -> None:
    with pytest.raises(AssertionError, match="without TLS settings"):
        await _handshake((await make_front()).side)


# ---- the proof


class KnowsOne(Check):
    """Accepts one password."""

    def __init__(self, method: str, password: bytes = b"right") -> None:
        super().__init__(Principal("app", "password"), method)  # type: ignore[arg-type]  # one of the three words
        self._password = password

    def scram_verifier(self) -> scram.Verifier:
        keys = scram.derive(self._password, b"salt", 4096)
        return scram.Verifier(b"salt", 4096, (keys.stored,))

    def md5_matches(self, user: str, salt: bytes, digest: bytes) -> bool:
        return digest == md5_digest(user, self._password, salt)

    def password_matches(self, password: bytes) -> bool:
        return password == self._password


async def test_who_is_proven_by_the_connection_is_asked_for_nothing(make_front: MakeClient) -> None:
    front = await make_front(Proven(Principal("unix-app", "peer")))
    machine = ServerLogin(nonce="n" * 24)
    machine.receive(messages.startup_message({"user": "app"}))
    startup = machine.next_event()
    assert isinstance(startup, StartupReceived)
    assert await authenticate(front.side, startup, machine) == Principal("unix-app", "peer")
    assert machine.to_send() == b""


async def test_who_is_refused_is_told_the_name_he_claimed_and_no_reason(make_front: MakeClient) -> None:
    front = await make_front(Refused("uid 1000 may not"))
    startup = StartupReceived("app", "orders", {}, messages.PROTOCOL_3_0, None, ())
    with pytest.raises(ClientError, match="uid 1000 may not") as caught:
        await authenticate(front.side, startup, ServerLogin(nonce="n" * 24))
    assert (caught.value.reason, caught.value.public) == (
        Reason.ACCESS_DENIED,
        'access denied for user "app" at this proxy',
    )


async def exchange(front: Front, check: KnowsOne, password: str) -> Principal:
    """A password exchange with a client that sends its startup message first."""
    front.side.access.identify.return_value = check  # type: ignore[attr-defined]  # a mock

    async def serve() -> Principal:
        startup, machine = await hear_out(front.side, CancelKeys())
        try:
            principal = await authenticate(front.side, startup, machine)
        except ClientError as error:
            front.side.stream.write(messages.error_response("FATAL", "28P01", error.public))
            raise
        machine.welcome(b"", 1, b"key!")
        front.side.stream.write(machine.to_send())
        return principal

    async def client() -> None:
        with contextlib.suppress(UpstreamError):
            await front.client.log_in("app", password)

    return await both(serve(), client)


@pytest.mark.parametrize("method", ["scram-sha-256", "md5", "cleartext"])
async def test_the_right_password_proves_a_client(make_front: MakeClient, method: str) -> None:
    front = await make_front()
    assert await exchange(front, KnowsOne(method), "right") == Principal("app", "password")
    assert front.client.pid == 1


@pytest.mark.parametrize("method", ["scram-sha-256", "md5", "cleartext"])
async def test_a_wrong_password_does_not(make_front: MakeClient, method: str) -> None:
    with pytest.raises(ClientError) as caught:
        await exchange(await make_front(), KnowsOne(method), "wrong")
    assert caught.value.reason is Reason.AUTH_FAILED
    assert caught.value.public == 'password authentication failed for user "app"'


async def test_an_empty_password_does_not_even_if_it_is_the_password(make_front: MakeClient) -> None:
    front = await make_front(KnowsOne("cleartext", b""))
    front.client.start()

    async def empty(client: PgClient) -> None:
        assert (await client.message())[0] == b"R"
        client.send(messages.password_message(b""))

    async def serve() -> Principal:
        startup, machine = await hear_out(front.side, CancelKeys())
        return await authenticate(front.side, startup, machine)

    with pytest.raises(ClientError) as caught:
        await both(serve(), lambda: empty(front.client))
    assert caught.value.reason is Reason.AUTH_FAILED


@pytest.mark.parametrize(
    ("tls", "offered"), [(False, ["SCRAM-SHA-256"]), (True, ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"])]
)
async def test_channel_binding_is_offered_where_there_is_tls(
    make_front: MakeClient, server_tls: ServerContexts, trusting: ssl.SSLContext, *, tls: bool, offered: list[str]
) -> None:
    front = await make_front(KnowsOne("scram-sha-256"), tls=server_tls)

    async def client() -> None:
        if tls:
            await front.client.ask_for_tls(trusting)
        front.client.start()
        _, payload = await front.client.message()
        assert messages.parse_sasl_mechanisms(payload[4:]) == offered
        front.client.stream.abort()

    async def serve() -> Principal:
        startup, machine = await hear_out(front.side, CancelKeys())
        return await authenticate(front.side, startup, machine)

    with pytest.raises((ClientError, OSError)):
        await both(serve(), client)


def test_a_cancel_key_may_be_long_since_3_2() -> None:
    machine = mock.create_autospec(ServerLogin, instance=True)
    assert not Startup(machine, {}, messages.PROTOCOL_3_0).long_key
    assert Startup(machine, {}, messages.PROTOCOL_3_2).long_key
