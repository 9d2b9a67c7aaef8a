"""A transport over real sockets: every byte arrives, in order, once; and the end is told once, whatever it was."""

from __future__ import annotations

import array
import asyncio
import contextlib
import errno
import gc
import itertools
import os
import random
import select
import socket
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from ambassador.net import poller as pollers
from ambassador.net.poller import Poller, poller
from ambassador.net.taker import NOWHERE, Giving, Taker
from ambassador.net.transport import HIGH_WATER, LOW_WATER, MOST, READS, Transport
from tests.support.sockets import reset, tcp_pair

KINDS = ("tcp", "unix")

every_kind = pytest.mark.parametrize("kind", KINDS)

SMALL = 20_000
"""Room that is asked for in a socket where little shall fit; the kernel doubles it."""

SIZES = (1, 2, 16384, MOST - 1, MOST, MOST + 1, 2 * MOST - 1, 2 * MOST, 2 * MOST + 1, 5 * MOST)


class Owner(Taker):
    """Owns a transport and takes what comes; remembers all it was told, in order."""

    def __init__(self) -> None:
        self.words: list[str] = []
        self.chunks: list[bytes] = []
        self.lost: list[Exception | None] = []
        self.faults: list[Exception] = []
        self.unsent: list[int] = []
        self.stays = True
        self.patient = True
        self.on_chunk: Callable[[], None] = lambda: None
        self.transport: Transport

    def take(self, chunk: bytes) -> None:
        assert 1 <= len(chunk) <= MOST
        self.chunks.append(chunk)
        self.words.append("data")
        self.on_chunk()

    def eof_received(self) -> bool:
        self.words.append("eof")
        return self.stays

    def connection_lost(self, error: Exception | None) -> None:
        self.words.append("lost" if error is None else f"lost {type(error).__name__}")
        self.lost.append(error)

    def delivery_failed(self, error: Exception) -> None:
        self.words.append(f"failed {type(error).__name__}")
        self.faults.append(error)

    def is_patient(self) -> bool:
        return self.patient

    def pause_writing(self) -> None:
        self.words.append("pause")
        self.unsent.append(self.transport.unsent)

    def resume_writing(self) -> None:
        self.words.append("resume")
        self.unsent.append(self.transport.unsent)

    @property
    def bytes(self) -> bytes:
        return b"".join(self.chunks)

    @property
    def story(self) -> list[str]:
        """`words`, with a run of chunks told as one."""
        return [word for word, _ in itertools.groupby(self.words)]


Joined = tuple[Owner, Transport, socket.socket]
Join = Callable[..., Joined]


@pytest.fixture
async def join() -> AsyncIterator[Join]:
    """Makes connections: the owner of our end, our end, and the peer's, a socket that does not block."""
    owners: list[Owner] = []
    peers: list[socket.socket] = []

    def make(kind: str = "tcp", *, room: int | None = None, owner: Owner | None = None, most: int = MOST) -> Joined:
        near, far = socket.socketpair() if kind == "unix" else tcp_pair()
        near.setblocking(False)
        far.setblocking(False)
        if room is not None:
            near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, room)
        owner = owner or Owner()
        owners.append(owner)
        peers.append(far)
        owner.transport = Transport(near, owner, owner, most)
        return owner, owner.transport, far

    yield make
    for peer in peers:
        peer.close()
    for owner in owners:
        owner.transport.abort()
    await until(lambda: all(owner.lost for owner in owners))
    await turns(3)
    assert all(len(owner.lost) == 1 for owner in owners), "the end is told once"
    assert pollers._pollers == {}
    for owner in owners:
        del owner.transport  # the two hold each other


async def until(true: Callable[[], object]) -> None:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + 10
    while not true():
        assert loop.time() < deadline, "waited too long"
        await asyncio.sleep(0)


async def turns(count: int = 3) -> None:
    """Let the loop look around: what is in the kernel already is told."""
    for _ in range(count):
        await asyncio.sleep(0)
    await asyncio.sleep(0.002)
    for _ in range(count):
        await asyncio.sleep(0)


async def send(peer: socket.socket, data: bytes, *, piece: int = 1 << 20) -> None:
    view = memoryview(data)
    async with asyncio.timeout(10):
        while view:
            with contextlib.suppress(BlockingIOError):
                view = view[peer.send(view[:piece]) :]
            await asyncio.sleep(0)


async def receive(peer: socket.socket, count: int | None = None) -> bytes:
    """So many bytes, or all to the end."""
    parts = bytearray()
    async with asyncio.timeout(10):
        while count is None or len(parts) < count:
            try:
                part = peer.recv(1 << 20 if count is None else count - len(parts))
            except BlockingIOError:
                await asyncio.sleep(0)
                continue
            if not part:
                assert count is None, "ended early"
                break
            parts += part
    return bytes(parts)


def fill(transport: Transport) -> bytes:
    """Write until something is unsent; returns what was written."""
    written = b""
    while not transport.unsent:
        piece = os.urandom(60_000)
        transport.take(piece)
        written += piece
    return written


def drain_now(peer: socket.socket) -> int:
    """Read what the peer has at this moment."""
    count = 0
    try:
        while part := peer.recv(1 << 20):
            count += len(part)
    except BlockingIOError:
        pass
    return count


def descriptors() -> int:
    """How many this process has."""
    return len(list(Path("/proc/self/fd").iterdir()))


# Reading


@every_kind
@pytest.mark.parametrize("size", SIZES)
async def test_bytes_of_any_number_arrive_in_order(join: Join, kind: str, size: int) -> None:
    owner, _, peer = join(kind)
    data = os.urandom(size)
    await send(peer, data)
    await until(lambda: len(owner.bytes) >= size)
    await turns()
    assert owner.bytes == data
    assert owner.story == ["data"]


@every_kind
@pytest.mark.parametrize("most", [1, 7, 1000])
async def test_no_chunk_is_longer_than_was_asked_for(join: Join, kind: str, most: int) -> None:
    owner, _, peer = join(kind, most=most)
    data = os.urandom(20 * most + 3)
    peer.send(data)
    await until(lambda: len(owner.bytes) >= len(data))
    assert owner.bytes == data
    assert {len(chunk) for chunk in owner.chunks} == {most, 3 % most or most}


@every_kind
async def test_one_that_is_read_by_little_does_not_keep_others_waiting(join: Join, kind: str) -> None:
    slow, _, slow_peer = join(kind, most=1)
    quick, _, quick_peer = join(kind)
    slow_peer.send(bytes(5000))
    await until(lambda: slow.chunks)
    quick_peer.send(b"quick")
    await until(lambda: quick.chunks)
    assert len(slow.chunks) < 5000
    await until(lambda: len(slow.chunks) == 5000)


@every_kind
async def test_who_has_much_is_read_some_times_in_a_row_and_then_waits_for_its_turn(join: Join, kind: str) -> None:
    owner, transport, peer = join(kind, most=100)
    transport.pause_reading()
    peer.send(bytes(1000))
    taken: list[int] = []

    def look() -> None:
        taken.append(len(owner.chunks))
        if len(owner.chunks) < 10:
            asyncio.get_running_loop().call_soon(look)

    transport.resume_reading()
    look()
    await until(lambda: len(owner.chunks) == 10)
    assert sorted({*taken} | {10}) == [0, READS, 2 * READS, 10]


@every_kind
@pytest.mark.parametrize("act", ["pause_reading", "close", "abort"])
async def test_who_wants_no_more_is_not_read_on(join: Join, kind: str, act: str) -> None:
    owner, transport, peer = join(kind, most=100)
    owner.on_chunk = getattr(transport, act)
    peer.send(bytes(1000))
    await until(lambda: owner.chunks)
    await turns()
    assert len(owner.chunks) == 1


async def test_a_reset_between_two_reads_in_a_row_is_no_end(join: Join) -> None:
    owner, transport, peer = join(most=10)

    def fail() -> None:
        reset(peer)
        transport.take(b"unheard")
        transport.take(b"unheard")

    owner.on_chunk = fail
    peer.send(bytes(10))
    await until(lambda: owner.lost)
    assert owner.story == ["data", "lost ConnectionResetError"]


class Fickle(Owner):
    """Changes its mind at every chunk: how much it wants at a time, and whether it wants any."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.rng = random.Random(seed)
        self.most = MOST
        self.quiet = False

    def take(self, chunk: bytes) -> None:
        assert not self.quiet, "told while it wanted nothing"
        assert 1 <= len(chunk) <= self.most
        self.chunks.append(chunk)
        loop = asyncio.get_running_loop()
        for _ in range(self.rng.randrange(3)):
            self.rng.choice((self.change, self.change, self.pause, self.resume))()
        if self.is_quiet():
            match self.rng.randrange(4):
                case 0:
                    self.resume()
                case 1:
                    loop.call_soon(self.resume)
                case 2:
                    loop.call_soon(loop.call_soon, self.blink)
                case _:
                    loop.call_later(0.0005, self.resume)

    def is_quiet(self) -> bool:
        return self.quiet

    def change(self) -> None:
        self.most = self.transport.most = self.rng.choice((3, 100, 1000, 4096, 16384, MOST - 1, MOST, MOST))

    def pause(self) -> None:
        self.quiet = True
        self.transport.pause_reading()

    def resume(self) -> None:
        self.quiet = False
        self.transport.resume_reading()

    def blink(self) -> None:
        """Change the mind twice in one turn, with nothing read in between."""
        self.change()
        self.resume()
        self.pause()
        self.change()
        self.resume()


@every_kind
@pytest.mark.parametrize("seed", range(5))
async def test_whatever_the_taker_does_all_bytes_arrive(join: Join, kind: str, seed: int) -> None:
    """A socket that is told of by edges stalls for ever when one is forgotten."""
    owner = Fickle(seed)
    _, _, peer = join(kind, owner=owner)
    rng = random.Random(seed + 1000)
    data = os.urandom(3 << 20)
    at = 0
    while at < len(data):
        piece = data[at : at + rng.choice((1, 10, 5000, MOST, MOST + 1, 200_000))]
        await send(peer, piece)
        at += len(piece)
        if rng.random() < 0.1:
            await asyncio.sleep(0.0005)
    peer.shutdown(socket.SHUT_WR)
    await until(lambda: owner.words)
    assert owner.bytes == data
    assert owner.words == ["eof"]


@every_kind
async def test_the_taker_can_be_changed_between_two_chunks(join: Join, kind: str) -> None:
    owner, transport, peer = join(kind, most=4)
    rest: list[bytes] = []

    def change() -> None:
        transport.taker = Giving(rest.append)
        transport.most = 3

    owner.on_chunk = change
    peer.send(b"abcdefghij")
    await until(lambda: len(rest) == 2)
    assert owner.chunks == [b"abcd"]
    assert rest == [b"efg", b"hij"]


# Pausing


@every_kind
async def test_nothing_is_read_while_reading_is_paused_and_all_is_told_on_resuming(join: Join, kind: str) -> None:
    owner, transport, peer = join(kind)
    peer.send(b"before ")
    transport.pause_reading()
    await turns()
    assert owner.chunks == []
    peer.send(b"meanwhile")
    await turns()
    assert owner.chunks == []
    transport.resume_reading()
    await until(lambda: owner.chunks)
    assert owner.bytes == b"before meanwhile"


@every_kind
async def test_pausing_from_within_the_taker_holds_for_the_rest_of_what_is_there(join: Join, kind: str) -> None:
    owner, transport, peer = join(kind, most=10)
    owner.on_chunk = transport.pause_reading
    data = os.urandom(35)
    peer.send(data)
    for count in (10, 20, 30, 35):
        await until(lambda count=count: len(owner.bytes) >= count)  # type: ignore[misc]
        await turns()
        assert len(owner.bytes) == count
        transport.resume_reading()
    assert owner.bytes == data


@every_kind
async def test_pausing_and_resuming_twice_changes_nothing(join: Join, kind: str) -> None:
    owner, transport, peer = join(kind)
    for _ in range(2):
        transport.resume_reading()
    for _ in range(2):
        transport.pause_reading()
    peer.send(b"data")
    await turns()
    assert owner.chunks == []
    for _ in range(2):
        transport.resume_reading()
    await until(lambda: owner.chunks == [b"data"])


@every_kind
async def test_reading_goes_on_while_something_is_unsent_and_stops_when_paused(join: Join, kind: str) -> None:
    owner, transport, peer = join(kind)
    written = fill(transport)
    peer.send(b"one")
    await until(lambda: owner.chunks == [b"one"])
    transport.pause_reading()
    peer.send(b"two")
    await turns()
    assert owner.chunks == [b"one"]
    assert await receive(peer, len(written)) == written
    await turns()
    assert owner.chunks == [b"one"]
    transport.resume_reading()
    await until(lambda: owner.chunks == [b"one", b"two"])


# The peer's end


@pytest.mark.parametrize("most", [4, 5, MOST])
@every_kind
async def test_an_end_right_behind_data_is_told_behind_it(join: Join, kind: str, most: int) -> None:
    owner, _, peer = join(kind, most=most)
    if kind == "tcp":
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)  # so that both go in one segment
    peer.send(b"last words")
    peer.shutdown(socket.SHUT_WR)
    await until(lambda: "eof" in owner.words)
    await turns()
    assert owner.bytes == b"last words"
    assert owner.story == ["data", "eof"]


@every_kind
@pytest.mark.parametrize("data", [b"", b"last words"])
async def test_an_end_that_comes_while_reading_is_paused_is_not_lost(join: Join, kind: str, data: bytes) -> None:
    owner, transport, peer = join(kind)
    transport.pause_reading()
    await turns()
    if data:
        peer.send(data)
    peer.shutdown(socket.SHUT_WR)
    await turns()
    assert owner.words == []
    transport.resume_reading()
    await until(lambda: "eof" in owner.words)
    assert owner.bytes == data


@every_kind
async def test_after_the_peer_s_end_one_can_still_write(join: Join, kind: str) -> None:
    owner, transport, peer = join(kind)
    peer.shutdown(socket.SHUT_WR)
    await until(lambda: owner.words == ["eof"])
    written = fill(transport)
    transport.take(b"the end")
    transport.write_eof()
    assert await receive(peer) == written + b"the end"
    transport.pause_reading()
    transport.resume_reading()
    await turns()
    assert owner.words.count("eof") == 1
    assert owner.lost == []


@every_kind
async def test_an_owner_that_does_not_stay_is_closed_by_the_peer_s_end(join: Join, kind: str) -> None:
    owner, transport, peer = join(kind)
    owner.stays = False
    written = fill(transport)
    peer.send(b"bye")
    peer.shutdown(socket.SHUT_WR)
    await until(lambda: "eof" in owner.words)
    await turns()
    assert owner.lost == [], "what is unsent comes first"
    assert await receive(peer) == written
    await until(lambda: owner.lost)
    assert owner.bytes == b"bye"
    assert owner.lost == [None]


@every_kind
async def test_with_both_sides_ended_the_transport_stays_until_it_is_closed(join: Join, kind: str) -> None:
    owner, transport, peer = join(kind)
    transport.write_eof()
    peer.shutdown(socket.SHUT_WR)
    await until(lambda: owner.words == ["eof"])
    await turns()
    assert owner.lost == []
    transport.close()
    await until(lambda: owner.lost == [None])


# Resets


@pytest.mark.parametrize("most", [4, 5, MOST])
async def test_a_reset_is_told_behind_the_data_that_came_before_it(join: Join, most: int) -> None:
    owner, _, peer = join(most=most)
    peer.send(b"last words")
    reset(peer)
    await until(lambda: owner.lost)
    assert owner.bytes == b"last words"
    assert owner.story == ["data", "lost ConnectionResetError"]


async def test_a_reset_by_itself_is_told(join: Join) -> None:
    owner, _, peer = join()
    await turns()
    reset(peer)
    await until(lambda: owner.lost)
    assert owner.words == ["lost ConnectionResetError"]


@pytest.mark.parametrize("data", [b"", b"last words"])
async def test_a_reset_that_comes_while_nothing_is_watched_is_seen_on_resuming(join: Join, data: bytes) -> None:
    owner, transport, peer = join()
    transport.pause_reading()
    await turns()
    if data:
        peer.send(data)
    reset(peer)
    await turns()
    assert owner.words == []
    transport.resume_reading()
    await until(lambda: owner.lost)
    assert owner.bytes == data
    assert owner.words[-1] == "lost ConnectionResetError"
    assert "eof" not in owner.words


async def test_who_is_not_patient_is_told_of_a_reset_though_nothing_is_read(join: Join) -> None:
    owner, transport, peer = join()
    transport.pause_reading()
    owner.patient = False
    peer.send(b"never heard")
    await asyncio.sleep(0.01)
    assert owner.words == []
    reset(peer)
    await until(lambda: bool(owner.lost))
    assert owner.words == ["lost ConnectionResetError"]


async def test_a_reset_behind_the_end_is_told(join: Join) -> None:
    owner, _, peer = join()
    peer.shutdown(socket.SHUT_WR)
    await until(lambda: owner.words == ["eof"])
    reset(peer)
    await until(lambda: bool(owner.lost))
    assert owner.words == ["eof", "lost BrokenPipeError"]  # as the kernel calls it behind an end


async def test_a_unix_peer_that_leaves_what_it_was_sent_unread_resets(join: Join) -> None:
    owner, transport, peer = join("unix")
    transport.take(b"unread")
    peer.send(b"last words")
    peer.close()
    await until(lambda: owner.lost)
    assert owner.bytes == b"last words"
    assert owner.story == ["data", "lost ConnectionResetError"]


async def test_the_socket_is_open_until_the_end_is_told_and_closed_then(join: Join) -> None:
    owner, transport, peer = join()
    number = transport.fd
    transport.abort()
    os.fstat(number)
    assert owner.lost == []
    await until(lambda: owner.lost)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(number)
    peer.close()


# Urgent data, passed descriptors


@every_kind
@pytest.mark.parametrize("paused", [False, True])
async def test_urgent_data_does_not_keep_back_what_follows_it(join: Join, kind: str, paused: bool) -> None:
    owner, transport, peer = join(kind)
    if paused:
        transport.pause_reading()
    await turns()
    peer.send(b"before ")
    peer.send(b"!", socket.MSG_OOB)
    peer.send(b"behind")
    await turns()
    transport.resume_reading()
    await until(lambda: len(owner.bytes) >= 13)
    await turns()
    assert owner.bytes == b"before behind"
    peer.send(b"!", socket.MSG_OOB)
    await turns()
    peer.send(b" and more")
    await until(lambda: len(owner.bytes) >= 22)
    assert owner.bytes == b"before behind and more"
    assert owner.story == ["data"]


@every_kind
async def test_much_urgent_data_between_much_data_does_not_stall(join: Join, kind: str) -> None:
    owner = Fickle(7)
    _, _, peer = join(kind, owner=owner)
    data = os.urandom(100_000)
    for at in range(0, len(data), 1000):
        await send(peer, data[at : at + 1000])
        try:
            peer.send(b"!", socket.MSG_OOB)
        except BlockingIOError:
            continue
        if at % 7000 == 0:
            await asyncio.sleep(0)
    peer.shutdown(socket.SHUT_WR)
    await until(lambda: owner.words)
    # Only the last urgent byte is out of line: one that a newer one overtakes becomes a byte like any other.
    assert len(data) <= len(owner.bytes) <= len(data) + 100


@every_kind
async def test_urgent_data_alone_does_not_make_the_loop_spin(kind: str) -> None:
    looks: list[int] = []

    class Counting(Transport):
        def receive(self, most: int) -> bytes | None:
            looks.append(most)
            return super().receive(most)

    near, far = socket.socketpair() if kind == "unix" else tcp_pair()
    near.setblocking(False)
    other = Owner()
    other.transport = Counting(near, other, other)
    with far:
        far.send(b"!", socket.MSG_OOB)
        await asyncio.sleep(0.05)
        assert len(looks) <= 3
        far.send(b"behind")
        await until(lambda: other.chunks)
        assert other.bytes.endswith(b"behind")
        other.transport.abort()
        await until(lambda: other.lost)
    del other.transport


@pytest.mark.parametrize("most", [3, MOST])
async def test_bytes_around_passed_descriptors_arrive_and_the_descriptors_do_not(join: Join, most: int) -> None:
    """The kernel ends a read where descriptors were passed, though more bytes lie behind (unix(7))."""
    owner, transport, peer = join("unix", most=most)
    transport.pause_reading()
    pipe = os.pipe()
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", pipe))]
    sent = b""
    for at in range(20):
        piece = b"%03d" % at
        if at % 3:
            peer.send(piece)
        else:
            peer.sendmsg([piece], rights)
        sent += piece
    before = descriptors()
    transport.resume_reading()
    await until(lambda: len(owner.bytes) >= len(sent))
    assert owner.bytes == sent
    assert descriptors() == before
    for fd in pipe:
        os.close(fd)


# Writing


@every_kind
async def test_what_can_go_at_once_goes_at_once(join: Join, kind: str) -> None:
    _, transport, peer = join(kind)
    transport.take(b"at once")
    assert transport.unsent == 0
    peer.setblocking(True)
    peer.settimeout(5)
    assert peer.recv(100) == b"at once"
    peer.setblocking(False)


@every_kind
async def test_what_cannot_go_at_once_goes_in_order(join: Join, kind: str) -> None:
    owner, transport, peer = join(kind, room=SMALL)
    data = os.urandom(1 << 20)
    for at in range(0, len(data), 50_000):
        transport.take(data[at : at + 50_000])
    assert 0 < transport.unsent < len(data)
    assert await receive(peer, len(data)) == data
    await until(lambda: not transport.unsent)
    transport.take(b"direct again")
    assert transport.unsent == 0
    assert await receive(peer, 12) == b"direct again"
    assert owner.lost == []


@every_kind
@pytest.mark.parametrize("count", [63, 64, 65, 500])
async def test_many_small_pieces_behind_a_full_socket_go_in_order(join: Join, kind: str, count: int) -> None:
    _, transport, peer = join(kind, room=SMALL)
    rng = random.Random(count)
    written = fill(transport)
    for _ in range(count):
        piece = rng.randbytes(rng.choice((1, 2, 100, 3000)))
        before = transport.unsent
        transport.take(piece)
        assert transport.unsent == before + len(piece)
        written += piece
    assert await receive(peer, len(written)) == written
    await until(lambda: not transport.unsent)


@every_kind
@pytest.mark.parametrize("seed", range(3))
async def test_bytes_written_at_odd_moments_arrive_in_order(join: Join, kind: str, seed: int) -> None:
    owner, transport, peer = join(kind, room=SMALL)
    rng = random.Random(seed)
    data = rng.randbytes(1 << 20)
    receiving = asyncio.gather(receive(peer, len(data)))
    at = 0
    while at < len(data):
        size = rng.choice((1, 10, 1000, 10_000, 100_000))
        transport.take(data[at : at + size])
        at += size
        if transport.unsent > 100_000 or rng.random() < 0.3:
            await asyncio.sleep(0)
    assert (await receiving)[0] == data
    await until(lambda: not transport.unsent)
    story = [word for word in owner.words if word in {"pause", "resume"}]
    assert story == ["pause", "resume"] * (len(story) // 2)


async def test_both_directions_can_be_full_at_once(join: Join) -> None:
    owner, transport, peer = join()
    there, back = os.urandom(8 << 20), os.urandom(8 << 20)
    transport.take(there)
    assert transport.unsent
    got, _ = await asyncio.gather(receive(peer, len(there)), send(peer, back))
    await until(lambda: len(owner.bytes) >= len(back))
    assert got == there
    assert owner.bytes == back


async def test_an_echo_from_within_the_taker_loses_nothing(join: Join) -> None:
    owner, transport, peer = join()
    transport.taker = transport
    data = os.urandom(4 << 20)
    got, _ = await asyncio.gather(receive(peer, len(data)), send(peer, data))
    assert got == data
    assert owner.chunks == []


@every_kind
async def test_the_owner_is_told_once_that_too_much_is_unsent_and_once_that_most_has_left(
    join: Join, kind: str
) -> None:
    owner, transport, peer = join(kind, room=SMALL)
    written = b""
    while transport.unsent <= HIGH_WATER:
        assert owner.words == []
        transport.take(bytes(10_000))
        written += bytes(10_000)
    assert owner.words == ["pause"]
    assert owner.unsent[0] > HIGH_WATER
    for _ in range(10):
        transport.take(bytes(10_000))
        written += bytes(10_000)
    assert owner.words == ["pause"]
    left = len(written)
    while transport.unsent > LOW_WATER:
        assert owner.words == ["pause"]
        left -= drain_now(peer)
        await asyncio.sleep(0)
    assert owner.words == ["pause", "resume"]
    assert owner.unsent[1] <= LOW_WATER
    await receive(peer, left)
    await until(lambda: not transport.unsent)
    assert owner.words == ["pause", "resume"]
    assert left >= 0


@every_kind
async def test_as_much_as_the_high_water_mark_is_not_too_much(join: Join, kind: str) -> None:
    owner, transport, _ = join(kind, room=SMALL)
    fill(transport)
    assert transport.unsent < HIGH_WATER, "one piece at the most"
    transport.take(bytes(HIGH_WATER - transport.unsent))
    assert owner.words == []
    transport.take(b"x")
    assert owner.words == ["pause"]


@every_kind
async def test_an_owner_may_close_when_told_that_too_much_is_unsent(join: Join, kind: str) -> None:
    owner, transport, peer = join(kind)
    owner.pause_writing = transport.abort  # type: ignore[method-assign]
    transport.take(bytes(16 << 20))
    assert transport.unsent == 0
    await until(lambda: owner.lost == [None])
    drain = peer.recv(1 << 20)
    assert drain


# Our end


@every_kind
async def test_our_end_comes_behind_the_last_byte_and_reading_goes_on(join: Join, kind: str) -> None:
    owner, transport, peer = join(kind, room=SMALL)
    data = os.urandom(500_000)
    transport.take(data)
    assert transport.unsent
    transport.write_eof()
    transport.take(b"too late")
    transport.write_eof()
    assert await receive(peer) == data
    peer.send(b"answer")
    await until(lambda: owner.chunks == [b"answer"])
    transport.take(b"too late")
    assert transport.unsent == 0
    await turns()
    assert owner.lost == []
    assert "resume" in owner.words, "who waits for room is let go all the same"


@every_kind
async def test_with_nothing_unsent_our_end_is_at_once(join: Join, kind: str) -> None:
    _, transport, peer = join(kind)
    transport.take(b"all")
    transport.write_eof()
    peer.setblocking(True)
    peer.settimeout(5)
    assert [peer.recv(10), peer.recv(10)] == [b"all", b""]


async def test_our_end_after_a_reset_is_no_trouble(join: Join) -> None:
    owner, transport, peer = join()
    transport.pause_reading()
    reset(peer)
    await turns()
    transport.write_eof()
    await turns()
    assert owner.words == []
    transport.resume_reading()
    await until(lambda: owner.lost)


# Closing


@every_kind
async def test_closing_sends_what_is_unsent_first(join: Join, kind: str) -> None:
    owner, transport, peer = join(kind, room=SMALL)
    data = os.urandom(500_000)
    transport.take(data)
    transport.close()
    transport.close()
    transport.take(b"too late")
    transport.write_eof()
    await turns()
    assert owner.lost == []
    assert transport.unsent
    assert await receive(peer) == data
    await until(lambda: owner.lost == [None])


@every_kind
async def test_closing_after_our_end_sends_what_is_unsent_first(join: Join, kind: str) -> None:
    owner, transport, peer = join(kind, room=SMALL)
    data = os.urandom(500_000)
    transport.take(data)
    transport.write_eof()
    transport.close()
    assert await receive(peer) == data
    await until(lambda: owner.lost == [None])


@every_kind
async def test_with_nothing_unsent_closing_is_at_once_but_told_later(join: Join, kind: str) -> None:
    owner, transport, peer = join(kind)
    transport.close()
    assert owner.lost == []
    await asyncio.sleep(0)
    assert owner.lost == [None]
    assert await receive(peer) == b""


@every_kind
@pytest.mark.parametrize("queued", [False, True])
async def test_nothing_more_is_read_once_closed(join: Join, kind: str, queued: bool) -> None:
    owner, transport, peer = join(kind)
    if queued:
        fill(transport)
    peer.send(b"unheard")
    transport.close()
    transport.resume_reading()
    await turns()
    assert owner.chunks == []
    assert owner.lost == ([] if queued else [None])
    transport.abort()
    await until(lambda: owner.lost)
    assert owner.chunks == []


@every_kind
async def test_closing_from_within_the_taker_drops_what_is_still_there(join: Join, kind: str) -> None:
    owner, transport, peer = join(kind, most=2)
    owner.on_chunk = transport.close
    peer.send(b"abcdef")
    await until(lambda: owner.lost)
    assert owner.words == ["data", "lost"]


@every_kind
async def test_aborting_drops_what_is_unsent(join: Join, kind: str) -> None:
    owner, transport, peer = join(kind)
    written = fill(transport)
    transport.abort()
    assert transport.unsent == 0
    transport.abort()
    transport.close()
    transport.take(b"too late")
    transport.write_eof()
    transport.pause_reading()
    transport.resume_reading()
    await asyncio.sleep(0)
    assert owner.lost == [None]
    got = await receive(peer)
    assert written.startswith(got)
    assert len(got) < len(written)


@every_kind
async def test_nothing_can_be_done_after_the_end_and_nothing_breaks(join: Join, kind: str) -> None:
    owner, transport, peer = join(kind)
    transport.close()
    await until(lambda: owner.lost)
    for act in (
        transport.close,
        transport.abort,
        transport.write_eof,
        transport.pause_reading,
        transport.resume_reading,
        lambda: transport.take(b"x"),
        lambda: transport.ready(select.EPOLLIN | select.EPOLLOUT | select.EPOLLHUP),
    ):
        act()
    await turns()
    assert owner.words == ["lost"]
    assert transport.unsent == 0
    assert await receive(peer) == b""


# Broken writing


@pytest.mark.parametrize("most", [4, 5, MOST])
async def test_when_writing_fails_what_came_before_the_reset_is_still_heard(join: Join, most: int) -> None:
    owner, transport, peer = join(most=most)
    await turns()
    peer.send(b"last words")
    reset(peer)
    transport.take(b"unheard")
    transport.take(b"unheard")
    assert owner.words == [], "not from within the call"
    assert transport.unsent == 0
    await until(lambda: owner.lost)
    assert owner.bytes == b"last words"
    assert owner.story == ["data", "lost ConnectionResetError"], "a reset is no end"


async def test_when_writing_fails_an_end_that_came_before_the_reset_is_still_heard(join: Join) -> None:
    owner, transport, peer = join()
    transport.pause_reading()
    transport.take(b"unheard")
    peer.recv(100)
    peer.send(b"last words")
    peer.close()
    transport.take(b"provokes a reset")
    transport.resume_reading()
    transport.take(b"unheard")
    await until(lambda: owner.lost)
    assert owner.bytes == b"last words"
    assert owner.story == ["data", "eof", "lost BrokenPipeError"]


async def test_when_writing_to_a_unix_socket_fails_the_peer_s_last_words_are_still_heard(join: Join) -> None:
    owner, transport, peer = join("unix", most=4)
    peer.send(b"last words")
    peer.close()
    transport.take(b"unheard")
    await until(lambda: owner.lost)
    assert owner.bytes == b"last words"
    assert owner.story == ["data", "eof", "lost BrokenPipeError"]


@every_kind
@pytest.mark.parametrize("closing", ["open", "write_eof", "close"])
async def test_a_failure_with_much_unsent_is_told_once(join: Join, kind: str, closing: str) -> None:
    owner, transport, peer = join(kind)
    fill(transport)
    if closing != "open":
        getattr(transport, closing)()
    peer.send(b"last words")
    reset(peer)
    await until(lambda: owner.lost)
    assert owner.bytes == (b"" if closing == "close" else b"last words")
    assert isinstance(owner.lost[0], ConnectionError)
    assert transport.unsent == 0
    assert "resume" not in owner.words


@every_kind
@pytest.mark.parametrize("queued", [False, True])
async def test_a_failure_while_reading_is_paused_is_told(join: Join, kind: str, queued: bool) -> None:
    owner, transport, peer = join(kind)
    transport.pause_reading()
    if queued:
        fill(transport)
    peer.send(b"unheard")
    reset(peer)
    if not queued:
        transport.take(b"x")
    await until(lambda: owner.lost)
    assert isinstance(owner.lost[0], ConnectionError)
    assert [word for word in owner.words if word != "pause"] == [f"lost {type(owner.lost[0]).__name__}"]


async def test_pausing_within_the_last_words_ends_them(join: Join) -> None:
    owner, transport, peer = join(most=4)
    owner.on_chunk = transport.pause_reading
    peer.send(b"last words")
    reset(peer)
    transport.take(b"x")
    await until(lambda: owner.lost)
    assert owner.words == ["data", "lost ConnectionResetError"]
    assert owner.bytes == b"last"


@pytest.mark.parametrize("act", ["abort", "close"])
async def test_ending_within_the_last_words_is_an_end_of_ours(join: Join, act: str) -> None:
    owner, transport, peer = join(most=4)
    owner.on_chunk = getattr(transport, act)
    peer.send(b"last words")
    reset(peer)
    transport.take(b"x")
    await until(lambda: owner.lost)
    await turns()
    assert owner.words == ["data", "lost"]


async def test_aborting_between_a_failure_and_the_last_words_drops_them(join: Join) -> None:
    owner, transport, peer = join()
    peer.send(b"last words")
    reset(peer)
    transport.take(b"x")
    transport.abort()
    await turns()
    assert owner.words == ["lost"]


async def test_a_taker_that_raises_at_the_last_words_is_told_of_before_the_end(join: Join) -> None:
    owner, transport, peer = join()

    def fault(chunk: bytes) -> None:
        raise ZeroDivisionError

    transport.taker = Giving(fault)
    peer.send(b"last words")
    reset(peer)
    transport.take(b"x")
    await until(lambda: owner.lost)
    assert owner.words == ["failed ZeroDivisionError", "lost ConnectionResetError"]


# Faults of ours


@every_kind
async def test_a_taker_that_raises_is_told_of_and_others_go_on(join: Join, kind: str) -> None:
    one, transport, one_peer = join(kind)
    other, _, other_peer = join(kind)

    def fault(chunk: bytes) -> None:
        raise ZeroDivisionError(chunk)

    transport.taker = Giving(fault)
    one_peer.send(b"one")
    other_peer.send(b"other")
    await until(lambda: one.faults and other.chunks)
    assert one.words == ["failed ZeroDivisionError"]
    assert one.faults[0].args == (b"one",)
    assert other.bytes == b"other"
    assert one.lost == [], "what is to be done about it is the owner's to say"
    transport.taker = one
    one_peer.send(b"again")
    await until(lambda: one.bytes == b"again")


@every_kind
async def test_a_taker_that_raises_at_one_chunk_is_given_the_next(join: Join, kind: str) -> None:
    owner, _, peer = join(kind, most=4)

    def fault() -> None:
        if len(owner.chunks) < 3:
            raise ZeroDivisionError

    owner.on_chunk = fault
    peer.send(b"abcdefghij")
    peer.shutdown(socket.SHUT_WR)
    await until(lambda: "eof" in owner.words)
    assert owner.chunks == [b"abcd", b"efgh", b"ij"]
    assert len(owner.faults) == 2
    assert owner.words[-1] == "eof"


@every_kind
async def test_a_taker_that_ends_it_and_raises_is_told_of_before_the_end(join: Join, kind: str) -> None:
    owner, transport, peer = join(kind)

    def fault() -> None:
        transport.abort()
        raise ZeroDivisionError

    owner.on_chunk = fault
    peer.send(b"data")
    await until(lambda: owner.lost)
    assert owner.words == ["data", "failed ZeroDivisionError", "lost"]


@every_kind
async def test_an_owner_that_raises_at_the_peer_s_end_is_told_of(join: Join, kind: str) -> None:
    owner, _, peer = join(kind)

    def fault() -> bool:
        raise ZeroDivisionError

    owner.eof_received = fault  # type: ignore[method-assign]
    peer.shutdown(socket.SHUT_WR)
    await until(lambda: owner.faults)
    await turns()
    assert owner.words == ["failed ZeroDivisionError"]


@every_kind
async def test_an_owner_that_raises_when_most_has_left_is_told_of(join: Join, kind: str) -> None:
    owner, transport, peer = join(kind)

    def fault() -> None:
        raise ZeroDivisionError

    owner.resume_writing = fault  # type: ignore[method-assign]
    transport.take(bytes(16 << 20))
    await receive(peer, 16 << 20)
    await until(lambda: owner.faults)
    assert owner.words == ["pause", "failed ZeroDivisionError"]


# The end is told once

ACTS = ("abort", "close", "write_eof", "break", "eof")


@pytest.mark.parametrize("queued", [False, True])
@pytest.mark.parametrize("spread", [False, True])
async def test_whatever_comes_together_the_end_is_told_once(join: Join, queued: bool, spread: bool) -> None:
    for order in itertools.permutations(ACTS, 4):
        owner, transport, peer = join(room=SMALL)
        if queued:
            fill(transport)
        for act in order:
            if act == "break":
                reset(peer)
                transport.take(b"x")
            elif act == "eof":
                if peer.fileno() >= 0:
                    with contextlib.suppress(OSError):  # we may have gone before
                        peer.send(b"last words")
                        peer.shutdown(socket.SHUT_WR)
            else:
                getattr(transport, act)()
            if spread:
                await asyncio.sleep(0)
        await until(lambda owner=owner: owner.lost)  # type: ignore[misc]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert len(owner.lost) == 1, order
        assert owner.words[-1].startswith("lost"), order
        assert owner.faults == [], order


# Nothing is held


class Holder:
    """An owner that holds its transport, as a stream does; not its taker."""

    def __init__(self, sock: socket.socket) -> None:
        self.lost = False
        self.transport = Transport(sock, self, NOWHERE)

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self.lost = True

    def delivery_failed(self, error: Exception) -> None:
        raise AssertionError from error

    def is_patient(self) -> bool:
        return True

    def pause_writing(self) -> None:
        pass

    def resume_writing(self) -> None:
        pass


async def end_by_abort(holder: Holder, peer: socket.socket) -> None:
    holder.transport.abort()


async def end_by_eof(holder: Holder, peer: socket.socket) -> None:
    peer.send(b"data")
    peer.shutdown(socket.SHUT_WR)


async def end_by_reset(holder: Holder, peer: socket.socket) -> None:
    reset(peer)


async def end_by_failure(holder: Holder, peer: socket.socket) -> None:
    reset(peer)
    holder.transport.take(b"x")


async def end_with_much_unsent(holder: Holder, peer: socket.socket) -> None:
    fill(holder.transport)
    holder.transport.close()
    await receive(peer)


@pytest.mark.parametrize("end", [end_by_abort, end_by_eof, end_by_reset, end_by_failure, end_with_much_unsent])
async def test_an_owner_is_freed_without_the_collector_once_the_end_was_told(
    end: Callable[[Holder, socket.socket], Awaitable[None]],
) -> None:
    near, far = tcp_pair()
    near.setblocking(False)
    far.setblocking(False)
    holders = [Holder(near)]
    seen = weakref.ref(holders[0])
    gc.disable()
    try:
        with far:
            await end(holders[0], far)
            await until(lambda: holders[0].lost)
            holders.clear()
            await turns()
            assert seen() is None
    finally:
        gc.enable()


# What cannot be watched


async def test_a_socket_that_was_closed_is_refused() -> None:
    near, far = socket.socketpair()
    far.close()
    near.close()
    with pytest.raises(OSError, match="Bad file descriptor") as raised:
        Transport(near, Owner(), NOWHERE)
    assert raised.value.errno == errno.EBADF
    assert pollers._pollers == {}


async def test_a_refused_socket_harms_no_other_transport(join: Join) -> None:
    owner, transport, peer = join()
    near, far = socket.socketpair()
    far.close()
    near.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        Transport(near, Owner(), NOWHERE)
    transport.take(b"ping")
    assert await receive(peer, 4) == b"ping"
    peer.send(b"pong")
    await until(lambda: owner.chunks == [b"pong"])


class Refusing(Poller):
    """A poller of a kernel whose limit of watches is reached (epoll_ctl(2)); the last member closes it as any other."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self.refuses = False

    def watch(self, fd: int, before: int, now: int) -> None:
        if self.refuses and now:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        super().watch(fd, before, now)


@pytest.fixture
async def refusing(monkeypatch: pytest.MonkeyPatch) -> Refusing:
    """The running loop's poller in this test."""
    loop = asyncio.get_running_loop()
    made = Refusing(loop)
    monkeypatch.setitem(pollers._pollers, loop, made)
    assert poller() is made
    return made


async def test_a_socket_that_cannot_be_watched_is_lost_in_the_next_turn(refusing: Refusing, join: Join) -> None:
    refusing.refuses = True
    owner, transport, peer = join()
    assert owner.words == []
    transport.take(b"unheard")
    await asyncio.sleep(0)
    assert owner.words == ["lost OSError"]
    assert isinstance(owner.lost[0], OSError)
    assert owner.lost[0].errno == errno.ENOSPC
    assert await receive(peer) == b""


async def test_one_that_can_be_watched_no_longer_is_lost(refusing: Refusing, join: Join) -> None:
    owner, transport, _ = join()
    transport.pause_reading()
    await turns()
    refusing.refuses = True
    transport.resume_reading()
    await until(lambda: owner.lost)
    assert owner.words == ["lost OSError"]


async def test_one_that_cannot_be_watched_for_room_is_lost(refusing: Refusing, join: Join) -> None:
    owner, transport, _ = join()
    refusing.refuses = True
    transport.take(bytes(16 << 20))
    assert transport.unsent == 0
    refusing.refuses = False
    await until(lambda: owner.lost)
    assert owner.words == ["lost OSError"]
