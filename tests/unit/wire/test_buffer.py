from __future__ import annotations

from functools import partial

import pytest

from ambassador.errors import ClientError, Reason, UpstreamError
from ambassador.wire.buffer import Buffer


def test_what_arrived_can_be_looked_at_and_taken() -> None:
    buffer = Buffer(10, partial(ClientError, Reason.BAD_MESSAGE))
    buffer.append(b"abc")
    buffer.append(b"def")
    assert len(buffer) == 6
    assert buffer.peek(1, 4) == b"bcd"
    assert buffer.peek(4, 100) == b"ef"
    assert buffer.take(2) == b"ab"
    assert buffer.take_all() == b"cdef"
    assert len(buffer) == 0
    assert buffer.take_all() == b""


def test_who_sends_too_much_is_blamed_as_the_owner_says() -> None:
    buffer = Buffer(4, partial(UpstreamError, Reason.UPSTREAM_BAD_MESSAGE))
    buffer.append(b"1234")
    with pytest.raises(UpstreamError, match="more than 4 bytes") as caught:
        buffer.append(b"5")
    assert caught.value.reason is Reason.UPSTREAM_BAD_MESSAGE
    assert buffer.take_all() == b"1234"


def test_what_was_taken_makes_room() -> None:
    buffer = Buffer(4, partial(ClientError, Reason.BAD_MESSAGE))
    for _ in range(100):
        buffer.append(b"1234")
        assert buffer.take(4) == b"1234"
