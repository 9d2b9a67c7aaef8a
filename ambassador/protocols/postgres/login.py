"""The server's side: TLS, and the login in the credential's name, up to the first ReadyForQuery."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from ambassador.credentials.credential import Credential
from ambassador.errors import Reason, UpstreamError
from ambassador.protocols.postgres.options import PostgresUpstreamOptions
from ambassador.upstreams.upstream import Attempt
from ambassador.wire.postgres.login.client import ClientLogin, answer_to_ssl_request
from ambassador.wire.postgres.login.events import KeysNeeded, LoggedIn
from ambassador.wire.postgres.messages import ssl_request

NONCE_BYTES = 18
"""As libpq: 18 random bytes make 24 characters of base64."""

ALPN = ("postgresql",)


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What a login learned of its server."""

    parameters: Mapping[str, str]
    parameters_raw: bytes
    pid: int
    secret: bytes
    status: bytes
    rest: bytes


@dataclass(frozen=True, slots=True)
class Wish:
    """What a session wants of a server: whom to log in, where, with which parameters, in which role."""

    user: str
    database: str
    parameters: Mapping[str, str]
    attributes: str = "any"


async def begin_tls(attempt: Attempt) -> None:
    """Begin TLS as the upstream's settings say; nothing to do where it is off.

    Raises:
        UpstreamError: the server refused TLS, or the handshake failed.
    """
    if attempt.tls is None:
        return
    if options_of(attempt).tls_negotiation == "postgres":
        await _ask_for_tls(attempt)
    await attempt.start_tls()
    if options_of(attempt).tls_negotiation == "direct" and _alpn(attempt) != ALPN[0]:
        raise UpstreamError(
            Reason.UPSTREAM_TLS_FAILED,
            f"{attempt.endpoint} did not confirm the protocol `postgresql` in a direct TLS handshake",
        )


def _alpn(attempt: Attempt) -> str | None:
    return None if attempt.stream.tls is None else attempt.stream.tls.alpn


async def _ask_for_tls(attempt: Attempt) -> None:
    """SSLRequest and its one-byte answer (protocol chapter, "SSL Session Encryption")."""
    stream = attempt.stream
    stream.write(ssl_request())
    answer = await stream.read()
    if not answer:
        raise UpstreamError(Reason.UPSTREAM_CLOSED, f"{attempt.endpoint} closed the connection when asked for TLS")
    if not answer_to_ssl_request(answer):
        raise UpstreamError(
            Reason.UPSTREAM_TLS_REFUSED,
            f"{attempt.endpoint} does not offer TLS; turn it on there, or set this upstream's tls.mode to disable",
        )


async def login(attempt: Attempt, wish: Wish) -> ServerFacts:
    """Log in and verify the server's role.

    Raises:
        UpstreamError: with the server's SQLSTATE as `code` where it sent one. Bytes already sent tell it nothing
            but what the login exchange of the method it chose needs.
    """
    await begin_tls(attempt)
    machine = _machine(attempt, wish)
    facts = await _converse(attempt, machine)
    _check_role(attempt, wish, facts)
    return facts


def options_of(attempt: Attempt) -> PostgresUpstreamOptions:
    """The upstream's settings for this protocol."""
    return cast("PostgresUpstreamOptions", attempt.settings.options)


def wish_of(
    credential: Credential | None,
    user: str,
    database: str,
    parameters: Mapping[str, str],
    options: PostgresUpstreamOptions,
) -> Wish:
    """What to ask of the server for a client that asked for `user` and `database`.

    The credential's user takes the place of the client's; a credential without one leaves it.
    """
    name = user if credential is None or credential.username is None else credential.username
    return Wish(name, options.server_database(database), parameters, options.target_session_attrs)


def _machine(attempt: Attempt, wish: Wish) -> ClientLogin:
    options = options_of(attempt)
    stream, credential = attempt.stream, attempt.credential
    password = None if credential is None or credential.password is None else credential.password.reveal()
    private = stream.tls is not None or attempt.endpoint.address.is_unix or attempt.endpoint.address.is_loopback
    return ClientLogin(
        user=wish.user,
        parameters={**wish.parameters, "database": wish.database},
        password=password,
        client_nonce=secrets.token_urlsafe(NONCE_BYTES),
        channel_binding=options.channel_binding,
        end_point=None if stream.tls is None else stream.tls.server_end_point,
        allow_cleartext=private or attempt.settings.allow_cleartext_password,
        max_iterations=options.max_scram_iterations,
    )


async def _converse(attempt: Attempt, machine: ClientLogin) -> ServerFacts:
    stream = attempt.stream
    while True:
        event = machine.next_event()
        if isinstance(event, KeysNeeded):
            if attempt.credential is None:
                raise AssertionError("keys are asked for only where there is a password")
            machine.provide(await attempt.credential.scram_keys(event.salt, event.iterations))
        elif isinstance(event, LoggedIn):
            return ServerFacts(event.parameters, event.parameters_raw, event.pid, event.key, event.status, event.rest)
        if out := machine.to_send():
            stream.write(out)
        if event is None:
            data = await stream.read()
            if not data:
                raise UpstreamError(Reason.UPSTREAM_CLOSED, f"{attempt.endpoint} closed the connection during login")
            machine.receive(data)


def _check_role(attempt: Attempt, wish: Wish, facts: ServerFacts) -> None:
    """Whether the server is of the kind wished for, by what it reports at login (libpq, `target_session_attrs`)."""
    if wish.attributes == "any":
        return
    standby, read_only = facts.parameters.get("in_hot_standby"), facts.parameters.get("default_transaction_read_only")
    if standby is None or read_only is None:
        raise UpstreamError(
            Reason.UPSTREAM_UNSUPPORTED,
            f"{attempt.endpoint} does not report its role at login; target_session_attrs needs PostgreSQL 14 or later",
        )
    if not _role_fits(wish.attributes, standby=standby == "on", read_only=read_only == "on"):
        raise UpstreamError(Reason.WRONG_ROLE, f"{attempt.endpoint} is not {wish.attributes}")


def _role_fits(attributes: str, *, standby: bool, read_only: bool) -> bool:
    writable = not standby and not read_only
    return {"read-write": writable, "read-only": not writable, "primary": not standby, "standby": standby}[attributes]
