"""MULTI, WATCH and what ends them. The first key decides the node; until it is known, MULTI is nobody's but ours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ambassador.errors import ClientError, Reason, UpstreamError
from ambassador.protocols.redis.cluster.asked import NOT_NOW
from ambassador.protocols.redis.cluster.node import HAS_MOVED, Node
from ambassador.protocols.redis.cluster.routes import HOME, Target
from ambassador.protocols.redis.line import PrivateLine
from ambassador.protocols.redis.state import Pin
from ambassador.wire.redis.cluster import CROSSSLOT, parse_redirect
from ambassador.wire.redis.commands import Code, Kind, find
from ambassador.wire.redis.messages import OK, QUEUED, error, error_word, request
from ambassador.wire.redis.redact import hides
from ambassador.wire.redis.requests import PLAIN
from ambassador.wire.redis.split import BY_NODE

if TYPE_CHECKING:
    from ambassador.protocols.redis.cluster.client import ClusterClient

PAUSE: Final = 0.05
"""Seconds until a node that could not do something is asked again."""

_ENDING: Final = frozenset({Code.EXEC, Code.DISCARD})
_QUEUED_TOO: Final = frozenset({Code.BLOCKING, Code.SCRIPT, Code.SCRIPTS})
_ALLOWED: Final = _ENDING | _QUEUED_TOO | {Code.OWN, Code.UNKNOWN, Code.MULTI, Code.WATCH, Code.UNWATCH, Code.CONFIG}

_NOT_HERE = "ERR Command not allowed inside a transaction"
_ABORTED_BY_ERRORS = error("EXECABORT Transaction discarded because of previous errors.")


class Transaction:
    """One that is open.

    Attributes:
        slot: that it is for; None before the first key.
        watched: the slots that may be its own: the node was theirs.
        held: what has been queued here, before the first key.
        bound: it is open at a node, on the client's own connection.
        spoilt: something was refused, before it was bound.
        ending: EXEC or DISCARD is under way.
    """

    def __init__(self) -> None:
        self.slot: int | None = None
        self.watched: frozenset[Target] = frozenset()
        self.held: list[list[bytes]] = []
        self.bound = False
        self.spoilt = False
        self.ending = False


# ---- while one is open


def pass_now(client: ClusterClient, code: int, words: list[bytes], data: bytes) -> bool:
    """Send a request to where the transaction is; False when it must be looked at."""
    transaction = client.transaction
    if transaction is None or not transaction.bound or transaction.ending or client.pin is None:
        return False
    if code in _ENDING and len(words) == 1:
        transaction.ending = True
    elif (
        (code >= PLAIN and not (code in _QUEUED_TOO and client.rules.trusts(code)))
        or not _fits(client, transaction, words)
        or _concerns_all(words)
    ):
        return False
    client.forward(code, data)
    return True


def _concerns_all(words: list[bytes]) -> bool:
    name = words[0].upper()
    return name == b"SCAN" or name in BY_NODE or (len(words) > 1 and name + b"|" + words[1].upper() in BY_NODE)


def _fits(client: ClusterClient, transaction: Transaction, words: list[bytes]) -> bool:
    """Whether the keys of a request are where the transaction is."""
    slots = client.hub.routes.slots(words)
    if not slots:
        return True
    where = min(slots)
    if transaction.slot is None and (where in transaction.watched or _is_here(client, where)):
        transaction.slot = where
    return len(slots) == 1 and transaction.slot == where


def _is_here(client: ClusterClient, target: Target) -> bool:
    """Whether the client's own connection leads to a target."""
    hub = None if client.pin is None else client.pin.hub
    return isinstance(hub, Node) and hub.place == client.hub.place_of(target)


async def go_on(client: ClusterClient, code: int, words: list[bytes]) -> None:
    """A request while a transaction is open."""
    transaction = client.transaction or Transaction()
    client.transaction = transaction
    transaction.ending = False
    if code in _ENDING and len(words) == 1:
        await _end(client, transaction, code)
    elif code == Code.MULTI:
        client.reply(error("ERR MULTI calls can not be nested"), kind=Kind.TRANSACTION)
    elif code == Code.WATCH:
        client.reply(error("ERR WATCH inside MULTI is not allowed"), kind=Kind.TRANSACTION)
    elif (code >= PLAIN and code not in _ALLOWED) or hides(words):
        refuse(client, _NOT_HERE)
    elif _concerns_all(words):
        refuse(client, f"ERR inside a transaction '{words[0].decode('utf-8', 'replace')}' would reach one node only")
    elif transaction.bound:
        if _fits(client, transaction, words):
            client.forward(code, request(*words))
        else:
            refuse(client, CROSSSLOT)
    else:
        await _queue(client, transaction, words)


async def _queue(client: ClusterClient, transaction: Transaction, words: list[bytes]) -> None:
    slots = client.hub.routes.slots(words)
    if len(slots) > 1:
        refuse(client, CROSSSLOT)
        return
    if not slots and _is_sound(client, words):
        transaction.held.append(words)
        client.reply(QUEUED, kind=Kind.TRANSACTION)
        return
    transaction.slot = next(iter(slots), None)
    reply = await _bind(client, transaction, HOME if transaction.slot is None else transaction.slot, words)
    client.reply(reply, kind=Kind.TRANSACTION)


def _is_sound(client: ClusterClient, words: list[bytes]) -> bool:
    """Whether a server would queue it."""
    command = find(words, client.hub.commands)
    if command is None:
        return False
    arity = command.arity
    return len(words) == arity if arity > 0 else len(words) >= -arity


async def _bind(client: ClusterClient, transaction: Transaction, target: Target, *last: list[bytes]) -> bytes:
    """Open it at a node; returns the last reply."""
    replies = await _ask_at(client, target, Pin.TRANSACTION, [b"MULTI"], *transaction.held, *last)
    if replies[0] != OK:
        client.let_pin_go(soiled=True)
        client.end_transaction()
        return replies[0]
    client.state.multi = client.state.begun = transaction.bound = True
    if transaction.spoilt:
        refuse_there(client)
    return _without_nodes(replies[-1])


async def _end(client: ClusterClient, transaction: Transaction, code: int) -> None:
    if not transaction.bound:
        if code == Code.DISCARD or transaction.spoilt or not transaction.held:
            client.end_transaction()
            words = OK if code == Code.DISCARD else _ABORTED_BY_ERRORS if transaction.spoilt else b"*0\r\n"
            client.reply(words, kind=Kind.TRANSACTION)
            return
        reply = await _bind(client, transaction, HOME)
        if reply.startswith(b"-") and not client.state.multi:
            client.reply(reply, kind=Kind.TRANSACTION)
            return
    transaction.ending = True
    client.forward(code, request("EXEC" if code == Code.EXEC else "DISCARD"))


def refuse(client: ClusterClient, text: str, *, kind: int = Kind.OTHER, denied: bool = False) -> None:
    """Say no; see `Seat.reply`. A transaction is spoilt by it, as by any error of a server's own."""
    if client.state.multi:
        if client.pin is not None and client.transaction is not None and client.transaction.bound:
            refuse_there(client)
        elif client.transaction is not None:
            client.transaction.spoilt = True
    client.reply(error(text), kind=kind, denied=denied)


def refuse_there(client: ClusterClient) -> None:
    """Have the node discard the transaction at EXEC: a wrong number of arguments is the least that does it."""
    if client.pin is not None:
        client.pin.say("ECHO", then=lambda _: None)


# ---- what begins one


async def multi(client: ClusterClient, _: int, words: list[bytes]) -> None:
    """MULTI, where keys are watched: the node is known."""
    if len(words) != 1:
        raise ClientError(Reason.UNSUPPORTED, "ERR wrong number of arguments for 'multi' command")
    transaction = client.transaction = Transaction()
    if client.pin is not None:
        if not client.state.watching:
            client.transaction = None
            raise ClientError(Reason.UNSUPPORTED, "ERR MULTI is not possible here on a connection with subscriptions")
        (reply,) = await _ask_on(client.pin, words)
        if reply != OK:
            client.transaction = None
            client.reply(reply, kind=Kind.TRANSACTION)
            return
        client.state.begun = transaction.bound = True
        transaction.watched = client.watches
    client.state.multi = True
    client.reply(OK, kind=Kind.TRANSACTION)


async def watch(client: ClusterClient, _: int, words: list[bytes]) -> None:
    """WATCH: decides the node, too."""
    target = client.hub.routes.one(words)
    watched = frozenset[Target]() if client.pin is None else client.watches
    if client.pin is not None and target not in watched and not _is_here(client, target):
        raise ClientError(Reason.UNSUPPORTED, CROSSSLOT)
    (reply,) = await _ask_at(client, target, Pin.WATCH, words)
    if reply == OK:
        client.state.watching = True
        client.watches = watched | {target}
    client.reply(_without_nodes(reply), kind=Kind.TRANSACTION)


async def unwatch(client: ClusterClient, _: int, words: list[bytes]) -> None:
    """UNWATCH."""
    reply = OK
    if client.pin is not None and client.state.watching:
        (reply,) = await _ask_on(client.pin, words)
        client.state.watching = reply != OK
    client.reply(reply, kind=Kind.TRANSACTION)


async def end_nothing(client: ClusterClient, code: int, _: list[bytes]) -> None:
    """EXEC or DISCARD where nothing is open."""
    name = "EXEC" if code == Code.EXEC else "DISCARD"
    client.reply(error(f"ERR {name} without MULTI"), kind=Kind.TRANSACTION)


async def _ask_at(client: ClusterClient, target: Target, why: Pin, *commands: list[bytes]) -> list[bytes]:
    """Ask in one go on a connection of the client's own, and again if that was the wrong node: nothing is done yet.

    Raises:
        UpstreamError, CredentialError: none was to be had.
    """
    hub, in_multi = client.hub, client.state.multi
    until = hub.clock.now() + hub.options.wait
    while True:
        fresh = client.pin is None
        client.aim = target
        line = await client.take_pin(why)
        try:
            replies = await _ask_on(line, *commands)
        except UpstreamError:
            client.state.multi = in_multi
            if not fresh or hub.clock.now() >= until:
                raise
            await hub.clock.sleep(PAUSE)
            continue
        wrong = next((reply for reply in replies if _is_wrong_place(reply)), None)
        if wrong is None or not fresh or hub.clock.now() >= until:
            return replies
        redirect = parse_redirect(wrong, line.lease.connection.endpoint.address.host or "")
        client.let_pin_go(soiled=True)
        if redirect is not None and not redirect.asks:
            hub.topology.moved(redirect)
        else:
            hub.suspect()
        await hub.clock.sleep(PAUSE)


def _without_nodes(reply: bytes) -> bytes:
    """A reply for a client, which need not know of nodes."""
    return HAS_MOVED if reply.startswith(b"-") and error_word(reply) in {"MOVED", "ASK"} else reply


def _is_wrong_place(reply: bytes) -> bool:
    return reply.startswith(b"-") and error_word(reply) in {"MOVED", "ASK", *NOT_NOW}


async def _ask_on(line: PrivateLine, *commands: list[bytes]) -> list[bytes]:
    """Ask in one go, for ourselves.

    Raises:
        UpstreamError: the server went away.
    """
    replies = [await answer for answer in [line.question(*words) for words in commands]]
    found = [reply for reply in replies if reply is not None]
    if len(found) < len(replies):
        raise UpstreamError(Reason.UPSTREAM_CLOSED, "the server closed the connection")
    return found
