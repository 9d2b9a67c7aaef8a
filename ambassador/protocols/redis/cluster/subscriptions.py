"""Subscriptions in a cluster: channels at the node where everybody meets, sharded ones at the node of their slot."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ambassador.errors import ClientError, CredentialError, Reason, UpstreamError
from ambassador.net.taker import Taker
from ambassador.protocols.redis import subscriptions
from ambassador.protocols.redis.cluster.node import Node
from ambassador.protocols.redis.cluster.routes import HOME
from ambassador.protocols.redis.line import Answer, PrivateLine
from ambassador.protocols.redis.state import Pin, Told
from ambassador.protocols.redis.subscriptions import VERBS
from ambassador.wire.redis.commands import Code
from ambassador.wire.redis.keys import slot
from ambassador.wire.redis.messages import request

if TYPE_CHECKING:
    from ambassador.protocols.redis.cluster.client import ClusterClient

PAUSE = 0.05
"""Seconds between two tries to be subscribed again."""

_ELSEWHERE = "ERR a connection has subscriptions at one node of the cluster only; this channel belongs to another one"


class Listener(Taker):
    """Passes on what a node says unasked. A node that gives a slot away ends the subscriptions to its channels."""

    __slots__ = ("_client", "_line")

    def __init__(self, client: ClusterClient, line: PrivateLine) -> None:
        self._client = client
        self._line = line

    def take(self, chunk: bytes) -> None:
        """See `Taker`."""
        if b"sunsubscribe" in chunk[:32]:
            self._client.hub.suspect()
            asyncio.get_running_loop().call_soon(self._line.drop)
        else:
            self._client.to.take(chunk)


async def subscribe(client: ClusterClient, code: int, words: list[bytes]) -> None:
    """The SUBSCRIBE family."""
    client.aim = HOME
    if code == Code.SSUBSCRIBE and len(words) > 1:
        client.aim = client.hub.routes.one(words)
        hub = None if client.pin is None else client.pin.hub
        if isinstance(hub, Node) and hub.place != client.hub.place_of(client.aim):
            raise ClientError(Reason.UNSUPPORTED, _ELSEWHERE)
    await subscriptions.subscribe(client, code, words)
    if client.pin is not None:
        client.pin.listener = Listener(client, client.pin)


async def listen_again(client: ClusterClient) -> None:
    """A job: a node went away, and the client shall hear of its channels again, without having to know."""
    hub = client.hub
    until = hub.clock.now() + hub.options.wait
    while client.deaf:
        sharded = client.state.channels["shard"]
        client.aim = slot(next(iter(sharded))) if sharded else HOME
        try:
            client.take_heart()
            line = await client.take_pin(Pin.SUBSCRIBE)
            refused = await _say_again(client, line)
        except (UpstreamError, CredentialError):
            await hub.breathe()
            continue
        client.deaf = refused
        if not refused:
            line.listener = Listener(client, line)
        elif hub.clock.now() >= until:
            client.broken_off()  # its channels lie at several nodes by now
            return
        else:
            client.let_pin_go(soiled=True)
            hub.suspect()
            await hub.clock.sleep(PAUSE)


async def _say_again(client: ClusterClient, line: PrivateLine) -> bool:
    """Subscribe to everything; whether some of that was refused.

    Raises:
        UpstreamError: the node went away.
    """
    line.walk.subscribed = client.state.protocol == 2
    answers: list[asyncio.Future[bytes | None]] = []
    for group, names in client.state.channels.items():
        slots: dict[int, list[bytes]] = {}
        for name in names:
            slots.setdefault(slot(name) if group == "shard" else 0, []).append(name)
        for together in slots.values():
            answer: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()
            answers.append(answer)
            run = line.expect(Answer(_tell(answer), most=1), len(together))
            run.confirms = True
            line.to.take(request(VERBS[group], *together))
    replies = [await answer for answer in answers]
    if None in replies:
        raise UpstreamError(Reason.UPSTREAM_CLOSED, "the node closed the connection")
    return any(reply == b"-" for reply in replies)


def _tell(answer: asyncio.Future[bytes | None]) -> Told:
    return lambda reply: None if answer.done() else answer.set_result(reply)
