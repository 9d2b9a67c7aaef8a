"""Subscriptions: on a connection of the client's own, as long as there are any; and renewed when that is lost."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from ambassador.errors import ClientError, CredentialError, Reason, UpstreamError
from ambassador.net.taker import Taker
from ambassador.protocols.redis.line import Answer
from ambassador.protocols.redis.owing import Run
from ambassador.protocols.redis.state import Pin
from ambassador.wire.redis.commands import Code, Kind
from ambassador.wire.redis.messages import request

if TYPE_CHECKING:
    from ambassador.protocols.redis.client import Conversation

MOST_CHANNELS = 100_000
"""Subscriptions of one client: their names are remembered, to be renewed when the server goes away."""

GROUPS: Mapping[int, tuple[str, bool]] = MappingProxyType(
    {
        Code.SUBSCRIBE: ("channel", True),
        Code.PSUBSCRIBE: ("pattern", True),
        Code.SSUBSCRIBE: ("shard", True),
        Code.UNSUBSCRIBE: ("channel", False),
        Code.PUNSUBSCRIBE: ("pattern", False),
        Code.SUNSUBSCRIBE: ("shard", False),
    }
)
"""What kind of names each command of the family has, and whether it adds them."""

VERBS = MappingProxyType({"channel": "SUBSCRIBE", "pattern": "PSUBSCRIBE", "shard": "SSUBSCRIBE"})


class ButErrors(Taker):
    """Takes all but errors: who wants no replies (CLIENT REPLY) is sent confirmations all the same, as messages are."""

    __slots__ = ("_to",)

    def __init__(self, to: Taker) -> None:
        self._to = to

    def take(self, chunk: bytes) -> None:
        """See `Taker`."""
        if not chunk.startswith(b"-"):
            self._to.take(chunk)


async def subscribe(client: Conversation, code: int, words: list[bytes]) -> None:
    """The SUBSCRIBE family. The server confirms each name by itself, and without names each that there was."""
    if client.state.multi:
        raise ClientError(Reason.UNSUPPORTED, "ERR Command not allowed inside a transaction")
    group, adds = GROUPS[code]
    known, names = client.state.channels[group], words[1:]
    if adds and len(known) + len(names) > MOST_CHANNELS:
        raise ClientError(Reason.UNSUPPORTED, f"ERR more than {MOST_CHANNELS} subscriptions")
    line = await client.take_pin(Pin.SUBSCRIBE)

    def settled(reply: bytes | None) -> None:
        if reply is None or reply.startswith(b"-"):
            pass
        elif adds:
            known.update(names)
        else:
            known.difference_update(names or tuple(known))
        line.walk.subscribed = client.state.confined

    line.walk.subscribed = client.state.protocol == 2
    answer = Answer(settled, ButErrors(client.to) if client.mute else client.to, most=1)
    run = Run(client, answer, max(1, len(names) if names or adds else len(known)))
    run.kind, run.note, run.confirms, run.apart = Kind.PUBSUB, answer, True, True
    line.append(run)
    line.to.take(request(*words))


async def listen_again(client: Conversation) -> None:
    """A job: the server went away, and the client shall hear of its channels again, without having to know."""
    while client.deaf:
        try:
            client.take_heart()
            line = await client.take_pin(Pin.SUBSCRIBE)
        except (UpstreamError, CredentialError):
            await client.hub.breathe()
            continue
        client.deaf = False
        line.walk.subscribed = client.state.protocol == 2
        for group, names in client.state.channels.items():
            if names:
                run = line.expect(Answer(lambda _: None, most=0), len(names))
                run.confirms = True
                line.to.take(request(VERBS[group], *names))
