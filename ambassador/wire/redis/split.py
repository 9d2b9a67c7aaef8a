"""One request for several nodes: how it is split, and how their replies become one.

Only where the pieces together do exactly what the whole would have done, each key by itself; that they do it at one
moment nobody promises.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import Enum, auto, unique
from types import MappingProxyType
from typing import Final, NamedTuple

from ambassador.wire.redis.keys import slot
from ambassador.wire.redis.messages import Decoder, Malformed, bad_message, bulk, integer, parse_request


@unique
class Join(Enum):
    """How replies become one. An error among them is the reply, but for ANY."""

    SUM = auto()  # of integers
    KEYED = auto()  # arrays of one item for each key
    CONCAT = auto()  # arrays, one behind the other
    COUNTS = auto()  # arrays of names and integers in turn: the integers of a name summed
    FIRST = auto()  # all say the same
    ALL = auto()  # arrays of 0 and 1: 1 where all say so
    ANY = auto()  # whichever is no error
    PICK = auto()  # one of those that are not null


class Part(NamedTuple):
    """What one slot's node is asked, and which of all keys are its, counted from 0."""

    slot: int
    words: list[bytes]
    numbers: list[int]


BY_KEY: Final[Mapping[bytes, tuple[int, Join]]] = MappingProxyType(
    {
        b"MGET": (1, Join.KEYED),
        b"MSET": (2, Join.FIRST),
        **dict.fromkeys((b"DEL", b"UNLINK", b"EXISTS", b"TOUCH"), (1, Join.SUM)),
    }
)
"""Commands that can be split by their keys: words for each key, and how the replies are joined."""

BY_NODE: Final[Mapping[bytes, Join]] = MappingProxyType(
    {
        b"DBSIZE": Join.SUM,
        b"KEYS": Join.CONCAT,
        b"RANDOMKEY": Join.PICK,
        **dict.fromkeys((b"FLUSHALL", b"FLUSHDB"), Join.FIRST),
        **dict.fromkeys((b"SCRIPT|LOAD", b"SCRIPT|FLUSH"), Join.FIRST),
        b"SCRIPT|EXISTS": Join.ALL,
        **dict.fromkeys((b"SCRIPT|KILL", b"FUNCTION|KILL"), Join.ANY),
        **dict.fromkeys((b"FUNCTION|LOAD", b"FUNCTION|DELETE", b"FUNCTION|FLUSH", b"FUNCTION|RESTORE"), Join.FIRST),
        b"PUBSUB|SHARDCHANNELS": Join.CONCAT,
        b"PUBSUB|SHARDNUMSUB": Join.COUNTS,
    }
)
"""Commands and sub-commands that every node is asked, and how the replies are joined."""


def words_of(request: bytes) -> list[bytes]:
    """The words of one whole request that has been walked over, fast.

    Raises:
        ClientError: it is no request.
    """
    pieces = request.split(b"\r\n")
    # As many pieces as there would be if no word held a line end; then there is one behind each length.
    if pieces[0][:1] == b"*" and pieces[0][1:].isdigit() and len(pieces) == 2 * int(pieces[0][1:]) + 2:
        return pieces[2::2]
    return parse_request(request)


def split(words: list[bytes], step: int) -> list[Part]:
    """The parts of a request whose keys stand at every `step`-th word behind the name, in the order of first keys."""
    parts: dict[int, Part] = {}
    for number, place in enumerate(range(1, len(words), step)):
        where = slot(words[place])
        part = parts.get(where)
        if part is None:
            part = parts[where] = Part(where, [words[0]], [])
        part.words.extend(words[place : place + step])
        part.numbers.append(number)
    return list(parts.values())


def join(
    how: Join, replies: Sequence[bytes], parts: Sequence[Part] = (), pick: Callable[[int], int] = lambda _: 0
) -> bytes:
    """One reply out of several.

    Args:
        replies: whole ones as they came, at least one.
        parts: for KEYED, what each of them answers.
        pick: for PICK, chooses a number below its argument.

    Raises:
        UpstreamError: one of them is not what that command answers.
    """
    errors = [reply for reply in replies if reply[:1] in {b"-", b"!"}]
    if errors and (how is not Join.ANY or len(errors) == len(replies)):
        return errors[0]
    if how is Join.KEYED:
        return _keyed(replies, parts)
    if how is Join.PICK:
        found = [reply for reply in replies if reply not in _NULLS]
        return found[pick(len(found))] if found else replies[0]
    good = [reply for reply in replies if reply not in errors]
    return _JOINERS[how](good)


def items_of(reply: bytes) -> list[bytes]:
    """The items of an array, each as it came.

    Raises:
        UpstreamError: it is no array.
    """
    decoder = Decoder(reply)
    try:
        sign, line, at = decoder.header(0)
        count = decoder.size(line) if sign in b"*~>" else -1
        items = []
        for _ in range(count):
            _, end = decoder.value(at, 1)
            items.append(reply[at:end])
            at = end
    except Malformed as fault:
        raise bad_message(str(fault)) from None
    if count < 0 or at != len(reply):
        raise bad_message("a node answered with something else than an array")
    return items


def _array(items: Sequence[bytes]) -> bytes:
    return b"*%d\r\n%b" % (len(items), b"".join(items))


def _number(reply: bytes) -> int:
    try:
        return int(reply[1:-2]) if reply[:1] == b":" else _refuse()
    except ValueError:
        return _refuse()


def _refuse() -> int:
    raise bad_message("a node answered with something else than a number")


def _keyed(replies: Sequence[bytes], parts: Sequence[Part]) -> bytes:
    found: dict[int, bytes] = {}
    for reply, part in zip(replies, parts, strict=True):
        items = items_of(reply)
        if len(items) != len(part.numbers):
            raise bad_message("a node answered for another number of keys than it was asked")
        found.update(zip(part.numbers, items, strict=True))
    return _array([found[number] for number in range(len(found))])


def _counts(replies: Sequence[bytes]) -> bytes:
    counts: dict[bytes, int] = {}
    for reply in replies:
        items = items_of(reply)
        for name, count in zip(items[::2], items[1::2], strict=True):
            counts[name] = counts.get(name, 0) + _number(count)
    return _array([piece for name, count in counts.items() for piece in (name, integer(count))])


def _every(replies: Sequence[bytes]) -> bytes:
    rows = [items_of(reply) for reply in replies]
    return _array([min(column) for column in zip(*rows, strict=True)])


_NULLS: Final = frozenset({b"$-1\r\n", b"_\r\n"})
_JOINERS: Final[Mapping[Join, Callable[[Sequence[bytes]], bytes]]] = MappingProxyType(
    {
        Join.SUM: lambda replies: integer(sum(map(_number, replies))),
        Join.CONCAT: lambda replies: _array([item for reply in replies for item in items_of(reply)]),
        Join.COUNTS: _counts,
        Join.FIRST: lambda replies: replies[0],
        Join.ALL: _every,
        Join.ANY: lambda replies: replies[0],
    }
)


# --- SCAN -----------------------------------------------------------------------------------------------------------

TURNS: Final = 1 << 16
"""A cursor of ours is the node's times this, plus the number of the node's turn, which is never 0."""


def parse_cursor(word: bytes) -> tuple[int, int] | None:
    """The turn and the node's own cursor that a client's cursor stands for; turn 0 begins. None: it is no cursor."""
    if not word.isdigit() or len(word) > 20:
        return None
    cursor, turn = divmod(int(word), TURNS)
    return turn, cursor


def scan_reply(reply: bytes, turn: int, following: int) -> bytes:
    """A node's reply to SCAN with a cursor for all nodes in it.

    Args:
        turn: whose turn it was.
        following: whose turn it is when this node has nothing more; 0: nobody's.

    Raises:
        UpstreamError: it is no reply to SCAN.
    """
    if reply.startswith(b"-"):
        return reply
    items = items_of(reply)
    try:
        value = Decoder(items[0]).value(0, 1)[0]
        cursor = int(value) if isinstance(value, bytes) else -1
    except (ValueError, IndexError):
        cursor = -1
    if len(items) != 2 or cursor < 0:
        raise bad_message("a node answered SCAN with something else")
    mine = cursor * TURNS + turn if cursor else following
    return _array([bulk(b"%d" % mine), items[1]])
