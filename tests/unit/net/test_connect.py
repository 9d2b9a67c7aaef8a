"""Racing for the first address that answers."""

from __future__ import annotations

import asyncio
import gc
import socket
from collections.abc import Iterator

import pytest

from ambassador.net.connect import Found, connect, interleaved

V4, V6 = socket.AF_INET, socket.AF_INET6
NOWHERE = ("192.0.2.1", 1)  # for documentation (RFC 5737)
REFUSED = ("127.0.0.1", 1)  # nobody listens there


def found(*names: tuple[str, int]) -> list[Found]:
    """As getaddrinfo would answer."""
    return [(V6 if ":" in name[0] else V4, socket.SOCK_STREAM, 6, "", name) for name in names]


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing at all comes back from `NOWHERE`, whatever the routes of this machine."""
    real = socket.socket.connect_ex

    def connect_ex(sock: socket.socket, address: tuple[str, int]) -> int:
        if address == NOWHERE:
            sock.bind(("127.0.0.1", 0))
            sock.listen()  # never becomes writable
            return 115  # EINPROGRESS
        return real(sock, address)

    monkeypatch.setattr(socket.socket, "connect_ex", connect_ex)


async def test_one_address_is_connected_to_without_blocking(server: socket.socket) -> None:
    with await connect(found(server.getsockname())) as sock:
        assert sock.getpeername() == server.getsockname()
        assert sock.getblocking() is False


async def test_one_address_that_refuses_is_an_error() -> None:
    with pytest.raises(ConnectionRefusedError):
        await connect(found(REFUSED))


async def test_after_a_refusal_the_next_is_tried_at_once(server: socket.socket) -> None:
    began = asyncio.get_running_loop().time()
    with await connect(found(REFUSED, REFUSED, server.getsockname()), head_start=60) as sock:
        assert sock.getpeername() == server.getsockname()
    assert asyncio.get_running_loop().time() - began < 5


@pytest.mark.usefixtures("silent")
async def test_after_the_head_start_the_next_is_tried_too(server: socket.socket) -> None:
    with await connect(found(NOWHERE, server.getsockname()), head_start=0.02) as sock:
        assert sock.getpeername() == server.getsockname()


@pytest.mark.usefixtures("silent")
async def test_a_cancelled_race_leaves_no_socket_and_no_task(server: socket.socket) -> None:
    before = asyncio.all_tasks()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await connect(found(NOWHERE, NOWHERE, NOWHERE), head_start=0.01)
    gc.collect()  # an open socket would be a ResourceWarning, which is an error
    assert asyncio.all_tasks() == before


async def test_of_two_that_answer_one_is_closed(server: socket.socket) -> None:
    names = [server.getsockname()] * 5
    with await connect(found(*names), head_start=0) as sock:
        assert sock.getpeername() == server.getsockname()
    gc.collect()


async def test_alike_failures_are_one_and_different_ones_are_all_told() -> None:
    with pytest.raises(ConnectionRefusedError):
        await connect(found(REFUSED, ("127.0.0.2", 1)))
    with pytest.raises(OSError, match=r"127\.0\.0\.1: Connection refused, 255\.255\.255\.255: "):
        await connect(found(REFUSED, ("255.255.255.255", 1)))


def test_families_take_turns_beginning_with_the_first() -> None:
    answers = found(("::1", 1), ("::2", 1), ("::3", 1), ("1.1.1.1", 1), ("2.2.2.2", 1))
    assert [one[4][0] for one in interleaved(answers)] == ["::1", "1.1.1.1", "::2", "2.2.2.2", "::3"]
    assert interleaved(found(("1.1.1.1", 1))) == found(("1.1.1.1", 1))
