"""Waiting for last bytes: as long as they are being taken, and no longer."""

from __future__ import annotations

import asyncio

import pytest

from ambassador.net import farewell
from ambassador.net.farewell import Farewell, unacknowledged
from tests.support.sockets import tcp_pair


class Connection:
    """Has so many bytes unsent, and remembers how it was ended."""

    def __init__(self, unsent: int) -> None:
        self.unsent = unsent
        self.ended: list[bool] = []
        self.end = asyncio.Event()

    def let_go(self, reset: bool) -> None:
        self.ended.append(reset)
        self.end.set()

    def begin(self, *, linger: float, reset: bool) -> Farewell:
        return Farewell(lambda: self.unsent, self.let_go, linger=linger, reset=reset)


async def test_a_peer_that_takes_nothing_is_reset_after_the_linger() -> None:
    connection = Connection(100)
    connection.begin(linger=0.05, reset=False)
    await asyncio.sleep(0.03)
    assert connection.ended == []
    await asyncio.wait_for(connection.end.wait(), 1)
    assert connection.ended == [True]


async def test_a_peer_that_took_all_but_does_not_end_is_let_go_without_a_reset() -> None:
    connection = Connection(0)
    connection.begin(linger=0.02, reset=False)
    await asyncio.wait_for(connection.end.wait(), 1)
    assert connection.ended == [False]


@pytest.mark.parametrize("reset", [False, True])
async def test_progress_buys_time_but_not_for_ever(reset: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(farewell, "_LONGEST", 5)
    connection = Connection(10**6)
    connection.begin(linger=0.05, reset=reset)
    began = asyncio.get_running_loop().time()
    while not connection.ended:
        connection.unsent -= 1
        await asyncio.sleep(0.01)
    assert 0.2 < asyncio.get_running_loop().time() - began < 2
    assert connection.ended == [True]


async def test_a_reset_comes_as_soon_as_everything_is_taken() -> None:
    connection = Connection(100)
    connection.begin(linger=60, reset=True)
    await asyncio.sleep(0.05)
    assert connection.ended == []
    connection.unsent = 0
    await asyncio.wait_for(connection.end.wait(), 1)
    assert connection.ended == [True]


async def test_a_reset_does_not_wait_for_a_peer_that_takes_nothing() -> None:
    connection = Connection(100)
    connection.begin(linger=0.03, reset=True)
    await asyncio.wait_for(connection.end.wait(), 1)
    assert connection.ended == [True]


async def test_a_connection_that_went_by_itself_is_left_alone() -> None:
    connection = Connection(0)
    connection.begin(linger=0.01, reset=False).cancel()
    await asyncio.sleep(0.03)
    assert connection.ended == []


def test_what_the_peer_s_kernel_has_not_taken_is_counted() -> None:
    near, far = tcp_pair()
    with near, far:
        assert unacknowledged(near) == 0
        near.setblocking(False)
        sent = near.send(bytes(16 << 20))
        assert 0 < unacknowledged(near) <= sent
    assert unacknowledged(near) == 0, "closed"
