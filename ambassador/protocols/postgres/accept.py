"""The client's side: TLS, startup, and the proof of who it is."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass

from ambassador.access.base import Check, Principal, Proven, Refused
from ambassador.errors import ClientError, Reason
from ambassador.net.stream import Stream, TlsFailed
from ambassador.protocols.base import Downstream
from ambassador.protocols.postgres.cancel import CancelKeys
from ambassador.protocols.postgres.login import ALPN
from ambassador.wire.postgres import messages
from ambassador.wire.postgres.login import events
from ambassador.wire.postgres.login.events import (
    CancelRequested,
    Md5Received,
    PasswordReceived,
    ServerEvent,
    StartupReceived,
    TlsRequested,
)
from ambassador.wire.postgres.login.server import ServerLogin

TLS_HANDSHAKE = 0x16
"""First byte of a TLS record of type handshake (RFC 8446, 5.1); no PostgreSQL packet can begin with it, for it
would claim a length of 368 MB."""

NONCE_BYTES = 18


@dataclass(frozen=True, slots=True)
class Startup:
    """A client that has proven who it is, and waits for ReadyForQuery."""

    login: ServerLogin
    parameters: Mapping[str, str]
    version: int

    @property
    def long_key(self) -> bool:
        """Whether the cancel key may be longer than four bytes: since protocol 3.2."""
        return self.version >= messages.PROTOCOL_3_2


async def hear_out(downstream: Downstream, cancels: CancelKeys) -> tuple[StartupReceived, ServerLogin]:
    """Everything up to the StartupMessage.

    Raises:
        ClientError: protocol broken, TLS refused or failed; CANCEL_REQUEST when that was all the client wanted.
    """
    login = ServerLogin(nonce=secrets.token_urlsafe(NONCE_BYTES))
    await _direct_tls(downstream)
    while True:
        event = await _next(downstream, login)
        match event:
            case TlsRequested():
                await _answer_tls(downstream, login)
            case CancelRequested():
                # Taken in the clear too, as PostgreSQL does: libpq's older PQcancel never encrypts.
                carried = await cancels.carry(event.pid, event.key)
                words = "was carried" if carried else "was dropped: no session has its key, or its server is away"
                raise ClientError(Reason.CANCEL_REQUEST, f"a cancel request {words}")
            case StartupReceived():
                _check_encrypted(downstream)
                return event, login


async def authenticate(downstream: Downstream, startup: StartupReceived, login: ServerLogin) -> Principal:
    """Conduct the exchange that the listener's authenticator asks for.

    A wrong user and a wrong password get the same answers in the same time: who is unknown is checked against
    keys that match nothing.

    Raises:
        ClientError: refused.
    """
    verdict = await downstream.access.identify(downstream.claim(startup.user))
    match verdict:
        case Proven():
            login.require_nothing()
            return verdict.principal
        case Refused():
            raise ClientError(
                Reason.ACCESS_DENIED, verdict.reason, public=f'access denied for user "{startup.user}" at this proxy'
            )
        case Check():
            if not await _passes(downstream, startup, login, verdict):
                raise ClientError(
                    Reason.AUTH_FAILED,
                    f"client authentication as {startup.user!r} failed",
                    public=f'password authentication failed for user "{startup.user}"',
                )
            return verdict.principal


async def _passes(downstream: Downstream, startup: StartupReceived, login: ServerLogin, check: Check) -> bool:
    if check.method == "md5":
        salt = secrets.token_bytes(4)
        login.require_md5(salt)
        event = await _next(downstream, login)
        return isinstance(event, Md5Received) and check.md5_matches(startup.user, salt, event.digest)
    if check.method == "cleartext":
        login.require_cleartext()
        event = await _next(downstream, login)
        return isinstance(event, PasswordReceived) and check.password_matches(event.password)
    tls = downstream.stream.tls
    login.require_scram(check.scram_verifier(), end_point=None if tls is None else tls.server_end_point())
    return isinstance(await _next(downstream, login), events.Proven)


async def _next(downstream: Downstream, login: ServerLogin) -> ServerEvent:
    """The machine's next event, carrying bytes both ways until there is one."""
    stream = downstream.stream
    while True:
        event = login.next_event()
        if out := login.to_send():
            stream.write(out)
        if event is not None:
            return event
        data = await stream.read()
        if not data:
            raise ClientError(Reason.CLIENT_CLOSED, "the client closed the connection during login")
        login.receive(data)


async def _direct_tls(downstream: Downstream) -> None:
    """TLS without asking first (PostgreSQL 17, `sslnegotiation=direct`), told by the first byte."""
    stream = downstream.stream
    first = await stream.read()
    if not first:
        raise ClientError(Reason.CLIENT_CLOSED, "the client closed the connection without a word")
    if first[0] != TLS_HANDSHAKE:
        stream.unread(first)
        return
    if downstream.tls is None:
        raise ClientError(Reason.UNSUPPORTED, "the client began TLS, and this listener has none configured")
    await _handshake(downstream, early=first)
    if _alpn(stream) != ALPN[0]:
        # The server insists on ALPN here so that a TLS connection meant for another protocol cannot be
        # turned against it (ALPACA attack).
        raise ClientError(Reason.TLS_FAILED, "a direct TLS connection must name the protocol `postgresql` by ALPN")


def _alpn(stream: Stream) -> str | None:
    return None if stream.tls is None else stream.tls.alpn


async def _answer_tls(downstream: Downstream, login: ServerLogin) -> None:
    accepted = downstream.tls is not None and downstream.stream.tls is None
    if accepted and downstream.stream.buffered:
        raise ClientError(Reason.CLEARTEXT_BEFORE_TLS, "bytes were received in the clear behind the request for TLS")
    login.answer_tls(accepted)
    downstream.stream.write(login.to_send())
    if accepted:
        await _handshake(downstream)


async def _handshake(downstream: Downstream, early: bytes = b"") -> None:
    if downstream.tls is None:
        raise AssertionError("a handshake without TLS settings")
    try:
        await downstream.stream.start_tls(downstream.tls.current, server_side=True, early=early)
    except (TlsFailed, OSError) as error:
        raise ClientError(Reason.TLS_FAILED, f"TLS with the client failed: {error}", public="TLS failed") from error


def _check_encrypted(downstream: Downstream) -> None:
    if downstream.tls_required and downstream.stream.tls is None:
        raise ClientError(
            Reason.TLS_REQUIRED, "this listener takes connections over TLS only; use sslmode=require or stricter"
        )
