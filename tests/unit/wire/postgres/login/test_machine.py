from __future__ import annotations

from functools import partial

import pytest

from ambassador.errors import ClientError, Reason
from ambassador.wire.postgres.login.machine import Machine
from ambassador.wire.postgres.messages import message, ssl_request


class Talker(Machine):
    """A machine that takes tagged messages of at most ten bytes, and untagged ones of four."""

    def __init__(self) -> None:
        super().__init__(64, partial(ClientError, Reason.BAD_MESSAGE))

    def tagged(self) -> tuple[bytes, bytes] | None:
        return self._take_tagged(10)

    def untagged(self) -> bytes | None:
        return self._take_untagged(4)

    def say(self, data: bytes) -> None:
        self._send(data)


def test_what_is_said_is_handed_out_once() -> None:
    talker = Talker()
    talker.say(b"one ")
    talker.say(b"two")
    assert talker.to_send() == b"one two"
    assert talker.to_send() == b""


def test_a_tagged_message_is_taken_when_it_is_whole() -> None:
    talker = Talker()
    data = message(b"p", b"0123456789")
    for byte in data[:-1]:
        talker.receive(bytes((byte,)))
        assert talker.tagged() is None
    talker.receive(data[-1:] + b"rest")
    assert talker.tagged() == (b"p", b"0123456789")
    assert talker.rest() == b"rest"
    assert talker.rest() == b""


def test_an_untagged_message_is_taken_when_it_is_whole() -> None:
    talker = Talker()
    data = ssl_request()
    for byte in data[:-1]:
        talker.receive(bytes((byte,)))
        assert talker.untagged() is None
    talker.receive(data[-1:])
    assert talker.untagged() == data[4:]


@pytest.mark.parametrize("length", [0, 3, 15, 0xFFFFFFFF])
def test_an_impossible_length_is_refused_before_anything_is_gathered(length: int) -> None:
    talker = Talker()
    talker.receive(b"p" + length.to_bytes(4))
    with pytest.raises(ClientError, match=f"invalid length {length} of message b'p'"):
        talker.tagged()


@pytest.mark.parametrize("length", [3, 9])
def test_an_impossible_length_of_a_startup_message_is_refused(length: int) -> None:
    talker = Talker()
    talker.receive(length.to_bytes(4))
    with pytest.raises(ClientError, match=f"invalid length {length} of startup message"):
        talker.untagged()


def test_who_does_not_wait_for_answers_is_stopped() -> None:
    talker = Talker()
    talker.receive(b"x" * 64)
    with pytest.raises(ClientError, match="without waiting"):
        talker.receive(b"x")
