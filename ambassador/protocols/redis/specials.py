"""The requests that are not simply passed on: one function for each, run as a job when the client is owed nothing.

Words of ours are those of the server, where it has words for the case.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING

from ambassador.errors import ClientError, CredentialError, Reason, UpstreamError
from ambassador.net.relay import End
from ambassador.protocols.redis import accept, clients, subscriptions
from ambassador.protocols.redis.line import Answer, words_for
from ambassador.protocols.redis.owing import Run
from ambassador.protocols.redis.state import Pin, Silence
from ambassador.wire.redis.commands import Code, Kind, find, kind_of
from ambassador.wire.redis.login import Pairs, hello_reply, parse_auth, parse_hello
from ambassador.wire.redis.messages import (
    OK,
    Map,
    bulk,
    decode,
    encode,
    error,
    null,
    parse_inline,
    parse_request,
    request,
)
from ambassador.wire.redis.redact import hides, redact
from ambassador.wire.redis.requests import PLAIN

if TYPE_CHECKING:
    from ambassador.protocols.redis.client import Conversation
    from ambassador.protocols.redis.seat import Seat

ALWAYS_HEARD = frozenset({b"AUTH", b"HELLO", b"QUIT", b"RESET"})
"""What a client may say that has not proven who it is."""

CONFINED = (
    "ERR Can't execute '{}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context"
)
_IN_MULTI = "ERR Command not allowed inside a transaction"
_LOST_MULTI = error("ERR the connection to the upstream server was lost, and the transaction with it")
_ABORTED = error("EXECABORT Transaction discarded because the connection to the upstream server was lost.")
_OUT_OF_RANGE = "ERR DB index is out of range"

_WHEN_CONFINED = frozenset({*subscriptions.GROUPS, Code.RESET})
"""What is served here of what a server takes from a subscriber that speaks RESP2; the rest it refuses itself."""

Words = list[bytes]
Serve = Callable[["Conversation", int, Words], Awaitable[None]]


def judge_now(client: Conversation, data: bytes) -> bool:
    """Ask at once what the policy lets through after a look at its words, unless there is more to be seen to. Replies
    are in order all the same: it goes where the client's plain requests go."""
    line, state = client.line, client.state
    if line is None or not line.open or state.lost or state.confined or not client.walk.classes:
        return False
    words = parse_request(data)
    code = client.rules.code_of(words[0].upper())
    if code >= PLAIN or hides(words) or client.rules.judge(words) is not None:
        return False
    client.ask_here(code, data)
    return True


async def serve(client: Conversation, code: int, data: bytes) -> None:
    """A job: answer a request, or have it answered."""
    await client.settled()
    if client.leaves():
        return
    try:
        words = parse_inline(data) if code == Code.INLINE else parse_request(data)
    except ClientError as failure:
        client.fail(failure)
        return
    if not words:
        return
    with clients.one_request(client):
        try:
            await _serve(client, code, words)
        except ClientError as failure:
            refuse(client, failure.public)
        except (UpstreamError, CredentialError) as trouble:
            client.reply(words_for(trouble))


async def _serve(client: Conversation, code: int, words: Words) -> None:
    name = words[0].upper()
    if turned_away(client, name):
        return
    if name == b"AUTH":  # needs no server
        await auth(client, words)
        return
    await client.house()
    code = client.rules.code_of(name)
    refusal = client.rules.judge(words) or await renamed(client, code, words)
    if refusal is not None:
        refuse(client, refusal, kind=kind_of(code), denied=True)
    elif not (client.state.lost and mourn(client, code)):
        handler = reveal if hides(words) else _HANDLERS.get(code)
        if handler is not None and client.state.confined and code not in _WHEN_CONFINED:
            command = find(words, client.hub.commands)
            client.reply(error(CONFINED.format((command.name if command else name).decode().lower())))
        elif handler is not None:
            await handler(client, code, words)
        else:
            await client.ask_server(code, request(*words))


def turned_away(client: Conversation, name: bytes) -> bool:
    """Whether a request has been dealt with already: it ends the conversation, or needs a proof first."""
    if name == b"QUIT":
        quit_(client)
    elif name in accept.FORGED:
        client.fail(accept.misled())
    elif client.principal is None and name not in ALWAYS_HEARD:
        client.reply(error(accept.NO_PROOF))
    else:
        return False
    return True


async def renamed(client: Seat, code: int, words: Words) -> str | None:
    """Why a command is refused that the server knows by another name: no rule would know it by this one.

    Raises:
        UpstreamError, CredentialError: the server could not be asked.
    """
    name = words[0].upper()
    if code != Code.UNKNOWN or client.rules.names(words) or not await client.hub.aliases.hide(name):
        return None
    return f"NOPERM Command '{name.decode('utf-8', 'replace').lower()}' stands for another, and is not passed on"


def refuse(client: Conversation, text: str, *, kind: int = Kind.OTHER, denied: bool = False) -> None:
    """Say no; see `Seat.reply`. A transaction is spoilt by it, as by any error of the server's own."""
    if client.state.multi and client.pin is not None:
        # A wrong number of arguments: the least that makes the server discard the transaction at EXEC.
        client.pin.say("ECHO", then=lambda _: None)
    client.reply(error(text), kind=kind, denied=denied)


async def pin_large(client: Conversation) -> None:
    """A job: a request too large to be held goes on as it comes."""
    await client.settled()
    if client.leaves():
        return
    try:
        await client.take_pin(Pin.LARGE)
    except (UpstreamError, CredentialError) as trouble:
        client.swallow(words_for(trouble))


# ---- who the client is


async def auth(client: Conversation, words: Words) -> None:
    """AUTH: the client's own password, checked here; the server never sees it."""
    if client.state.multi:
        refuse(client, _IN_MULTI)
        return
    user, password = parse_auth(words)
    client.proven(await accept.prove(client.downstream, user, password))
    client.reply(OK)


async def hello(client: Conversation, _: int, words: Words) -> None:
    """HELLO: the client's side is ours; of the server it tells the truth."""
    if client.state.multi:
        refuse(client, _IN_MULTI)
        return
    wish = parse_hello(words)
    if wish.password is not None:
        client.proven(await accept.prove(client.downstream, wish.user, wish.password))
    elif client.principal is None:
        raise ClientError(Reason.AUTH_FAILED, accept.NO_PROOF_YET)
    protocol = wish.protocol or client.state.protocol
    if client.pin is None:
        pairs = await client.greet(protocol)
    else:
        reply = await client.question("HELLO", protocol)
        if reply.startswith(b"-"):
            client.reply(reply)
            return
        pairs = _pairs_of(reply)
        client.pin.protocol = protocol
    client.state.protocol = protocol
    if wish.name is not None:
        await client.call_itself(wish.name)
    number = client.number
    if client.state.dedicated:
        number = next((value for key, value in pairs if key == b"id" and isinstance(value, int)), number)
    client.reply(hello_reply(pairs, protocol, number))


def _pairs_of(reply: bytes) -> Pairs:
    """What a server's answer to HELLO says, in its order."""
    value, _ = decode(reply)
    if isinstance(value, Map):
        return value.pairs
    items = value if isinstance(value, list) else []
    return list(zip(items[::2], items[1::2], strict=False))


async def reset(client: Conversation, _: int, __: Words) -> None:
    """RESET: everything as in the beginning, the proof of who it is included."""
    unwanted = client.mute and client.state.silence is not Silence.ALL  # by SKIP, as the server takes it
    client.start_over()
    if not unwanted:
        client.reply(b"+RESET\r\n")
    if await accept.needs_proof(client.downstream):
        client.proven(None)


def quit_(client: Conversation) -> None:
    """QUIT."""
    client.reply(OK)
    client.finish(End(Reason.CLIENT_CLOSED, None, "client"))


# ---- what it sees


async def select(client: Conversation, code: int, words: Words) -> None:
    """SELECT: the client goes to a connection that others use who have that database too."""
    if len(words) != 2:
        raise ClientError(Reason.UNSUPPORTED, "ERR wrong number of arguments for 'select' command")
    fixed = client.hub.options.database is not None
    if fixed and words[1] != b"0":
        raise ClientError(Reason.UNSUPPORTED, _OUT_OF_RANGE)
    if client.state.multi:
        client.state.stuck = True  # whether it took effect only EXEC's answer says
        await client.ask_server(code, request("ECHO", "OK") if fixed else request(*words))
        return
    if fixed:
        client.reply(OK)
        return
    if client.pin is not None:
        reply = await client.question(*words)
        if reply.startswith(b"+"):
            client.state.database = client.pin.database = int(words[1])
        client.reply(reply)
        return
    if not re.fullmatch(rb"0|[1-9][0-9]{0,8}", words[1]):
        number = re.fullmatch(rb"-?[1-9][0-9]{0,17}", words[1])
        raise ClientError(
            Reason.UNSUPPORTED, _OUT_OF_RANGE if number else "ERR value is not an integer or out of range"
        )
    await client.use(int(words[1]))
    client.reply(OK)


async def acl(client: Conversation, _: int, words: Words) -> None:
    """ACL: who the client is here, not who we are there. What shows or changes our login the policy refuses."""
    if client.state.multi:
        refuse(client, _IN_MULTI)
    elif len(words) == 2 and words[1].upper() == b"WHOAMI":
        client.reply(bulk(client.shown_name))
    else:
        await client.ask_server(Code.OWN, request(*words))


async def reveal(client: Conversation, _: int, words: Words) -> None:
    """CONFIG GET, CLIENT LIST and their like: answered without what they would tell of our own login."""
    if client.state.multi:
        refuse(client, _IN_MULTI)
        return
    await client.take_pin(Pin.COMMAND)
    value, _ = decode(await client.question(*words))
    shown = redact(words, value, client.hub.username, client.shown_name)
    client.reply(encode(shown, client.state.protocol), kind=Kind.ADMIN)


# ---- the connection becomes something else


async def monitor(client: Conversation, _: int, words: Words) -> None:
    """MONITOR: from here on the client only watches."""
    await _turn(client, Pin.MONITOR, words)


async def replicate(client: Conversation, code: int, words: Words) -> None:
    """SYNC, PSYNC, REPLCONF: from here on the client is a replica."""
    if words[0].upper() == b"REPLCONF" and not client.state.multi:
        client.state.stuck = True
        await client.ask_server(code, request(*words))
    else:
        await _turn(client, Pin.REPLICATION, words)


async def _turn(client: Conversation, why: Pin, words: Words) -> None:
    if client.state.multi:
        refuse(client, _IN_MULTI)
        return
    line = await client.take_pin(why)

    def settled(reply: bytes | None) -> None:
        if reply is not None and not reply.startswith(b"-") and client.pin is line:
            client.turn_raw(why)

    if words[0].upper() == b"SYNC":
        client.turn_raw(why)  # what comes is no reply at all
    else:
        answer = Answer(settled, client.outlet, most=1)
        run = Run(client, answer, 1)
        run.kind, run.note, run.apart = Kind.ADMIN, answer, True
        line.append(run)
    line.to.take(request(*words))
    await client.settled()


_RAW = {
    Pin.MONITOR: frozenset({b"PING"}),
    Pin.REPLICATION: frozenset({b"PING", b"REPLCONF", b"PSYNC", b"SYNC"}),
}
"""What may still be said on a connection that has become something else."""


def say_raw(client: Conversation, data: bytes, *, line: bool) -> None:
    """A client that watches, or is a replica, has little left to say; more would go past the listener's rules.

    Raises:
        ClientError: it said more.
    """
    words = parse_inline(data) if line else parse_request(data)
    name = words[0].upper() if words else b"PING"
    if name in _RAW[client.state.why] and client.pin is not None:
        client.pin.to.take(request(*words))
    elif name == b"QUIT":
        quit_(client)
    elif name == b"MONITOR" and client.state.why is Pin.MONITOR:
        return  # without a word, as the server
    elif name == b"RESET" and client.state.why is Pin.MONITOR:
        client.halt(partial(reset, client, Code.RESET, words))
    else:
        raise ClientError(Reason.BAD_MESSAGE, f"Protocol error: not possible on a connection for {client.state.why}")


# ---- after a loss


def mourn(client: Conversation, code: int) -> bool:
    """What is asked of a state that went away with the server; True: it has been answered."""
    state = client.state
    if state.lost == "multi":
        if code == Code.RESET:
            return False
        if code in {Code.EXEC, Code.DISCARD}:
            client.found_again()
            client.end_transaction()
        words = {Code.EXEC: _ABORTED, Code.DISCARD: OK}.get(Code(code) if code >= PLAIN else Code.OWN, _LOST_MULTI)
        client.reply(words, kind=Kind.TRANSACTION)
        return True
    if code == Code.EXEC and state.multi:
        # As if a watched key had changed meanwhile: nobody knows that none has.
        if client.pin is not None:
            client.pin.say("DISCARD", then=lambda _: None)
        client.end_transaction()
        client.found_again()
        client.reply(null(3) if state.protocol == 3 else b"*-1\r\n", kind=Kind.TRANSACTION)
        return True
    if code in {Code.UNWATCH, Code.DISCARD, Code.RESET}:
        client.found_again()
    return False


_HANDLERS: Mapping[int, Serve] = MappingProxyType(
    {
        Code.HELLO: hello,
        Code.RESET: reset,
        Code.SELECT: select,
        Code.CLIENT: clients.client_command,
        Code.ACL: acl,
        **dict.fromkeys(subscriptions.GROUPS, subscriptions.subscribe),
        Code.MONITOR: monitor,
        Code.REPLICATION: replicate,
    }
)
