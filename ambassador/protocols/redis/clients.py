"""CLIENT: what drivers say of themselves when they connect, and what a client may ask of its connection."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING

from ambassador.errors import ClientError, Reason
from ambassador.protocols.redis.state import Pin, Silence
from ambassador.wire.redis.commands import Code
from ambassador.wire.redis.login import valid_name
from ambassador.wire.redis.messages import OK, bulk, integer, null, request

if TYPE_CHECKING:
    from ambassador.protocols.redis.client import Conversation

_BAD_NAME = "ERR Client names cannot contain spaces, newlines or special characters."
_SYNTAX = "ERR syntax error"
_IN_MULTI = "ERR Command not allowed inside a transaction"

Words = list[bytes]


async def client_command(client: Conversation, _: int, words: Words) -> None:
    """CLIENT, by its sub-command; one that is not known here is the server's to answer."""
    name = words[1].upper() if len(words) > 1 else b""
    if client.state.multi:
        raise ClientError(Reason.UNSUPPORTED, _IN_MULTI)
    handler = _HANDLERS.get(name)
    if name in _OURS_WHEN_SHARED and client.state.dedicated:
        handler = None
    if handler is not None and len(words) in _LENGTHS.get(name, range(2, 1 << 20)):
        await handler(client, words)
    else:
        await client.ask_server(Code.OWN, request(*words))
        client.state.stuck = client.state.stuck or name in _MARKING


async def set_name(client: Conversation, words: Words) -> None:
    """SETNAME: kept here, for the connection at the server has other clients too."""
    if not valid_name(words[2]):
        raise ClientError(Reason.UNSUPPORTED, _BAD_NAME)
    await client.call_itself(words[2])
    client.reply(OK)


async def get_name(client: Conversation, _: Words) -> None:
    """GETNAME."""
    name = client.state.name
    client.reply(null(client.state.protocol) if name is None else bulk(name))


async def set_info(client: Conversation, words: Words) -> None:
    """SETINFO: what the driver is called."""
    option = words[2].upper()
    if option not in {b"LIB-NAME", b"LIB-VER"}:
        shown = words[2].decode("utf-8", "replace")
        raise ClientError(Reason.UNSUPPORTED, f"ERR Unrecognized option '{shown}'")
    if not valid_name(words[3]):
        shown = option.decode().lower()
        raise ClientError(Reason.UNSUPPORTED, f"ERR {shown} cannot contain spaces, newlines or special characters.")
    client.reply(OK)


async def identity(client: Conversation, _: Words) -> None:
    """ID: of the client here, no other has it; its connection at the server may be another the next time."""
    client.reply(integer(client.number))


async def no_evict(client: Conversation, words: Words) -> None:
    """NO-EVICT: the connections that clients share are not theirs to mark."""
    if words[2].upper() not in {b"ON", b"OFF"}:
        raise ClientError(Reason.UNSUPPORTED, _SYNTAX)
    client.reply(OK)


async def replies(client: Conversation, words: Words) -> None:
    """REPLY: replies that the client does not want are thrown away here, so that the server need not know of it."""
    what, state = words[2].upper(), client.state
    if what not in _SILENCES:
        raise ClientError(Reason.UNSUPPORTED, _SYNTAX)
    if what != b"SKIP" or state.silence is not Silence.ALL:
        state.silence = _SILENCES[what]
    client.mute = state.silence is not Silence.NOBODY
    client.look()
    if not client.mute:
        client.reply(OK)


@contextmanager
def one_request(client: Conversation) -> Iterator[None]:
    """The time in which one request is served: where its reply alone is not wanted, that of the next one is again."""
    skipped = client.state.silence is Silence.NEXT
    if skipped:
        client.state.silence = Silence.NOBODY
    yield
    if skipped:
        client.mute = client.state.silence is not Silence.NOBODY
        client.look()


async def tracking(client: Conversation, words: Words) -> None:
    """TRACKING: on a connection of the client's own, from ON to OFF."""
    line = await client.take_pin(Pin.TRACKING)
    reply = await client.question(*words)
    if reply.startswith(b"+"):
        client.state.tracking = words[2].upper() == b"ON"
        client.state.stuck = client.state.stuck or line.soiled
    client.reply(reply)


_HANDLERS: Mapping[bytes, Callable[[Conversation, Words], Awaitable[None]]] = MappingProxyType(
    {
        b"SETNAME": set_name,
        b"GETNAME": get_name,
        b"SETINFO": set_info,
        b"ID": identity,
        b"NO-EVICT": no_evict,
        b"REPLY": replies,
        b"TRACKING": tracking,
    }
)
_LENGTHS: Mapping[bytes, tuple[int, ...]] = MappingProxyType(
    {
        b"SETNAME": (3,),
        b"GETNAME": (2,),
        b"SETINFO": (4,),
        b"ID": (2,),
        b"NO-EVICT": (3,),
        b"REPLY": (3,),
    }
)
_SILENCES: Mapping[bytes, Silence] = MappingProxyType(
    {b"ON": Silence.NOBODY, b"OFF": Silence.ALL, b"SKIP": Silence.NEXT}
)

_MARKING = frozenset({b"NO-TOUCH", b"CAPA", b"IMPORT-SOURCE", b"CACHING"})
"""What changes how the server treats a connection, which then is this client's to its end."""

_OURS_WHEN_SHARED = frozenset({b"SETINFO", b"ID", b"NO-EVICT"})
"""What a client with a connection of its own from beginning to end asks the server itself."""
