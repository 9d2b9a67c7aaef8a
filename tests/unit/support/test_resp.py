from __future__ import annotations

import random

import hiredis
import pytest

from tests.support import resp


def read(data: bytes) -> object:
    """What another reader makes of all of it; it knows no attributes."""
    reader = hiredis.Reader()
    reader.feed(data)
    found = reader.gets()
    assert not reader.has_data()
    return found


def test_a_request_is_an_array_of_bulks() -> None:
    assert resp.request(b"SET", b"k", b"") == b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$0\r\n\r\n"
    assert read(resp.request(b"SET", b"k", b"\r\n")) == [b"SET", b"k", b"\r\n"]


def test_values_are_of_all_types_and_another_reader_reads_them() -> None:
    values = [resp.value(random.Random(number)) for number in range(2000)]
    assert {value[:1] for value in values} == {bytes((byte,)) for byte in b"+:$*_,#=(%~|"}
    for value in values:
        if b"|" not in value:
            read(value)
    assert values == [resp.value(random.Random(number)) for number in range(2000)]


def test_a_push_and_a_subscriber_s_array_begin_with_their_word() -> None:
    for number in range(50):
        pushed = resp.push(random.Random(number), b"message")
        assert resp.array(random.Random(number), b"message")[1:] == pushed[1:]
        assert pushed[:1] == b">"
        assert pushed.split(b"\r\n")[1 + (pushed[4:5] == b"$")] in {b"message", b"+message"}


def test_errors_are_lines_or_bulks() -> None:
    errors = [resp.error(random.Random(number)) for number in range(50)]
    assert {error[:1] for error in errors} == {b"-", b"!"}
    assert all(isinstance(read(error), hiredis.ReplyError) for error in errors if error[:1] == b"-")


def test_the_same_number_spoils_the_same_way_and_many_in_many_ways() -> None:
    data = resp.request(b"SET", b"key", b"value") * 2
    spoilt = [resp.spoil(data, random.Random(number)) for number in range(500)]
    assert spoilt == [resp.spoil(data, random.Random(number)) for number in range(500)]
    assert len(set(spoilt)) > 250


@pytest.mark.parametrize("way", resp.WAYS)
@pytest.mark.parametrize("data", [b"x", b"$1", b"*1\r\n$1\r\nx\r\n"])
def test_each_way_takes_whatever_is_not_empty(way: object, data: bytes) -> None:
    assert callable(way)
    spoilt = {way(data, random.Random(number)) for number in range(50)}
    assert spoilt - {data} or data in {b"x", b"$1"}


def test_nothing_stays_nothing() -> None:
    assert resp.spoil(b"", random.Random(1)) == b""
