"""What the two walkers of `wire.redis` tell of bytes that arrive in pieces, in a form that does not depend on the cuts.

Offsets count from the first byte of the first piece. What a walker says of itself is checked on the way: that it gets
on, that an offset lies where it may, that it stops for a reason.
"""

from __future__ import annotations

from collections.abc import Iterable

from ambassador.errors import ClientError, UpstreamError
from ambassador.wire.redis import replies as replies_module
from ambassador.wire.redis import requests as requests_module
from ambassador.wire.redis.replies import Replies
from ambassador.wire.redis.requests import Requests

BOUNDARY, INSIDE = requests_module.BOUNDARY, requests_module.INSIDE
SPECIAL, LARGE = requests_module.SPECIAL, requests_module.LARGE
WANTED, SPENT, ERROR = replies_module.WANTED, replies_module.SPENT, replies_module.ERROR
CONFIRMED, PUSHED = replies_module.CONFIRMED, replies_module.PUSHED

Event = tuple[object, ...]


def request_events(requests: Requests, pieces: Iterable[bytes]) -> list[Event]:
    """What it told, one after the other.

    `("plain", kind)`, `("special", begin, end, code, inline)`, `("large", begin, place, code)`; at the end
    `("boundary",)`, `("inside", begin, code)` or `("fault", text)`.
    """
    events: list[Event] = []
    base, begun = 0, -1  # where the piece begins, and the request under way, if there is one
    for piece in pieces:
        position = 0
        while True:
            try:
                stop = requests.advance(piece, position)
            except ClientError as error:
                return [*events, *_plain(requests), ("fault", str(error))]
            events += _plain(requests)
            assert position <= stop <= len(piece)
            if requests.stop != BOUNDARY:
                begun = _begin(base, position, requests.begun, begun)
                assert begun <= base + stop
            if requests.stop in (BOUNDARY, INSIDE):
                assert stop == len(piece)
                begun = begun if requests.stop == INSIDE else -1
                break
            position = stop
            if requests.stop == SPECIAL:
                events.append(("special", begun, base + stop, requests.code, requests.inline))
                begun = -1
            else:
                assert requests.stop == LARGE
                events.append(("large", begun, base + stop, requests.code))
        base += len(piece)
    return [*events, ("boundary",) if begun < 0 else ("inside", begun, requests.code)]


def _begin(base: int, start: int, offset: int, begun: int) -> int:
    """Where what was told of began: an offset of 0 means an earlier piece, if anything was under way before."""
    if begun >= 0 and offset in (0, begun - base):
        return begun
    assert offset >= start
    return base + offset


def _plain(requests: Requests) -> list[Event]:
    kinds = requests.kinds if requests.mixed else bytes([requests.kind]) * requests.count
    assert len(kinds) == requests.count
    assert requests.mixed == (len(set(kinds)) > 1)
    assert not kinds or kinds[-1] == requests.kind
    return [("plain", kind) for kind in kinds]


NAMES = {ERROR: "error", CONFIRMED: "confirmed", PUSHED: "pushed"}


def reply_events(replies: Replies, pieces: Iterable[bytes], want: int = 1 << 60) -> list[Event]:
    """What it told, one after the other, when asked for `want` replies at a time.

    `("reply",)`, or `("reply", end)` where it was the last wanted; `("error", begin, end)`, `("pushed", begin, end)`,
    `("confirmed", begin, end)`; at the end `("spent", whole, inside)` or `("fault", whole, text)`.
    """
    events: list[Event] = []
    base, whole, missing = 0, 0, want  # where the piece begins; behind the last item; replies until `WANTED`
    for piece in pieces:
        position = 0
        while True:
            begun = whole if replies.inside else -1
            try:
                stop = replies.advance(piece, position, missing)
            except UpstreamError as error:
                whole = base + replies.whole if replies.whole > position else whole
                return [*events, *[("reply",)] * replies.done, ("fault", whole, str(error))]
            assert position <= replies.whole <= stop <= len(piece)
            whole = base + replies.whole if replies.whole > position else whole
            missing -= replies.done
            assert missing >= 0
            told = replies.stop in (ERROR, CONFIRMED, PUSHED)
            events += [("reply",)] * (replies.done - (replies.stop in (WANTED, ERROR, CONFIRMED)))
            if replies.stop == SPENT:
                assert stop == len(piece)
                break
            assert (replies.whole, replies.inside) == (stop, False)
            if told:
                begin = begun if begun >= 0 and replies.begun == 0 else base + replies.begun
                assert begin >= base + position or replies.begun == 0
                events.append((NAMES[replies.stop], begin, base + stop))
            else:
                assert (replies.stop, missing) == (WANTED, 0)
                events.append(("reply", base + stop))
            missing = missing or want
            position = stop
        base += len(piece)
    return [*events, ("spent", whole, replies.inside)]
