"""Accepting: every connection becomes a stream, and no shortage ends that or makes it spin."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from types import SimpleNamespace

import pytest

from ambassador.config.address import Address
from ambassador.net import listen
from ambassador.net.listen import Acceptor, BoundSocket, bind
from ambassador.net.stream import Stream
from tests.support.sockets import reset

KEEPALIVE = SimpleNamespace(idle=33, interval=7, count=4)


class Crowd:
    """Streams that were accepted."""

    def __init__(self) -> None:
        self.streams: list[Stream] = []
        self.errors: list[BaseException] = []
        self.changed = asyncio.Event()

    def join(self, stream: Stream) -> None:
        self.streams.append(stream)
        self.changed.set()

    def fail(self, error: BaseException) -> None:
        self.errors.append(error)
        self.changed.set()

    async def until(self, count: int) -> None:
        async with asyncio.timeout(10):
            while len(self.streams) < count:
                self.changed.clear()
                await self.changed.wait()


@asynccontextmanager
async def accepting(address: Address, **more: object) -> AsyncIterator[tuple[Acceptor, Crowd]]:
    crowd = Crowd()
    acceptor = Acceptor(bind(address), crowd.join, on_error=crowd.fail, **more)  # type: ignore[arg-type]
    acceptor.start()
    try:
        yield acceptor, crowd
    finally:
        acceptor.close()
        await asyncio.sleep(0.01)
        for stream in crowd.streams:
            stream.abort()
            await stream.wait_closed(5)


def connected(acceptor: Acceptor) -> socket.socket:
    sock = socket.socket(acceptor.bound.socket.family)
    sock.setblocking(False)
    where = acceptor.bound.address.path or acceptor.bound.socket.getsockname()
    assert sock.connect_ex(where) in {0, errno.EINPROGRESS}
    return sock


LOOPBACK = Address("127.0.0.1", 0)


@pytest.mark.parametrize("kind", ["tcp", "unix"])
async def test_a_connection_becomes_a_stream(kind: str, tmp_path: Path) -> None:
    address = LOOPBACK if kind == "tcp" else Address(path=str(tmp_path / "s"))
    async with accepting(address) as (acceptor, crowd):
        with connected(acceptor) as client:
            await crowd.until(1)
            crowd.streams[0].write(b"welcome")
            client.setblocking(True)
            assert await asyncio.to_thread(client.recv, 100) == b"welcome"
            if kind == "unix":
                assert crowd.streams[0].peer.uid == os.getuid()
                assert crowd.streams[0].local.address == str(address)
            else:
                assert crowd.streams[0].peer.port == client.getsockname()[1]


async def test_a_storm_of_connections_is_taken_whole() -> None:
    async with accepting(LOOPBACK) as (acceptor, crowd):
        clients = [connected(acceptor) for _ in range(300)]
        await crowd.until(300)
        assert len({stream.peer for stream in crowd.streams}) == 300
        for client in clients:
            client.close()


async def test_keepalive_and_no_delay_are_inherited() -> None:
    async with accepting(LOOPBACK, keepalive=KEEPALIVE) as (acceptor, crowd):
        assert acceptor.keepalive is KEEPALIVE
        with connected(acceptor):
            await crowd.until(1)
            acceptor.keepalive = None
            with connected(acceptor):
                await crowd.until(2)
                first, second = (stream._socket for stream in crowd.streams)
                assert first.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
                assert first.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 33
                assert first.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
                assert not second.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


async def test_a_limit_is_given_to_the_streams() -> None:
    async with accepting(LOOPBACK, limit=10) as (acceptor, crowd):
        with connected(acceptor) as client:
            await crowd.until(1)
            client.setblocking(True)
            client.sendall(bytes(100))
            await asyncio.sleep(0.02)
            assert crowd.streams[0].buffered == 10


async def test_a_client_that_left_again_is_no_fault() -> None:
    async with accepting(LOOPBACK) as (acceptor, crowd):
        for _ in range(20):
            reset(connected(acceptor))
        with connected(acceptor) as client:
            await asyncio.sleep(0.1)
            assert client.getsockname() in [(stream.peer.host, stream.peer.port) for stream in crowd.streams]
    assert crowd.errors == []


async def test_after_stop_connections_wait_in_the_queue_until_start() -> None:
    async with accepting(LOOPBACK) as (acceptor, crowd):
        acceptor.stop()
        acceptor.stop()
        with connected(acceptor):
            await asyncio.sleep(0.05)
            assert crowd.streams == []
            acceptor.start()
            acceptor.start()
            await crowd.until(1)


async def test_a_socket_passes_from_one_acceptor_to_the_next() -> None:
    async with accepting(LOOPBACK) as (acceptor, crowd):
        acceptor.stop()
        other = Crowd()
        second = Acceptor(acceptor.bound, other.join)
        second.start()
        with connected(acceptor):
            await other.until(1)
        second.stop()
        other.streams[0].abort()
        await other.streams[0].wait_closed(5)
        assert crowd.streams == []


class Poor(BoundSocket):
    """A socket whose accept fails as often as told."""

    def __init__(self, real: BoundSocket, *errors: int) -> None:
        self.real = real
        self.errors = list(errors)
        self.asked = 0
        self.address = real.address
        self.socket = self  # type: ignore[assignment]  # accepts in its place

    family = socket.AF_UNIX  # so that nobody sets options

    def accept(self) -> tuple[socket.socket, object]:
        self.asked += 1
        if self.errors:
            number = self.errors.pop(0)
            raise OSError(number, os.strerror(number))
        return self.real.socket.accept()

    def fileno(self) -> int:
        return self.real.socket.fileno()

    def close(self) -> None:
        self.real.close()


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
async def test_a_shortage_is_told_and_waited_out_without_spinning(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listen, "_RETRY", 0.1)
    crowd = Crowd()
    poor = Poor(bind(LOOPBACK), number, number)
    acceptor = Acceptor(poor, crowd.join, on_error=crowd.fail)
    acceptor.start()
    with socket.create_connection(poor.real.socket.getsockname()):
        await asyncio.sleep(0.05)
        assert poor.asked == 1
        await crowd.until(1)
    assert poor.asked >= 3
    assert [getattr(error, "errno", None) for error in crowd.errors] == [number, number]
    acceptor.close()
    crowd.streams[0].abort()
    await crowd.streams[0].wait_closed(5)


async def test_a_pause_for_a_shortage_ends_with_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listen, "_RETRY", 0.02)
    poor = Poor(bind(LOOPBACK), *[errno.EMFILE] * 100)
    acceptor = Acceptor(poor, Crowd().join)
    acceptor.start()
    with socket.create_connection(poor.real.socket.getsockname()):
        await asyncio.sleep(0.05)
        acceptor.stop()
        asked = poor.asked
        await asyncio.sleep(0.05)
        assert poor.asked == asked
    acceptor.close()


async def test_connections_that_broke_in_the_queue_are_passed_over() -> None:
    crowd = Crowd()
    poor = Poor(bind(LOOPBACK), errno.ECONNABORTED, errno.EAGAIN)
    acceptor = Acceptor(poor, crowd.join, on_error=crowd.fail)
    acceptor.start()
    with socket.create_connection(poor.real.socket.getsockname()):
        await crowd.until(1)
    assert crowd.errors == []
    acceptor.close()
    crowd.streams[0].abort()
    await crowd.streams[0].wait_closed(5)


async def test_running_out_of_descriptors_for_real_ends_when_there_are_some_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(listen, "_RETRY", 0.05)
    async with accepting(LOOPBACK) as (acceptor, crowd):
        client = connected(acceptor)
        hoard: list[int] = []
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, before[1]))
        try:
            with suppress(OSError):
                while True:
                    hoard.append(os.open("/dev/null", os.O_RDONLY))
            await asyncio.sleep(0.02)
        finally:
            for descriptor in hoard:
                os.close(descriptor)
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
        assert [getattr(error, "errno", None) for error in crowd.errors] == [errno.EMFILE]
        await crowd.until(1)
        client.close()


async def test_what_the_receiver_raises_is_told_and_the_next_is_taken() -> None:
    crowd = Crowd()
    seen: list[Stream] = []

    def refuse(stream: Stream) -> None:
        seen.append(stream)
        if len(seen) == 1:
            raise ZeroDivisionError
        crowd.join(stream)

    acceptor = Acceptor(bind(LOOPBACK), refuse, on_error=crowd.fail)
    acceptor.start()
    with connected(acceptor):
        await asyncio.sleep(0.05)
        with connected(acceptor):
            await crowd.until(1)
    assert [type(error) for error in crowd.errors] == [ZeroDivisionError]
    acceptor.close()
    for stream in seen:
        stream.abort()
        await stream.wait_closed(5)
