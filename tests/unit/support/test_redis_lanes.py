"""The bench for the Redis protocol's hot path has both twins on it."""

from __future__ import annotations

import pytest

from tests.support.redis_lanes import GET, ONE, READ, Bench, feed, halves
from tests.support.twins import TWINS


@pytest.mark.parametrize("twin", TWINS)
def test_a_question_and_its_answer_are_written_down(twin: str) -> None:
    bench = Bench(halves(twin))
    client = bench.client()
    feed(client, [GET[:3], b"", GET[3:]])
    assert bench.asked == GET
    bench.line.take(ONE)
    assert client.got == ONE
    assert client.counts == {READ: (1, 0)}
    assert client.timed == (1, 0)


def test_each_twin_has_a_line_that_takes_its_own_clients() -> None:
    pure, compiled = halves("pure"), halves("compiled")
    assert pure.Asking is not compiled.Asking
    assert pure.Line is not compiled.Line
    assert issubclass(pure.Asking, pure.Creditor)
