"""A stream must behave alike over TCP, unix sockets and both versions of TLS; what differs is tested by itself."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import re
import shutil
import socket
import ssl
import subprocess
from collections.abc import Awaitable, Callable

import pytest

from ambassador.net.flow import LIMIT
from ambassador.net.stream import UNKNOWN, Stream, TlsFailed
from ambassador.net.taker import Giving, Taker
from ambassador.net.transport import HIGH_WATER
from tests.support.sockets import reset, tcp_pair

KINDS = ("tcp", "unix", "tls1.2", "tls1.3")
TLS = ("tls1.2", "tls1.3")

Pair = tuple[Stream, Stream]
Connect = Callable[..., Awaitable[Pair]]

every_kind = pytest.mark.parametrize("kind", KINDS)
every_tls = pytest.mark.parametrize("kind", TLS)


class Basin:
    """A sink that remembers, and may stop the stream that pours into it."""

    def __init__(self, stream: Stream, *, pause_after: int | None = None) -> None:
        self.stream = stream
        self.chunks: list[bytes] = []
        self.events: list[str] = []
        self.pause_after = pause_after
        self.changed = asyncio.Event()

    @property
    def taker(self) -> Taker:
        return Giving(self.data)

    def data(self, chunk: bytes) -> None:
        self.chunks.append(chunk)
        self.changed.set()
        if self.pause_after is not None and len(self.bytes) >= self.pause_after:
            self.pause_after = None
            self.stream.pause_reading()

    patient = True

    def failed(self, error: Exception) -> None:
        self._note(f"failed {type(error).__name__}")

    def eof(self) -> None:
        self._note("eof")

    def lost(self, error: BaseException | None) -> None:
        self._note("lost" if error is None else f"lost {type(error).__name__}")

    def pause(self) -> None:
        self._note("pause")

    def resume(self) -> None:
        self._note("resume")

    @property
    def bytes(self) -> bytes:
        return b"".join(self.chunks)

    async def until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not true():
                self.changed.clear()
                await self.changed.wait()

    def _note(self, event: str) -> None:
        self.events.append(event)
        self.changed.set()


async def read_all(stream: Stream) -> bytes:
    parts = []
    while part := await stream.read():
        parts.append(part)
    return b"".join(parts)


async def read_exactly(stream: Stream, count: int) -> bytes:
    parts = b""
    while len(parts) < count:
        part = await stream.read()
        assert part, "ended early"
        parts += part
    return parts


async def write_all(stream: Stream, data: bytes, piece: int = 100_000) -> None:
    for at in range(0, len(data), piece):
        stream.write(data[at : at + piece])
        await stream.drained()


async def pause(seconds: float = 0.05) -> None:
    """Let what is under way arrive."""
    await asyncio.sleep(seconds)


# Reading and writing


@every_kind
async def test_bytes_go_both_ways(connect: Connect, kind: str) -> None:
    near, far = await connect(kind)
    near.write(b"ping")
    assert await far.read() == b"ping"
    far.write(b"pong")
    assert await near.read() == b"pong"


@every_kind
async def test_much_data_arrives_whole_both_ways_at_once(connect: Connect, kind: str) -> None:
    near, far = await connect(kind)
    data, other = os.urandom(4 << 20), os.urandom(4 << 20)

    async def send(stream: Stream, what: bytes) -> None:
        await write_all(stream, what)
        stream.write_eof()

    _, _, at_far, at_near = await asyncio.gather(send(near, data), send(far, other), read_all(far), read_all(near))
    assert hashlib.sha256(at_far).digest() == hashlib.sha256(data).digest()
    assert hashlib.sha256(at_near).digest() == hashlib.sha256(other).digest()


@every_kind
async def test_one_write_longer_than_any_buffer_arrives_whole(connect: Connect, kind: str) -> None:
    near, far = await connect(kind)
    data = os.urandom(3 << 20)
    near.write(data)
    assert await read_exactly(far, len(data)) == data


@every_kind
async def test_writing_nothing_sends_nothing(connect: Connect, kind: str) -> None:
    near, far = await connect(kind)
    near.write(b"")
    near.write(b"x")
    assert await far.read() == b"x"


@every_kind
@pytest.mark.parametrize("limit", [1, 1000, LIMIT])
async def test_unread_bytes_never_exceed_the_limit(connect: Connect, kind: str, limit: int) -> None:
    near, far = await connect(kind, limit=limit)
    data = os.urandom(400_000 if limit > 1 else 2_000)
    sent = asyncio.gather(write_all(near, data))
    await pause()
    assert far.buffered == limit
    received = b""
    while len(received) < len(data):
        part = await far.read()
        assert len(part) <= limit
        received += part
    await sent
    assert received == data


@every_kind
async def test_what_is_put_back_is_read_again_first(connect: Connect, kind: str) -> None:
    near, far = await connect(kind)
    near.write(b"one two")
    assert await far.read() == b"one two"
    far.unread(b"two")
    assert far.buffered == 3
    assert await far.read() == b"two"
    near.write(b"three")
    assert await far.read() == b"three"


@every_kind
async def test_putting_back_more_than_the_limit_stops_the_reading(connect: Connect, kind: str) -> None:
    near, far = await connect(kind, limit=10)
    near.write(b"0123456789abcdefgh")
    taken = await far.read() + await far.read()
    near.write(b"more")
    far.unread(taken + b"and what was in hand")
    await pause()
    expected = taken + b"and what was in hand" + b"more"
    assert await read_exactly(far, len(expected)) == expected


async def test_a_cancelled_read_loses_nothing(connect: Connect) -> None:
    near, far = await connect()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await far.read()
    near.write(b"later")
    assert await far.read() == b"later"


@every_kind
async def test_drained_waits_until_the_peer_takes_what_was_written(connect: Connect, kind: str) -> None:
    near, far = await connect(kind)
    far.pause_reading()
    await near.drained()
    near.write(bytes(16 << 20))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await near.drained()
    far.resume_reading()
    drained = asyncio.gather(near.drained())
    await read_exactly(far, 16 << 20)
    await drained


@every_kind
async def test_drained_fails_when_the_connection_is_lost(connect: Connect, kind: str) -> None:
    near, far = await connect(kind)
    far.pause_reading()
    near.write(bytes(16 << 20))
    waiting = asyncio.gather(near.drained(), return_exceptions=True)
    await pause()
    far.abort()
    (outcome,) = await waiting
    assert isinstance(outcome, ConnectionError)
    with pytest.raises(ConnectionError):
        await near.drained()


# Half-close


@every_kind
async def test_sent_waits_until_nothing_is_left_here(connect: Connect, kind: str) -> None:
    near, far = await connect(kind)
    data = bytes(32_000_000)  # more than the kernel takes
    near.write(data)
    near.close()
    waiting = asyncio.gather(near.sent())
    await pause()
    assert not waiting.done()
    taken = asyncio.gather(read_all(far))
    async with asyncio.timeout(5):
        await waiting
        assert (await taken)[0] == data


@pytest.mark.parametrize("kind", ["tcp", "unix"])
async def test_sent_may_wait_for_the_peer_s_machine_which_a_unix_socket_has_not(connect: Connect, kind: str) -> None:
    near, far = await connect(kind)
    near.write(b"last words")
    near.close()
    async with asyncio.timeout(5):
        await near.sent(acknowledged=True)
    assert await read_all(far) == b"last words"


async def test_sent_ends_with_the_connection(connect: Connect) -> None:
    near, _ = await connect()
    near.write(os.urandom(4_000_000))
    waiting = asyncio.gather(near.sent(acknowledged=True))
    await pause()
    assert not waiting.done()
    near.abort()
    async with asyncio.timeout(5):
        await waiting


@every_kind
async def test_one_side_may_end_and_still_be_answered(connect: Connect, kind: str) -> None:
    near, far = await connect(kind)
    near.write(b"question")
    near.write_eof()
    assert await read_all(far) == b"question"
    assert await far.read() == b""
    for part in (b"answer", b" in ", b"parts"):
        far.write(part)
        await pause(0.01)
    far.write_eof()
    assert await read_all(near) == b"answer in parts"
    assert not near.truncated
    assert not far.truncated


@every_kind
async def test_after_the_end_of_our_side_writing_does_nothing(connect: Connect, kind: str) -> None:
    near, far = await connect(kind)
    near.write_eof()
    near.write_eof()
    near.write(b"too late")
    assert await read_all(far) == b""


@every_kind
async def test_an_end_goes_out_behind_everything_written(connect: Connect, kind: str) -> None:
    near, far = await connect(kind)
    data = os.urandom(2 << 20)
    near.write(data)
    near.write_eof()
    assert await read_all(far) == data


@every_kind
async def test_our_end_does_not_disturb_what_waits_to_be_read(connect: Connect, kind: str) -> None:
    near, far = await connect(kind)
    near.pause_reading()
    data = os.urandom(1 << 20)
    sent = asyncio.gather(write_all(far, data))
    await pause()
    near.write_eof()
    assert await far.read() == b""
    near.resume_reading()
    assert await read_exactly(near, len(data)) == data
    await sent
    far.write_eof()
    assert await near.read() == b""


@every_tls
@pytest.mark.parametrize("cut", [1, 4, 5, 6, 20, 1000, -1])
async def test_our_end_in_the_middle_of_a_record_of_theirs_breaks_nothing(
    connect: Connect, kind: str, cut: int
) -> None:
    """OpenSSL's second SSL_shutdown reads the record that has half arrived."""
    near, far = await connect(kind)
    engine = far._engine
    assert engine is not None
    send = far._transport.take
    engine.object.write(b"r" * 3000)
    record = engine.outgoing.read()
    send(record[:cut])
    await pause(0.02)
    near.write_eof()
    assert await far.read() == b""
    send(record[cut:])
    assert await read_exactly(near, 3000) == b"r" * 3000
    far.write(b"more")
    assert await near.read() == b"more"
    far.write_eof()
    assert await near.read() == b""


# Pouring


@every_kind
async def test_pouring_begins_with_what_is_buffered(connect: Connect, kind: str) -> None:
    near, far = await connect(kind)
    near.write(b"first ")
    await pause()
    assert far.buffered == 6
    far.unread(b"zeroth ")
    basin = Basin(far)
    far.pour(basin)
    assert basin.bytes == b"zeroth first "
    near.write(b"second")
    await basin.until(lambda: basin.bytes == b"zeroth first second")
    near.write_eof()
    await basin.until(lambda: basin.events == ["eof"])


@every_kind
async def test_pouring_after_the_end_tells_of_it_after_the_bytes(connect: Connect, kind: str) -> None:
    near, far = await connect(kind)
    near.write(b"all")
    near.write_eof()
    await pause()
    basin = Basin(far)
    far.pour(basin)
    assert (basin.bytes, basin.events) == (b"all", ["eof"])


async def test_pouring_a_lost_stream_tells_of_bytes_and_loss(connect: Connect) -> None:
    near, far = await connect()
    near.write(b"last words")
    await pause()
    near.abort()
    await far.wait_closed(5)
    basin = Basin(far)
    far.pour(basin)
    assert basin.events == ["lost ConnectionResetError"]


@every_kind
async def test_a_pause_holds_everything_back_and_resuming_delivers_it(connect: Connect, kind: str) -> None:
    near, far = await connect(kind)
    basin = Basin(far, pause_after=1)
    far.pour(basin)
    data = os.urandom(4 << 20)
    sent = asyncio.gather(write_all(near, data))
    await basin.until(lambda: bool(basin.chunks))
    held = len(basin.bytes)
    await pause()
    assert len(basin.bytes) == held <= 256 * 1024
    far.resume_reading()
    await basin.until(lambda: len(basin.bytes) == len(data))
    await sent
    assert basin.bytes == data


@every_kind
async def test_many_pauses_lose_and_reorder_nothing(connect: Connect, kind: str) -> None:
    near, far = await connect(kind)
    basin = Basin(far)
    far.pour(basin)
    data = os.urandom(2 << 20)

    async def send() -> None:
        await write_all(near, data, 30_000)
        near.write_eof()

    sent = asyncio.gather(send())
    while "eof" not in basin.events:
        basin.pause_after = len(basin.bytes) + 1
        far.resume_reading()
        await asyncio.sleep(0)
    await sent
    assert basin.bytes == data


@every_kind
async def test_a_sink_is_told_when_to_stop_writing_and_when_to_go_on(connect: Connect, kind: str) -> None:
    near, far = await connect(kind)
    basin = Basin(near)
    near.pour(basin)
    far.pause_reading()
    await pause(0.01)
    while "pause" not in basin.events:
        near.write(bytes(HIGH_WATER))
        await asyncio.sleep(0)
    far.resume_reading()
    far.pour(Basin(far))
    await basin.until(lambda: basin.events == ["pause", "resume"])


async def test_a_sink_that_comes_to_a_choked_stream_is_told_at_once(connect: Connect) -> None:
    near, far = await connect()
    far.pause_reading()
    near.write(bytes(16 << 20))
    basin = Basin(near)
    near.pour(basin)
    assert basin.events == ["pause"]


@every_kind
async def test_after_pouring_a_stream_can_be_awaited_again(connect: Connect, kind: str) -> None:
    near, far = await connect(kind)
    basin = Basin(far)
    far.pour(basin)
    near.write(b"poured")
    await basin.until(lambda: basin.bytes == b"poured")
    far.unpour()
    far.unpour()
    near.write(b"awaited")
    assert await far.read() == b"awaited"
    second = Basin(far)
    far.pour(second)
    near.write_eof()
    await second.until(lambda: second.events == ["eof"])
    assert basin.events == []


@every_kind
async def test_a_sink_may_stop_pouring_in_the_middle_of_the_bytes(connect: Connect, kind: str) -> None:
    near, far = await connect(kind)

    class Once(Basin):
        def data(self, chunk: bytes) -> None:
            super().data(chunk)
            self.stream.unpour()

    basin = Once(far)
    far.pour(basin)
    data = os.urandom(300_000)
    sent = asyncio.gather(write_all(near, data))
    await basin.until(lambda: bool(basin.chunks))
    rest = await read_exactly(far, len(data) - len(basin.bytes))
    assert len(basin.chunks) == 1
    assert basin.bytes + rest == data
    await sent


# TLS


async def test_bytes_already_read_can_be_part_of_the_handshake(
    connect: Connect, trusting: ssl.SSLContext, server_context: ssl.SSLContext
) -> None:
    near, far = await connect()
    shaking = asyncio.gather(near.start_tls(trusting, server_side=False, server_hostname="localhost"))
    seen = await far.read()
    assert seen[0] == 0x16
    far.unread(seen[7:])
    await far.start_tls(server_context, server_side=True, early=seen[:7])
    await shaking
    near.write(b"ping")
    assert await far.read() == b"ping"


async def test_a_handshake_may_come_byte_by_byte(
    connect: Connect, trusting: ssl.SSLContext, server_context: ssl.SSLContext
) -> None:
    near, far = await connect()
    bio, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = trusting.wrap_bio(bio, outgoing, server_hostname="localhost")
    shaking = asyncio.gather(far.start_tls(server_context, server_side=True))
    done = False
    while not done:
        with contextlib.suppress(ssl.SSLWantReadError):
            client.do_handshake()
            done = True
        for byte in outgoing.read():
            near.write(bytes([byte]))
            await asyncio.sleep(0)
        if not done:
            bio.write(await near.read())
    await shaking
    assert far.tls is not None
    assert far.tls.version == "TLSv1.3"


async def test_data_right_behind_the_handshake_is_kept(
    connect: Connect, trusting: ssl.SSLContext, server_context: ssl.SSLContext
) -> None:
    near, far = await connect()
    bio, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = trusting.wrap_bio(bio, outgoing, server_hostname="localhost")
    shaking = asyncio.gather(far.start_tls(server_context, server_side=True))
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    near.write(outgoing.read())
    while True:
        bio.write(await near.read())
        with contextlib.suppress(ssl.SSLWantReadError):
            client.do_handshake()
            break
    client.write(b"eager")
    near.write(outgoing.read())  # the client's Finished, and data, in one packet
    await shaking
    assert await far.read() == b"eager"


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1"])
async def test_names_and_addresses_are_checked(
    connect: Connect, trusting: ssl.SSLContext, server_context: ssl.SSLContext, name: str
) -> None:
    near, far = await connect()
    await asyncio.gather(
        near.start_tls(trusting, server_side=False, server_hostname=name),
        far.start_tls(server_context, server_side=True),
    )
    assert near.tls is not None


async def test_a_failed_handshake_tells_both_sides_why(
    connect: Connect, trusting: ssl.SSLContext, server_context: ssl.SSLContext
) -> None:
    near, far = await connect()
    at_near, at_far = await asyncio.gather(
        near.start_tls(trusting, server_side=False, server_hostname="elsewhere.example.com"),
        far.start_tls(server_context, server_side=True),
        return_exceptions=True,
    )
    assert isinstance(at_near, TlsFailed)
    assert "Hostname mismatch" in str(at_near)
    if at_far is None:  # the server may have finished first; it hears of it as it reads
        with pytest.raises(TlsFailed, match="alert"):
            await far.read()
    else:
        assert isinstance(at_far, TlsFailed)
    assert near.tls is None
    near.close()
    far.close()
    await near.wait_closed(5)


@pytest.mark.parametrize("first", [b"", b"\x16\x03\x01"])
async def test_an_end_in_the_middle_of_a_handshake_is_a_failure(
    connect: Connect, server_context: ssl.SSLContext, first: bytes
) -> None:
    near, far = await connect()
    near.write(first)
    near.write_eof()
    await pause(0.01)
    with pytest.raises(TlsFailed, match="the peer closed the connection"):
        await far.start_tls(server_context, server_side=True)
    near, far = await connect()
    shaking = asyncio.gather(far.start_tls(server_context, server_side=True), return_exceptions=True)
    near.write(first)
    await pause(0.01)
    near.write_eof()
    (outcome,) = await shaking
    assert str(outcome) == "the peer closed the connection"


async def test_a_reset_in_the_middle_of_a_handshake_is_a_failure(
    connect: Connect, server_context: ssl.SSLContext
) -> None:
    near, far = await connect()
    shaking = asyncio.gather(far.start_tls(server_context, server_side=True), return_exceptions=True)
    await pause(0.01)
    near.abort()
    (outcome,) = await shaking
    assert isinstance(outcome, TlsFailed)
    assert str(outcome) == "the connection was lost"


async def test_what_is_no_handshake_is_a_failure(connect: Connect, server_context: ssl.SSLContext) -> None:
    near, far = await connect()
    near.write(bytes(100))
    with pytest.raises(TlsFailed, match="wrong version number"):
        await far.start_tls(server_context, server_side=True)
    near.write(bytes(1 << 20))
    await pause()
    assert far.buffered == 0
    assert far._engine is not None
    assert far._engine.incoming.pending <= LIMIT
    with pytest.raises(TlsFailed, match="wrong version number"):
        await far.read()
    far.close()


async def test_a_handshake_can_be_given_up_at_a_deadline(connect: Connect, server_context: ssl.SSLContext) -> None:
    near, far = await connect()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await far.start_tls(server_context, server_side=True)
    near.write(b"\x16\x03\x01")
    await pause(0.01)
    far.close()
    assert await read_all(near) == b""


async def test_closing_in_the_middle_of_a_handshake_ends_it(connect: Connect, server_context: ssl.SSLContext) -> None:
    near, far = await connect()
    shaking = asyncio.gather(far.start_tls(server_context, server_side=True), return_exceptions=True)
    await pause(0.01)
    far.close(linger=0)
    (outcome,) = await shaking
    assert isinstance(outcome, TlsFailed)
    assert await near.read() == b""


async def test_tls_begins_once(connect: Connect, trusting: ssl.SSLContext) -> None:
    near, _ = await connect("tls1.3")
    with pytest.raises(AssertionError, match="once"):
        await near.start_tls(trusting, server_side=False, server_hostname="localhost")


@every_tls
async def test_a_tls_stream_knows_its_facts(connect: Connect, kind: str) -> None:
    near, far = await connect(kind)
    for stream in (near, far):
        assert stream.tls is not None
        assert stream.tls.version == {"tls1.2": "TLSv1.2", "tls1.3": "TLSv1.3"}[kind]
        stream.abort()
        await stream.wait_closed(5)
        assert stream.tls.cipher, "facts outlive the connection"


needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs Debian's openssl (`make apt`)")
"""Python's own ssl can neither ask for new keys nor to negotiate again."""


def s_client(port: int, version: str = "-tls1_3") -> subprocess.Popen[bytes]:
    """OpenSSL's own client, showing every TLS message and taking commands."""
    return subprocess.Popen(
        ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", version, "-msg"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


@needs_openssl
@pytest.mark.parametrize("poured", [False, True])
async def test_keys_are_changed_when_the_peer_asks_for_it(server_context: ssl.SSLContext, poured: bool) -> None:
    """Messages that come after the handshake (RFC 8446, section 4.6.3); Python's own ssl cannot send this one."""
    with socket.create_server(("127.0.0.1", 0)) as server, s_client(server.getsockname()[1]) as client:
        assert client.stdin is not None
        assert client.stdout is not None
        sock, _ = await asyncio.to_thread(server.accept)
        sock.setblocking(False)
        stream = Stream.adopt(sock)
        await stream.start_tls(server_context, server_side=True)
        basin = Basin(stream)
        if poured:
            stream.pour(basin)
        client.stdin.write(b"hello\n")
        client.stdin.flush()
        await (basin.until(lambda: basin.bytes == b"hello\n") if poured else stream.read())
        client.stdin.write(b"K\n")  # update our key, and ask for the same
        client.stdin.flush()
        await pause(0.2)
        client.stdin.write(b"again\n")
        client.stdin.flush()
        await (basin.until(lambda: basin.bytes.endswith(b"again\n")) if poured else stream.read())
        stream.write(b"under new keys\n")
        stream.close(linger=0)
        await stream.wait_closed(5)
        client.stdin.close()
        seen = await asyncio.to_thread(client.stdout.read)
    assert re.search(rb">>> TLS 1\.3, Handshake \[length 0005\], KeyUpdate", seen)
    assert re.search(rb"<<< TLS 1\.3, Handshake \[length 0005\], KeyUpdate", seen)
    assert b"under new keys" in seen


@needs_openssl
async def test_who_does_not_read_tls_s_own_answers_is_not_read_either(server_context: ssl.SSLContext) -> None:
    """Else asking for new keys again and again would fill the memory with the answers."""
    with socket.create_server(("127.0.0.1", 0)) as server, s_client(server.getsockname()[1]) as client:
        assert client.stdin is not None
        sock, _ = await asyncio.to_thread(server.accept)
        sock.setblocking(False)
        stream = Stream.adopt(sock)
        await stream.start_tls(server_context, server_side=True)
        basin = Basin(stream)
        stream.pour(basin)
        client.stdin.write(b"hello\n")
        client.stdin.flush()
        await basin.until(lambda: basin.bytes == b"hello\n")
        stream.pause_writing()  # as the transport does when too much is unsent
        for _ in range(3):  # OpenSSL answers one when it reads the next
            client.stdin.write(b"K\n")
            client.stdin.flush()
            await pause(0.1)
        client.stdin.write(b"not now\n")
        client.stdin.flush()
        await pause(0.1)
        assert basin.bytes == b"hello\n"
        stream.resume_writing()
        await basin.until(lambda: basin.bytes == b"hello\nnot now\n")
        stream.close(linger=0)
        await stream.wait_closed(5)
        client.stdin.close()


@needs_openssl
@pytest.mark.parametrize("poured", [False, True])
async def test_renegotiation_is_refused_and_the_client_is_told(server_context: ssl.SSLContext, poured: bool) -> None:
    server_context.options |= ssl.OP_NO_RENEGOTIATION
    server = socket.create_server(("127.0.0.1", 0))
    with server, s_client(server.getsockname()[1], "-tls1_2") as client:
        assert client.stdin is not None
        assert client.stdout is not None
        sock, _ = await asyncio.to_thread(server.accept)
        sock.setblocking(False)
        stream = Stream.adopt(sock)
        await stream.start_tls(server_context, server_side=True)
        basin = Basin(stream)
        if poured:
            stream.pour(basin)
        client.stdin.write(b"R\n")
        client.stdin.flush()
        if poured:
            await basin.until(lambda: basin.events == ["lost TlsFailed"])
        else:
            with pytest.raises(TlsFailed, match="alert handshake failure"):
                await stream.read()
        stream.abort()
        await stream.wait_closed(5)
        client.stdin.close()
        seen = await asyncio.to_thread(client.stdout.read)
    assert b"no_renegotiation" in seen


# Ends


@every_kind
async def test_last_words_arrive_though_the_peer_is_still_talking(connect: Connect, kind: str) -> None:
    """Closing a socket with unread bytes in it resets the connection, and the reset may overtake them."""
    near, far = await connect(kind)
    for _ in range(20):
        near.write(b"chatter" * 1000)
    far.write(b"go away")
    far.close()
    assert await read_all(near) == b"go away"
    near.close()
    await far.wait_closed(5)
    await near.wait_closed(5)
    assert far.closed
    assert near.closed


@every_kind
async def test_closing_sends_all_that_was_written(connect: Connect, kind: str) -> None:
    near, far = await connect(kind)
    data = os.urandom(4 << 20)
    far.write(data)
    far.close()
    far.close()
    assert not far.closed
    assert await read_all(near) == data


async def test_closing_waits_as_long_as_a_slow_reader_makes_progress(connect: Connect) -> None:
    near, far = await connect()
    far.write(bytes(12 << 20))
    near.pause_reading()
    far.close(linger=0.1)
    got = 0
    near.resume_reading()
    while part := await near.read():
        got += len(part)
        if got % (1 << 20) < len(part):
            await pause(0.05)
    assert got == 12 << 20


@every_kind
async def test_closing_gives_up_on_a_peer_that_reads_nothing(connect: Connect, kind: str) -> None:
    near, far = await connect(kind)
    near.pause_reading()
    far.write(bytes(16 << 20))
    far.close(linger=0.05)
    await pause(0.4)
    assert far.closed


@every_kind
async def test_closing_gives_up_on_a_peer_that_never_ends(connect: Connect, kind: str) -> None:
    near, far = await connect(kind)
    far.write(b"bye")
    far.close(linger=0.05)
    await pause(0.2)
    assert far.closed
    assert await read_all(near) == b"bye"
    assert not near.closed


@every_kind
async def test_closing_without_lingering_is_at_once(connect: Connect, kind: str) -> None:
    near, far = await connect(kind)
    far.close(linger=0)
    assert await near.read() == b""
    await pause(0.01)
    assert far.closed


@every_kind
async def test_closing_when_the_peer_has_ended_is_at_once(connect: Connect, kind: str) -> None:
    near, far = await connect(kind)
    near.write_eof()
    assert await far.read() == b""
    far.close()
    await pause(0.01)
    assert far.closed


@every_kind
async def test_a_sink_hears_of_a_close_from_our_side(connect: Connect, kind: str) -> None:
    near, far = await connect(kind)
    basin = Basin(far)
    far.pour(basin)
    far.close(linger=0)
    await basin.until(lambda: basin.events == ["lost"])
    near.write(b"nobody there")
    assert basin.chunks == []


async def test_aborting_resets_the_connection(connect: Connect) -> None:
    near, far = await connect()
    far.write(bytes(16 << 20))
    far.abort()
    far.abort()
    with pytest.raises(ConnectionResetError):
        await read_all(near)
    await far.wait_closed(5)
    with pytest.raises(ConnectionAbortedError):
        await far.read()


@pytest.mark.parametrize("kind", ["tcp", "tls1.3"])
async def test_a_reset_can_come_behind_the_last_byte(connect: Connect, kind: str) -> None:
    near, far = await connect(kind)
    data = os.urandom(8 << 20)
    near.pause_reading()
    far.write(data)
    far.close(reset=True)
    await pause()
    assert not far.closed
    near.resume_reading()
    assert await read_exactly(near, len(data)) == data
    with pytest.raises(ConnectionResetError):
        await near.read()


async def test_with_nothing_unsent_the_reset_is_at_once(connect: Connect) -> None:
    near, far = await connect()
    far.close(reset=True)
    with pytest.raises(ConnectionResetError):
        await near.read()


async def test_a_unix_socket_cannot_be_reset_and_is_closed(connect: Connect) -> None:
    near, far = await connect("unix")
    far.write(b"last")
    far.close(reset=True)
    assert await read_all(near) == b"last"


async def test_a_reset_does_not_wait_for_a_peer_that_reads_nothing(connect: Connect) -> None:
    near, far = await connect()
    near.pause_reading()
    far.write(bytes(16 << 20))
    far.close(linger=0.05, reset=True)
    await pause(0.3)
    assert far.closed


@every_kind
async def test_nothing_can_be_done_with_a_closed_stream_and_nothing_breaks(connect: Connect, kind: str) -> None:
    near, far = await connect(kind)
    near.abort()
    await near.wait_closed(5)
    assert near.closed
    near.write(b"x")
    near.write_eof()
    near.pause_reading()
    near.resume_reading()
    near.close()
    near.abort()
    await near.wait_closed(0)
    with pytest.raises(ConnectionError):
        await near.read()
    with pytest.raises(TlsFailed):
        await near.start_tls(ssl.create_default_context(), server_side=False, server_hostname="localhost")
    with contextlib.suppress(ConnectionError):
        assert await far.read() == b""


@every_kind
async def test_closing_wakes_who_reads(connect: Connect, kind: str) -> None:
    near, _ = await connect(kind)
    reading = asyncio.gather(near.read(), return_exceptions=True)
    await pause(0.01)
    near.close()
    (outcome,) = await reading
    assert isinstance(outcome, ConnectionAbortedError)


@every_kind
async def test_waiting_for_the_end_ends_it_at_the_deadline(connect: Connect, kind: str) -> None:
    near, far = await connect(kind)
    far.close(linger=60)
    await far.wait_closed(0.02)
    assert far.closed
    with contextlib.suppress(ConnectionError):
        assert await read_all(near) == b""


@pytest.mark.parametrize("poured", [False, True])
async def test_a_reset_is_told(connect: Connect, poured: bool) -> None:
    near, far = await connect()
    basin = Basin(far)
    if poured:
        far.pour(basin)
    near.abort()
    if poured:
        await basin.until(lambda: basin.events == ["lost ConnectionResetError"])
    else:
        with pytest.raises(ConnectionResetError):
            await far.read()


async def test_bytes_read_before_a_reset_can_still_be_had(connect: Connect) -> None:
    near, far = await connect()
    near.write(b"before")
    await pause()
    near.abort()
    await far.wait_closed(5)
    assert await far.read() == b"before"
    with pytest.raises(ConnectionResetError):
        await far.read()


@every_kind
@pytest.mark.parametrize("acknowledged", [False, True])
async def test_one_can_wait_until_all_is_sent(connect: Connect, kind: str, acknowledged: bool) -> None:
    near, far = await connect(kind)
    await far.sent(acknowledged=acknowledged)
    near.pause_reading()
    data = os.urandom(16 << 20)
    far.write(data)
    far.close()
    sent = asyncio.gather(far.sent(acknowledged=acknowledged))
    await pause()
    assert not sent.done()
    near.resume_reading()
    assert await read_exactly(near, len(data)) == data
    async with asyncio.timeout(5):
        await sent


@pytest.mark.parametrize("acknowledged", [False, True])
async def test_waiting_until_all_is_sent_ends_with_the_connection(connect: Connect, acknowledged: bool) -> None:
    near, far = await connect()
    near.pause_reading()
    far.write(bytes(16 << 20))
    sent = asyncio.gather(far.sent(acknowledged=acknowledged))
    await pause(0.01)
    near.abort()
    async with asyncio.timeout(5):
        await sent


# Facts


async def test_the_ends_of_a_tcp_connection_are_known(connect: Connect) -> None:
    near, far = await connect("tcp")
    assert near.peer == far.local
    assert near.peer.host == "127.0.0.1"
    assert near.peer.address == f"127.0.0.1:{near.peer.port}"
    assert near.tls is None


async def test_who_is_at_a_unix_socket_is_known(connect: Connect) -> None:
    near, _ = await connect("unix")
    assert (near.peer.uid, near.peer.gid, near.peer.pid) == (os.getuid(), os.getgid(), os.getpid())


async def test_a_connection_that_is_gone_has_unknown_ends(connect: Connect) -> None:
    near, _ = await connect()
    near.abort()
    await near.wait_closed(5)
    assert near.peer is UNKNOWN
    assert near.local is UNKNOWN


async def test_a_connection_that_is_gone_already_is_lost_at_once() -> None:
    near, far = tcp_pair()
    reset(far)
    near.setblocking(False)
    await pause(0.01)
    stream = Stream.adopt(near)
    with pytest.raises(ConnectionResetError):
        await stream.read()
    await stream.wait_closed(5)
    assert near.fileno() == -1
