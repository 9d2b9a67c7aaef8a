"""Connecting: to what answers, by a deadline, and with words that say what went wrong."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from ambassador.config.address import Address
from ambassador.errors import Reason, UpstreamError
from ambassador.net.connect import Found
from ambassador.net.dial import dial, keep_alive
from ambassador.net.stream import Stream
from tests.support.clock import ManualClock

KEEPALIVE = SimpleNamespace(idle=33, interval=7, count=4)


@contextmanager
def listening(family: int = socket.AF_INET, host: str = "127.0.0.1", backlog: int = 10) -> Iterator[socket.socket]:
    with socket.create_server((host, 0), family=family, backlog=backlog) as server:
        yield server


async def shut(stream: Stream) -> None:
    stream.abort()
    await stream.wait_closed(5)


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
async def test_an_ip_address_is_connected_to(family: int, host: str) -> None:
    with listening(family, host) as server:
        port = server.getsockname()[1]
        stream = await dial(Address(host, port), timeout=5)
        far, _ = server.accept()
        with far:
            stream.write(b"ping")
            far.settimeout(5)
            assert await asyncio.to_thread(far.recv, 10) == b"ping"
        assert (stream.peer.host, stream.peer.port) == (host, port)
        await shut(stream)


def resolving_to(*names: tuple[str, int]) -> Callable[[str, int], Awaitable[Sequence[Found]]]:
    """A stand-in for DNS."""

    async def resolve(host: str, port: int) -> Sequence[Found]:
        assert host == "db.example.com"
        families = [socket.AF_INET6 if ":" in name[0] else socket.AF_INET for name in names]
        return [(family, socket.SOCK_STREAM, 6, "", name) for family, name in zip(families, names, strict=True)]

    return resolve


async def test_a_name_of_this_machine_is_looked_up() -> None:
    with listening() as server:
        stream = await dial(Address("localhost", server.getsockname()[1]), timeout=5)
        assert stream.peer.host == "127.0.0.1"
        await shut(stream)


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
async def test_a_name_is_connected_to_at_whichever_of_its_addresses_answers(
    monkeypatch: pytest.MonkeyPatch, family: int, host: str
) -> None:
    with listening(family, host) as server:
        port = server.getsockname()[1]
        monkeypatch.setattr("ambassador.net.dial.resolve", resolving_to(("::1", port), ("127.0.0.1", port)))
        stream = await dial(Address("db.example.com", port), timeout=5)
        assert stream.peer.host == host
        await shut(stream)


async def test_an_address_that_is_silent_does_not_hold_up_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    with listening() as server:
        good = server.getsockname()
        # 192.0.2.0/24 is for documentation (RFC 5737): nothing answers there.
        monkeypatch.setattr("ambassador.net.dial.resolve", resolving_to(("192.0.2.1", 1), good))
        began = loop.time()
        stream = await dial(Address("db.example.com", good[1]), timeout=5)
        assert loop.time() - began < 2
        assert stream.peer.port == good[1]
        await shut(stream)


async def test_a_unix_socket_is_connected_to(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        server.listen()
        stream = await dial(Address(path=str(tmp_path / "s")), timeout=5, keepalive=KEEPALIVE)
        assert stream.peer.address == f"unix:{tmp_path / 's'}"
        await shut(stream)


async def test_a_unix_socket_with_a_full_queue_is_waited_for(tmp_path: Path) -> None:
    """connect(2) says EAGAIN then, and an event loop's sock_connect would take that for a connection on its way."""
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen(0)
        first = await dial(Address(path=path), timeout=5)
        with pytest.raises(UpstreamError) as caught:
            await dial(Address(path=path), timeout=0.1)
        assert caught.value.reason is Reason.CONNECT_TIMEOUT
        clock = ManualClock()
        waiting = asyncio.gather(dial(Address(path=path), timeout=5, clock=clock))
        await clock.settle()
        assert clock.sleepers == 1
        server.accept()[0].close()
        await clock.advance(1)
        (second,) = await waiting
        await shut(first)
        await shut(second)


async def test_a_refusal_is_told_in_the_kernel_s_words(tmp_path: Path) -> None:
    with listening() as server:
        port = server.getsockname()[1]
    for address, words in (
        (Address("127.0.0.1", port), f"cannot connect to 127.0.0.1:{port}: Connection refused"),
        (Address("localhost", port), f"cannot connect to localhost:{port}: Connection refused"),
        (Address(path=str(tmp_path / "none")), f"cannot connect to unix:{tmp_path}/none: No such file or directory"),
    ):
        with pytest.raises(UpstreamError) as caught:
            await dial(address, timeout=5)
        assert caught.value.reason is Reason.CONNECT_FAILED
        assert str(caught.value) == words
        assert "127.0.0.1" not in caught.value.public


async def test_no_answer_in_time_is_a_timeout() -> None:
    with listening(backlog=0) as server:
        # The queue is full with one: what comes next is not answered at all.
        address = Address("127.0.0.1", server.getsockname()[1])
        with socket.socket() as filling:
            filling.connect(server.getsockname())
            with pytest.raises(UpstreamError) as caught:
                await dial(address, timeout=0.2)
        assert caught.value.reason is Reason.CONNECT_TIMEOUT
        assert str(caught.value).endswith("no answer in 0.2 s")


async def test_a_timeout_of_the_kernel_s_is_a_failure_in_its_words(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise TimeoutError(errno.ETIMEDOUT, "Connect call failed")

    monkeypatch.setattr("ambassador.net.dial.connect", fail)
    with pytest.raises(UpstreamError, match=r"cannot connect to 192\.0\.2\.1:1: Connection timed out") as caught:
        await dial(Address("192.0.2.1", 1), timeout=5)
    assert caught.value.reason is Reason.CONNECT_FAILED


async def test_alike_failures_are_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    port = 1  # nobody listens there
    monkeypatch.setattr("ambassador.net.dial.resolve", resolving_to(("127.0.0.1", port), ("127.0.0.2", port)))
    with pytest.raises(UpstreamError) as caught:
        await dial(Address("db.example.com", port), timeout=5)
    assert str(caught.value) == "cannot connect to db.example.com:1: Connection refused"


async def test_different_failures_are_all_told(monkeypatch: pytest.MonkeyPatch) -> None:
    # Where the machine has no route to 192.0.2.1 is not known; that broadcasting is refused is.
    monkeypatch.setattr("ambassador.net.dial.resolve", resolving_to(("127.0.0.1", 1), ("255.255.255.255", 1)))
    with pytest.raises(UpstreamError, match=r"127\.0\.0\.1: Connection refused, 255\.255\.255\.255: "):
        await dial(Address("db.example.com", 1), timeout=5)


async def test_a_socket_whose_options_cannot_be_set_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    refused: list[socket.socket] = []

    def refuse(sock: socket.socket, _: object) -> None:
        refused.append(sock)
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr("ambassador.net.dial.keep_alive", refuse)
    with listening() as server:
        with pytest.raises(UpstreamError, match="Invalid argument"):
            await dial(Address("127.0.0.1", server.getsockname()[1]), timeout=5)
        assert refused[0].fileno() == -1


async def test_a_name_nobody_knows_is_a_failure_to_connect() -> None:
    with pytest.raises(UpstreamError) as caught:
        await dial(Address("no-such-host.invalid", 5432), timeout=10)
    assert caught.value.reason is Reason.CONNECT_FAILED
    assert "cannot resolve the name" in str(caught.value)


async def test_a_name_that_cannot_be_one_is_a_failure_to_connect() -> None:
    with pytest.raises(UpstreamError) as caught:
        await dial(Address("x" * 70, 5432), timeout=5)
    assert caught.value.reason is Reason.CONNECT_FAILED


async def test_keepalive_and_no_delay_are_set() -> None:
    with listening() as server:
        stream = await dial(Address("127.0.0.1", server.getsockname()[1]), timeout=5, keepalive=KEEPALIVE)
        assert options(stream._socket) == (1, 33, 7, 4)
        assert stream._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        await shut(stream)


def test_keepalive_can_be_turned_off_again() -> None:
    with socket.socket() as sock:
        keep_alive(sock, KEEPALIVE)
        assert options(sock) == (1, 33, 7, 4)
        keep_alive(sock, None)
        assert options(sock)[0] == 0


async def test_a_cancelled_dial_leaves_nothing_open() -> None:
    with listening() as server:
        dialling = asyncio.gather(dial(Address("127.0.0.1", server.getsockname()[1]), timeout=5))
        await asyncio.sleep(0)
        dialling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await dialling


def options(sock: socket.socket) -> tuple[int, int, int, int]:
    """SO_KEEPALIVE and its three numbers."""
    return (
        sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE),
        sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE),
        sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL),
        sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT),
    )
