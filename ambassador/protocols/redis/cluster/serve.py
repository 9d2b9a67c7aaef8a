"""The requests that are not simply passed on, served one at a time when the client is owed nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from ambassador.errors import ClientError, CredentialError, Reason, UpstreamError
from ambassador.protocols.redis import clients, specials
from ambassador.protocols.redis.cluster import answers, subscriptions, transactions
from ambassador.protocols.redis.cluster.asked import Joined
from ambassador.protocols.redis.cluster.routes import ANY, HOME, Target
from ambassador.protocols.redis.line import words_for
from ambassador.protocols.redis.state import FORWARDED, Pin
from ambassador.protocols.redis.subscriptions import GROUPS
from ambassador.wire.redis.commands import Code, Kind, kind_of
from ambassador.wire.redis.messages import OK, error, request
from ambassador.wire.redis.redact import hides
from ambassador.wire.redis.requests import PLAIN
from ambassador.wire.redis.split import Join, parse_cursor, scan_reply

if TYPE_CHECKING:
    from ambassador.protocols.redis.cluster.client import ClusterClient

SCAN: Final = b"SCAN"

_NOT_HERE: Final = {
    b"TRACKING": "ERR CLIENT TRACKING is not possible here: keys lie on several nodes",
    b"CACHING": "ERR CLIENT CACHING is not possible here: keys lie on several nodes",
    b"NO-TOUCH": "ERR CLIENT NO-TOUCH is not possible here: connections are shared",
    b"IMPORT-SOURCE": "ERR CLIENT IMPORT-SOURCE is not possible here: connections are shared",
}
_RUN: Final = frozenset({b"EVAL", b"EVALSHA", b"EVAL_RO", b"EVALSHA_RO", b"FCALL", b"FCALL_RO"})

Words = list[bytes]


async def serve(client: ClusterClient, words: Words) -> None:
    """A job: answer a request, or have it answered."""
    await client.settled()
    if client.leaves():
        return
    client.free_pin()
    with clients.one_request(client):
        try:
            await _serve(client, words)
        except ClientError as failure:
            transactions.refuse(client, failure.public)
        except (UpstreamError, CredentialError) as trouble:
            client.reply(words_for(trouble))


async def _serve(client: ClusterClient, words: Words) -> None:
    name = words[0].upper()
    if specials.turned_away(client, name):
        return
    state = client.state
    if name == b"AUTH" and not state.multi:  # needs no node
        await specials.auth(client, words)
        return
    await _learn(client)
    code = client.rules.code_of(name)
    refusal = client.rules.judge(words) or await specials.renamed(client, code, words)
    if refusal is not None:
        transactions.refuse(client, refusal, kind=kind_of(code), denied=True)
    elif state.lost and specials.mourn(client, code):
        pass
    elif state.multi and code != Code.RESET:
        await transactions.go_on(client, code, words)
    elif state.confined and client.pin is not None and code not in GROUPS and code != Code.RESET:
        confined(client, code, words)
    else:
        await dispatch(client, code, words)


def confined(client: ClusterClient, code: int, words: Words) -> None:
    """What a subscriber says in RESP2; a node would first tell it to ask another one."""
    name = words[0].upper()
    if name == b"PING":
        client.forward(code, request(*words))
    else:
        client.reply(error(specials.CONFINED.format(name.decode("utf-8", "replace").lower())))


async def dispatch(client: ClusterClient, code: int, words: Words) -> None:
    """A request of a client in no particular state."""
    client.aim = HOME
    if hides(words):
        await specials.reveal(client, code, words)
    elif words[0].upper() == SCAN:
        await scan(client, words)
    elif code < PLAIN:
        await plain(client, code, words)
    else:
        await _HANDLERS.get(code, alone)(client, code, words)


async def _learn(client: ClusterClient) -> None:
    """Know who serves what, and which commands there are.

    Raises:
        UpstreamError, CredentialError: nobody told.
    """
    hub = client.hub
    if hub.table is None or not hub.topology.known:
        await client.opened(HOME)
    client.rules.learn(hub.commands)


async def plain(client: ClusterClient, code: int, words: Words) -> None:
    """What goes over shared connections, once there are those that it needs.

    Raises:
        UpstreamError, CredentialError: they were not to be had.
        ClientError: its keys lie in several slots.
    """
    data = request(*words)
    while not client.ask(code, words, data):
        for target in client.targets(client.hub.routes.find(words)):
            await client.opened(target)


async def alone(client: ClusterClient, code: int, words: Words) -> None:
    """What needs a connection until it is answered; raises as `plain`."""
    target = client.hub.routes.one(words)
    if code == Code.BLOCKING and target == ANY and client.wrote is not None:
        target = client.wrote  # WAIT is for what the client has written last
    await client.ask_alone(kind_of(code), words, target, FORWARDED.get(code, Pin.UNKNOWN))


async def script(client: ClusterClient, code: int, words: Words) -> None:
    """Scripts run where their keys are; what is said of them all masters must hear. Raises as `plain`."""
    if words[0].upper() not in _RUN and client.hub.routes.find(words).every:
        await plain(client, kind_of(code), words)
    else:
        await alone(client, code, words)


async def cluster(client: ClusterClient, _: int, words: Words) -> None:
    """CLUSTER: there is one node, as far as clients know; raises as `plain`."""
    where = answers.slot_named(words) if len(words) > 1 and words[1].upper() in answers.OF_A_SLOT else None
    if where is None:
        answers.answer(client, words)
    else:
        await client.ask_alone(Kind.ADMIN, words, where, Pin.COMMAND)


async def mark(client: ClusterClient, _: int, __: Words) -> None:
    """READONLY, READWRITE, ASKING: what a client of a cluster says to a node; here they mean nothing."""
    client.reply(OK)


async def select(client: ClusterClient, _: int, words: Words) -> None:
    """SELECT: a cluster has one database."""
    if len(words) != 2:
        raise ClientError(Reason.UNSUPPORTED, "ERR wrong number of arguments for 'select' command")
    if words[1] != b"0":
        raise ClientError(Reason.UNSUPPORTED, "ERR SELECT is not allowed in cluster mode")
    client.reply(OK)


async def client_command(client: ClusterClient, code: int, words: Words) -> None:
    """CLIENT, but for what would have to be said to all nodes."""
    name = words[1].upper() if len(words) > 1 else b""
    if name in _NOT_HERE:
        raise ClientError(Reason.UNSUPPORTED, _NOT_HERE[name])
    if name == b"CAPA" and len(words) > 2:
        client.reply(OK)
        return
    await clients.client_command(client, code, words)


async def replicate(_: ClusterClient, __: int, ___: Words) -> None:
    """SYNC and its like."""
    raise ClientError(Reason.UNSUPPORTED, "ERR replication is not possible through a proxy in front of a cluster")


# ---- SCAN


class Scanned(Joined):
    """One node's turn of a SCAN."""

    __slots__ = ("_following", "_turn")

    def __init__(self, client: ClusterClient, turn: int, following: int) -> None:
        super().__init__(client, Kind.READ, Join.FIRST)
        self._turn = turn
        self._following = following

    def join(self, replies: list[bytes]) -> bytes:
        """See `Joined`."""
        return scan_reply(replies[0], self._turn, self._following)


async def scan(client: ClusterClient, words: Words) -> None:
    """SCAN: the nodes one after the other, the cursor tells which; raises as `plain`."""
    cursor = parse_cursor(words[1]) if len(words) > 1 else (0, 0)
    if cursor is None:
        raise ClientError(Reason.UNSUPPORTED, "ERR invalid cursor")
    wanted, inner = cursor
    turns = client.hub.topology.turns
    coming = sorted(turn for turn in turns if turn >= wanted)
    if not coming:
        client.reply(b"*2\r\n$1\r\n0\r\n*0\r\n", kind=Kind.READ)
        return
    turn = coming[0]
    # A node that has gained slots, or has gone, has lost its turn: it begins anew with another one.
    asks = [words[0], b"%d" % (inner if turn == wanted else 0), *words[2:]] if len(words) > 1 else words
    target: Target = turns[turn]
    await client.opened(target)
    scanned = Scanned(client, turn, coming[1] if len(coming) > 1 else 0)
    line = client.line_to(target)
    if line is None:
        raise UpstreamError(Reason.UPSTREAM_CLOSED, "the connection was lost at once")
    client.enqueue(scanned)
    scanned.ask(request(*asks), target).send(line)


_HANDLERS: Mapping[int, Callable[[ClusterClient, int, Words], Awaitable[None]]] = MappingProxyType(
    {
        Code.HELLO: specials.hello,
        Code.RESET: specials.reset,
        Code.SELECT: select,
        Code.CLIENT: client_command,
        Code.ACL: specials.acl,
        Code.MULTI: transactions.multi,
        Code.WATCH: transactions.watch,
        Code.UNWATCH: transactions.unwatch,
        **dict.fromkeys((Code.EXEC, Code.DISCARD), transactions.end_nothing),
        **dict.fromkeys(GROUPS, subscriptions.subscribe),
        Code.MONITOR: specials.monitor,
        Code.REPLICATION: replicate,
        Code.CLUSTER_STATE: mark,
        Code.CLUSTER: cluster,
        Code.SCRIPT: script,
        Code.SCRIPTS: script,
    }
)
