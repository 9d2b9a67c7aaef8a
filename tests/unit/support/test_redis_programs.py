"""Random programs: the same number makes the same one, and what they say may be said there."""

from __future__ import annotations

import pytest

from ambassador.wire.redis.requests import INLINE, SPECIAL, Requests
from tests.support.redis_programs import Program, Step, without_ids


def steps(seed: int) -> list[Step]:
    program = Program(seed)
    found = []
    while (step := program.step()) is not None:
        found.append(step)
    return found


def requests(step: Step) -> int:
    """How many requests there are in a step, to another reader."""
    walk, data, at, count = Requests({}), b"".join(step.pieces), 0, 0
    while at < len(data):
        at = walk.advance(data, at)
        assert walk.stop == SPECIAL
        assert walk.code != INLINE or data[at - 1 : at] == b"\n"
        count += 1
    return count


def test_the_same_number_makes_the_same_program() -> None:
    assert steps(7) == steps(7)
    assert steps(7) != steps(8)


def test_who_is_blocked_says_nothing() -> None:
    for seed in range(50):
        program = Program(seed)
        if program.clients > 1:
            while (step := program.step({0})) is not None:
                assert step.client != 0


def test_it_is_over_when_nobody_can_speak() -> None:
    program = Program(3)
    assert program.step(range(program.clients)) is None


def test_everybody_speaks_up_at_the_end() -> None:
    for seed in range(30):
        program = Program(seed)
        said = steps(seed)
        left = {step.client for step in said if step.last}
        last = {step.client for step in said if b"PING\r\n$4\r\nend" in b"".join(step.pieces)}
        assert last == set(range(program.clients)) - left


@pytest.mark.parametrize("seed", range(0, 200, 10))
def test_every_step_is_of_whole_requests(seed: int) -> None:
    for step in steps(seed):
        assert all(step.pieces)
        # Names of channels are confirmed one by one, and of a reply to be skipped there is none.
        assert requests(step) >= 1
        assert step.replies >= 1


def test_a_client_alone_never_waits_for_another() -> None:
    for seed in range(300):
        if Program(seed).clients == 1:
            assert not [step for step in steps(seed) if step.blocks or step.timed]


def test_there_is_something_of_everything() -> None:
    said = [step for seed in range(400) for step in steps(seed)]
    text = b"".join(b"".join(step.pieces) for step in said)
    for word in (
        b"MULTI",
        b"WATCH",
        b"BLPOP",
        b"SUBSCRIBE",
        b"EVALSHA",
        b"SELECT",
        b"TRACKING",
        b"HELLO",
        b"RESET",
        b"SKIP",
        b"XADD",
    ):
        assert word in text
    assert any(step.blocks for step in said)
    assert any(step.timed for step in said)
    assert any(step.last for step in said)
    assert any(len(step.pieces) > 5 for step in said)
    assert max(Program(seed).clients for seed in range(400)) == 10


def test_the_number_of_a_connection_is_taken_out() -> None:
    two = b"*4\r\n$5\r\nproto\r\n:2\r\n$2\r\nid\r\n:4711\r\n"
    assert without_ids(two) == b"*4\r\n$5\r\nproto\r\n:2\r\n$2\r\nid\r\n:0\r\n"
    assert without_ids(b":4711\r\n") == b":4711\r\n"
