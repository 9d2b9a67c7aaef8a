from __future__ import annotations

import pytest

from ambassador.errors import Reason, UpstreamError
from ambassador.wire.redis.messages import decode
from ambassador.wire.redis.reader import MAX_LINE, Reader
from tests.support.splits import every_split

VALUES = [
    b"+OK\r\n",
    b"$-1\r\n",
    b"*-1\r\n",
    b"$2\r\n\r\n\r\n",
    b"*0\r\n",
    b"*2\r\n:1\r\n*1\r\n$1\r\nx\r\n",
    b"%1\r\n+a\r\n~2\r\n:1\r\n_\r\n",
    b"|1\r\n+ttl\r\n:9\r\n=5\r\ntxt:x\r\n",
    b">1\r\n+x\r\n",
]


def test_values_are_found_however_they_are_cut() -> None:
    for pieces in every_split(b"".join(VALUES) + b"+rest"):
        reader, found = Reader(1000), []
        for piece in pieces:
            reader.receive(piece)
            while (raw := reader.next_raw()) is not None:
                found.append(raw)
        assert found == VALUES
        assert reader.rest() == b"+rest"


def test_a_found_value_is_one_that_can_be_read() -> None:
    reader = Reader(1000)
    reader.receive(b"".join(VALUES))
    for value in VALUES:
        raw = reader.next_raw()
        assert raw == value
        assert decode(raw)[1] == len(raw)
    assert reader.next_raw() is None


def test_what_is_left_over_is_handed_out_once() -> None:
    reader = Reader(10)
    reader.receive(b"*1\r\n+")
    assert reader.next_raw() is None
    assert reader.rest() == b"*1\r\n+"
    assert reader.rest() == b""
    reader.receive(b"+OK\r\n")
    assert reader.next_raw() == b"+OK\r\n"


def test_more_than_may_wait_blames_the_server() -> None:
    reader = Reader(5)
    reader.receive(b"$9\r\n.")
    with pytest.raises(UpstreamError) as caught:
        reader.receive(b".")
    assert caught.value.reason is Reason.UPSTREAM_BAD_MESSAGE


@pytest.mark.parametrize(
    "data", [b"\r\n", b"$x\r\n", b"$1\r\nxyz", b"$-2\r\n", b"*?\r\n", b"+" + b"x" * (MAX_LINE + 3)]
)
def test_what_can_become_no_value_blames_the_server(data: bytes) -> None:
    reader = Reader(1 << 20)
    reader.receive(data)
    with pytest.raises(UpstreamError) as caught:
        reader.next_raw()
    assert caught.value.reason is Reason.UPSTREAM_BAD_MESSAGE
