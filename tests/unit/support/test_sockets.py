"""Bare sockets."""

from __future__ import annotations

import pytest

from tests.support.sockets import everything, reset, tcp_pair


def test_a_pair_is_connected() -> None:
    near, far = tcp_pair()
    with near, far:
        near.sendall(b"x")
        assert far.recv(1) == b"x"


def test_everything_comes_up_to_the_end() -> None:
    near, far = tcp_pair()
    near.sendall(b"one")
    near.sendall(b"two")
    near.close()
    with far:
        assert everything(far) == b"onetwo"


def test_a_reset_is_seen_as_one() -> None:
    near, far = tcp_pair()
    reset(near)
    with far, pytest.raises(ConnectionResetError):
        far.recv(1)
