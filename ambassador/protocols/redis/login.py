"""The server's side: TLS, and the login in the credential's name, up to the first command."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from ambassador.errors import Reason, UpstreamError
from ambassador.protocols.redis.options import RedisUpstreamOptions
from ambassador.telemetry.logs import logger
from ambassador.upstreams.endpoint import Endpoint, Role
from ambassador.upstreams.upstream import Attempt, Login
from ambassador.wire.redis.commands import Command, parse_command_table
from ambassador.wire.redis.login import ClientLogin, LoggedIn
from ambassador.wire.redis.messages import Error, Protocol, Value, decode, request
from ambassador.wire.redis.replies import Replies

_log = logger(__name__)

NAME = "ambassador"
"""What our connections are called in the server's CLIENT LIST."""

TABLE_BYTES = 4 << 20
"""Most bytes of a server's answer to COMMAND; that of Valkey 9 has about 250 KiB."""


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What a login learned of its server.

    Attributes:
        hello: the server's answer to HELLO, pairs in its order; None from a server that does not know it.
        commands: its table of commands, when it was asked for; None when it would not tell.
        role: what it is just now; None when that was not to be learned.
    """

    hello: tuple[tuple[Value, Value], ...] | None
    commands: Mapping[bytes, Command] | None
    role: Role | None = None


def login_to(protocol: Protocol, database: int, *, learn: bool = False) -> Login:
    """A login for a connection that speaks RESP `protocol` to `database`; with `learn` it asks for the commands too."""

    async def run(attempt: Attempt) -> ServerFacts:
        if attempt.tls is not None:
            await attempt.start_tls()
        greeting = await _converse(attempt, _machine(attempt, protocol, database))
        role = await _check_role(attempt, greeting)
        commands = await _learn(attempt) if learn else None
        return ServerFacts(None if greeting.hello is None else tuple(greeting.hello), commands, role)

    return run


def warn_of(facts: ServerFacts, endpoint: Endpoint, options: RedisUpstreamOptions) -> None:
    """Say in the log what clients would notice sooner or later, though the login went well."""
    mode = next((value for key, value in facts.hello or () if key == b"mode"), None)
    text = _MISTAKEN.get(mode) if isinstance(mode, bytes) and not options.cluster else None
    if text is not None:
        _log.warning("upstream is not what it is taken for", endpoint=str(endpoint), error=text)


_MISTAKEN: Mapping[bytes, str] = MappingProxyType(
    {
        b"cluster": "it is a node of a cluster, and sends clients to others (MOVED): set redis: {cluster: true}",
        b"sentinel": "it is a Sentinel: name it under discovery: sentinel, in the place of endpoints",
    }
)
"""Modes that a server tells of itself, where it is taken for a server alone."""


def wanted_role(attempt: Attempt) -> Role | None:
    """What the server must be: what discovery says it is, or else what the configuration asks for; None: anything."""
    options = attempt.settings.options
    if attempt.endpoint.role is not None or not isinstance(options, RedisUpstreamOptions):
        return attempt.endpoint.role
    return None if options.read_from == "prefer-replica" else options.read_from


async def _check_role(attempt: Attempt, greeting: LoggedIn) -> Role | None:
    """What the server is, as HELLO told, or ROLE where it knows no HELLO and it matters.

    Raises:
        UpstreamError: WRONG_ROLE, it is not what it must be.
    """
    wanted = wanted_role(attempt)
    told = next((value for key, value in greeting.hello or () if key == b"role"), None)
    if told is None and wanted is not None:
        answer = decode(await hear(attempt, "ROLE"))[0]
        told = answer[0] if isinstance(answer, list) and answer else None
    role = _ROLES.get(told) if isinstance(told, bytes) else None
    if wanted is not None and role != wanted:
        text = f"{attempt.endpoint} is {'of no known role' if role is None else f'a {role}'}, not the {wanted}"
        raise UpstreamError(Reason.WRONG_ROLE, text)
    return role


_ROLES: Mapping[bytes, Role] = MappingProxyType({b"master": "primary", b"replica": "replica", b"slave": "replica"})


def _machine(attempt: Attempt, protocol: Protocol, database: int) -> ClientLogin:
    credential, address = attempt.credential, attempt.endpoint.address
    username = None if credential is None else credential.username
    password = None if credential is None or credential.password is None else credential.password.reveal()
    private = attempt.stream.tls is not None or address.is_unix or address.is_loopback
    return ClientLogin(
        username=None if username is None else username.encode(),
        password=password,
        protocol=protocol,
        database=database,
        name=NAME,
        allow_cleartext=private or attempt.settings.allow_cleartext_password,
    )


async def _converse(attempt: Attempt, machine: ClientLogin) -> LoggedIn:
    stream = attempt.stream
    while True:
        event = machine.next_event()
        if out := machine.to_send():  # what an answer makes necessary too
            stream.write(out)
        if event is not None:
            if event.rest:
                raise UpstreamError(
                    Reason.UPSTREAM_BAD_MESSAGE, f"{attempt.endpoint} said more than it was asked during the login"
                )
            return event
        data = await stream.read()
        if not data:
            raise UpstreamError(Reason.UPSTREAM_CLOSED, f"{attempt.endpoint} closed the connection during login")
        machine.receive(data)


async def _learn(attempt: Attempt) -> Mapping[bytes, Command] | None:
    """The server's table of commands; None when our user may not ask for it."""
    data = await hear(attempt, "COMMAND")
    # Thousands of small values: tens of milliseconds that no client should wait for.
    return await asyncio.to_thread(_table, data)


async def hear(attempt: Attempt, *question: str) -> bytes:
    """The whole answer to a command.

    Raises:
        UpstreamError: the server is gone, or goes on and on.
    """
    attempt.stream.write(request(*question))
    walk, pieces, size = Replies(), [], 0
    while not walk.done:
        data = await attempt.stream.read()
        if not data:
            text = f"{attempt.endpoint} closed the connection when asked {' '.join(question)}"
            raise UpstreamError(Reason.UPSTREAM_CLOSED, text)
        pieces.append(data)
        size += len(data)
        if size > TABLE_BYTES:
            text = f"{attempt.endpoint} answers {' '.join(question)} without end"
            raise UpstreamError(Reason.UPSTREAM_BAD_MESSAGE, text)
        walk.advance(data, 0, 1)
    return b"".join(pieces)


def _table(answer: bytes) -> Mapping[bytes, Command] | None:
    value, _ = decode(answer)
    return None if isinstance(value, Error) else parse_command_table(value)
