from __future__ import annotations

import asyncio
import io
import json
import stat
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from ambassador.admin.connections import Bounds
from ambassador.admin.server import AdminServer
from ambassador.admin.status import MAX_SESSIONS
from ambassador.config.address import Address
from ambassador.config.schema import Admin
from ambassador.errors import ConfigError
from ambassador.telemetry import logs
from tests.support.operator import NotedDaemon, full_snapshot, session_status

TCP = Address.parse("127.0.0.1:0")
READYZ = b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory whose name is short enough for a unix socket in it."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        yield Path(name)


@asynccontextmanager
async def serving(
    daemon: NotedDaemon, *listen: Address, bounds: Bounds | None = None, token_file: Path | None = None
) -> AsyncIterator[AdminServer]:
    """A started server, stopped at the end."""
    server = AdminServer(daemon, Admin(listen=listen or (TCP,), token_file=token_file), bounds=bounds)
    await server.start()
    try:
        yield server
    finally:
        await server.stop(1.0)


async def dial(address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to an address as `AdminServer.addresses` spells it."""
    if address.startswith("unix:"):
        return await asyncio.open_unix_connection(address.removeprefix("unix:"))
    host, _, port = address.rpartition(":")
    return await asyncio.open_connection(host, int(port))


async def ask(address: str, request: bytes) -> tuple[int, bytes]:
    """Send raw bytes; status and body of the answer, 0 and nothing if there is none."""
    reader, writer = await dial(address)
    writer.write(request)
    try:
        answer = await asyncio.wait_for(reader.read(), 10)
    except ConnectionResetError:
        answer = b""
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    return (int(head.split()[1]) if head else 0), body


async def test_it_answers_at_every_address(directory: Path) -> None:
    async with serving(NotedDaemon(), TCP, Address.parse(f"unix:{directory}/admin.sock")) as server:
        for address in server.addresses:
            assert await ask(address, READYZ) == (200, b"ok\n")
        assert (directory / "admin.sock").exists()
        assert [address.partition(":")[0] for address in server.addresses] == ["127.0.0.1", "unix"]
    assert not (directory / "admin.sock").exists()
    assert not server.addresses


async def test_the_unix_socket_is_for_its_owner_alone_and_may_change_the_daemon(directory: Path) -> None:
    daemon = NotedDaemon()
    async with serving(daemon, Address.parse(f"unix:{directory}/admin.sock"), TCP) as server:
        mode = (directory / "admin.sock").stat().st_mode
        assert stat.S_ISSOCK(mode)
        assert stat.S_IMODE(mode) == 0o600
        unix, tcp = server.addresses
        verb = b"POST /drain HTTP/1.1\r\nHost: localhost\r\n\r\n"
        assert (await ask(tcp, verb))[0] == 403
        assert daemon.asked == []
        assert await ask(unix, verb) == (202, b"draining\n")
        assert daemon.asked == ["drain"]


async def test_an_address_that_is_taken_leaves_nothing_bound(directory: Path) -> None:
    async with serving(NotedDaemon()) as server:
        taken = Address.parse(server.addresses[0])
        free = Address.parse(f"unix:{directory}/admin.sock")
        second = AdminServer(NotedDaemon(), Admin(listen=(free, taken)))
        with pytest.raises(ConfigError, match="another process listens there"):
            await second.start()
        assert not (directory / "admin.sock").exists()
        assert second.addresses == ()
        assert (await ask(server.addresses[0], READYZ))[0] == 200


async def test_a_large_status_arrives_whole() -> None:
    sessions = tuple(session_status(number, user="u" * 60) for number in range(MAX_SESSIONS))
    daemon = NotedDaemon(shown=replace(full_snapshot(), sessions=sessions, sessions_total=1000))
    async with serving(daemon) as server:
        request = b"GET /status HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\n\r\n"
        status, body = await ask(server.addresses[0], request)
    assert status == 200
    assert len(json.loads(body)["sessions"]) == MAX_SESSIONS


async def test_one_connection_carries_one_request() -> None:
    async with serving(NotedDaemon()) as server:
        status, body = await ask(server.addresses[0], READYZ * 3)
    assert (status, body) == (200, b"ok\n")


async def test_a_slow_head_is_cut_at_its_deadline() -> None:
    async with serving(NotedDaemon(), bounds=Bounds(head=0.3)) as server:
        reader, writer = await dial(server.addresses[0])
        started = asyncio.get_running_loop().time()
        for byte in READYZ * 10:
            if reader.at_eof() or reader.exception():
                break
            writer.write(bytes([byte]))
            await asyncio.sleep(0.05)
        assert asyncio.get_running_loop().time() - started < 3
        writer.close()


async def test_a_slow_body_is_cut_at_its_deadline() -> None:
    daemon = NotedDaemon()
    with tempfile.TemporaryDirectory(dir="/tmp") as directory:
        socket = Address.parse(f"unix:{directory}/s")
        async with serving(daemon, socket, bounds=Bounds(answer=0.3)) as server:
            head = b"PUT /loglevel HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4000\r\n\r\ninfo"
            status, _ = await ask(server.addresses[0], head)
    assert status in {0, 400}
    assert daemon.asked == []


async def test_silent_clients_do_not_keep_a_probe_from_its_answer() -> None:
    async with serving(NotedDaemon(), bounds=Bounds(connections=8)) as server:
        silent = [await dial(server.addresses[0]) for _ in range(40)]
        for _, writer in silent:
            writer.write(b"GET /status HTT")
        for _ in range(5):
            assert (await ask(server.addresses[0], READYZ))[0] == 200
        for _, writer in silent:
            writer.transport.abort()


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 50 + b"\r\n\r\n",
        b"GET /readyz HTTP/9.9\r\n\r\n",
        b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
        b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(5000)) + b"\r\n",
        b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n",
        b"\x00" * 5000,
        b"\r\n" * 5000,
        b"GET http://evil.example/readyz HTTP/1.1\r\nHost: evil.example\r\n\r\n",
    ],
)
async def test_garbage_gets_a_refusal_and_no_line_in_the_log(garbage: bytes) -> None:
    stream = io.BytesIO()
    handle = logs.setup("info", "json", stream)
    try:
        async with serving(NotedDaemon(), bounds=Bounds(head=0.5)) as server:
            status, body = await ask(server.addresses[0], garbage)
            assert status in {0, 400, 403}
            assert b"Traceback" not in body
            assert (await ask(server.addresses[0], READYZ))[0] == 200
    finally:
        handle.close(5.0)
    assert stream.getvalue() == b""


async def test_stopping_lets_a_request_under_way_end() -> None:
    daemon = NotedDaemon()
    daemon.go_on.clear()
    with tempfile.TemporaryDirectory(dir="/tmp") as directory:
        server = AdminServer(daemon, Admin(listen=(Address.parse(f"unix:{directory}/s"),)))
        await server.start()
        async with asyncio.TaskGroup() as group:
            reload = group.create_task(ask(server.addresses[0], b"POST /reload HTTP/1.1\r\nHost: localhost\r\n\r\n"))
            await asyncio.wait_for(daemon.reloading.wait(), 5)
            stop = group.create_task(server.stop(5.0))
            await asyncio.sleep(0.05)
            assert not stop.done()
            daemon.go_on.set()
        assert reload.result() == (200, b"applied\n")


async def test_stopping_does_not_wait_for_a_stuck_client_beyond_its_deadline() -> None:
    server = AdminServer(NotedDaemon(), Admin(listen=(TCP,)))
    await server.start()
    reader, writer = await dial(server.addresses[0])
    writer.write(b"GET /sta")
    await asyncio.sleep(0.05)
    started = asyncio.get_running_loop().time()
    await server.stop(0.1)
    assert asyncio.get_running_loop().time() - started < 2
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await asyncio.wait_for(reader.readexactly(1), 5)
    writer.close()


async def test_stopping_twice_or_before_the_start_does_nothing() -> None:
    server = AdminServer(NotedDaemon(), Admin(listen=(TCP,)))
    await server.stop(0.1)
    await server.start()
    await server.stop(0.1)
    await server.stop(0.1)
    assert server.addresses == ()
