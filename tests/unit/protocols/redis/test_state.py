"""What a server keeps for a client, as its replies tell."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from ambassador.protocols.redis.state import DISCARDING, FORWARDED, Pin, State
from ambassador.wire.redis.commands import Code

OK = b"+OK\r\n"
QUEUED = b"+QUEUED\r\n"
FAULT = b"-ERR no\r\n"
ABORTED = b"-EXECABORT no\r\n"


def after(*exchanges: tuple[Code, bytes | None]) -> State:
    """A state behind requests that were sent in one piece, and the replies to them."""
    state = State(dedicated=False)
    told = [(state.sent(code), reply) for code, reply in exchanges]
    for then, reply in told:
        if then is not None:
            then(reply)
    return state


def one_by_one(*exchanges: tuple[Code, bytes | None]) -> State:
    state = State(dedicated=False)
    for code, reply in exchanges:
        then = state.sent(code)
        if then is not None:
            then(reply)
    return state


MULTI, EXEC, DISCARD, WATCH, UNWATCH = Code.MULTI, Code.EXEC, Code.DISCARD, Code.WATCH, Code.UNWATCH

CASES: list[tuple[Iterable[tuple[Code, bytes]], bool, bool]] = [
    ([], False, False),
    ([(MULTI, OK)], True, False),
    ([(MULTI, FAULT)], False, False),
    ([(MULTI, OK), (MULTI, FAULT)], True, False),
    ([(MULTI, OK), (EXEC, b"*0\r\n")], False, False),
    ([(MULTI, OK), (EXEC, b"*-1\r\n")], False, False),
    ([(MULTI, OK), (EXEC, b"_\r\n")], False, False),
    ([(MULTI, OK), (EXEC, ABORTED)], False, False),
    *(([(MULTI, OK), (EXEC, f"-{word} no\r\n".encode())], False, False) for word in sorted(DISCARDING)),
    ([(WATCH, OK), (MULTI, OK), (EXEC, b"-TRYAGAIN Multi")], False, False),
    ([(MULTI, OK), (EXEC, FAULT)], True, False),
    ([(MULTI, OK), (DISCARD, OK)], False, False),
    ([(MULTI, OK), (DISCARD, FAULT)], True, False),
    ([(EXEC, FAULT)], False, False),
    ([(DISCARD, FAULT)], False, False),
    ([(WATCH, OK)], False, True),
    ([(WATCH, FAULT)], False, False),
    ([(WATCH, OK), (UNWATCH, OK)], False, False),
    ([(WATCH, OK), (UNWATCH, FAULT)], False, True),
    ([(WATCH, OK), (MULTI, OK)], True, True),
    ([(WATCH, OK), (MULTI, OK), (UNWATCH, QUEUED)], True, True),
    ([(WATCH, OK), (MULTI, OK), (EXEC, b"*0\r\n")], False, False),
    ([(WATCH, OK), (MULTI, OK), (DISCARD, OK)], False, False),
    ([(MULTI, OK), (EXEC, b"*0\r\n"), (MULTI, OK)], True, False),
    ([(MULTI, OK), (Code.BLOCKING, QUEUED), (EXEC, b"*1\r\n$-1\r\n")], False, False),
]


@pytest.mark.parametrize("run", [after, one_by_one])
@pytest.mark.parametrize(("exchanges", "multi", "watching"), CASES)
def test_only_what_replies_say_counts(
    run: object, exchanges: list[tuple[Code, bytes]], multi: bool, watching: bool
) -> None:
    state = after(*exchanges) if run is after else one_by_one(*exchanges)
    assert (state.multi, state.begun, state.in_multi, state.watching) == (multi, multi, multi, watching)
    assert state.leaves_nothing == state.is_free == (not (multi or watching))


def test_from_its_sending_a_transaction_may_have_begun() -> None:
    state = State(dedicated=False)
    then = state.sent(MULTI)
    assert (state.in_multi, state.multi, state.is_free) == (True, False, False)
    assert then is not None
    then(None)
    assert not state.in_multi, "the client is told that it has not"


def test_requests_that_wait_are_counted() -> None:
    state = State(dedicated=False)
    told = [state.sent(Code.BLOCKING) for _ in range(2)]
    assert state.blocking == 2
    for left, then in ((1, told[0]), (0, told[1])):
        assert then is not None
        then(None if left else b"*-1\r\n")
        assert state.blocking == left


@pytest.mark.parametrize("code", [Code.SCRIPT, Code.OWN, Code.UNKNOWN, 0, 8])
def test_other_requests_leave_nothing(code: int) -> None:
    state = State(dedicated=False)
    assert state.sent(code) is None
    assert state.is_free


@pytest.mark.parametrize(("reply", "stuck"), [(OK, True), (FAULT, False), (None, False)])
def test_a_mark_on_the_connection_stays(reply: bytes | None, stuck: bool) -> None:
    state = one_by_one((Code.CLUSTER_STATE, reply))
    assert (state.stuck, state.is_free) == (stuck, not stuck)


@pytest.mark.parametrize(
    ("exchanges", "lost"),
    [
        ([], ""),
        ([(MULTI, OK)], "multi"),
        ([(MULTI, OK), (EXEC, None)], ""),
        ([(WATCH, OK)], "watch"),
        ([(WATCH, OK), (MULTI, OK)], "multi"),
        ([(WATCH, None)], ""),
        ([(MULTI, None)], ""),
    ],
)
def test_what_went_away_with_the_server(exchanges: list[tuple[Code, bytes | None]], lost: str) -> None:
    state = after(*exchanges)
    state.stuck = state.credential_due = True
    state.server_lost()
    assert state.lost == lost
    assert state.is_free
    assert not state.credential_due


@pytest.mark.parametrize("what", ["tracking", "raw", "stuck"])
def test_what_else_keeps_a_connection(what: str) -> None:
    state = State(dedicated=False)
    setattr(state, what, True)
    assert not state.leaves_nothing
    setattr(state, what, False)
    assert state.leaves_nothing


@pytest.mark.parametrize("group", ["channel", "pattern", "shard"])
def test_a_subscriber_of_any_kind_is_confined_in_resp2(group: str) -> None:
    state = State(dedicated=False)
    assert not state.confined
    state.channels[group].add(b"x")
    assert (state.listening, state.confined, state.is_free) == (True, True, False)
    state.protocol = 3
    assert (state.listening, state.confined) == (True, False)


def test_every_class_that_is_forwarded_has_its_reason() -> None:
    assert FORWARDED[Code.MULTI] is Pin.TRANSACTION
    assert FORWARDED[Code.UNKNOWN] is Pin.UNKNOWN
    assert not FORWARDED.keys() & {Code.AUTH, Code.HELLO, Code.SELECT, Code.CLIENT, Code.SUBSCRIBE, Code.REFUSED}
