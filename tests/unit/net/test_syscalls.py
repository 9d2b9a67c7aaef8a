"""What the hot path asks of the kernel; the compiled module and its pure twin answer alike."""

from __future__ import annotations

import errno
import os
import select
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from ambassador.net.syscalls import BATCH, Descriptor, Epoll
from ambassador.net.taker import Taker
from tests.support.sockets import reset, tcp_pair

Pair = tuple[socket.socket, socket.socket]
MakePair = Callable[[], Pair]

IN, OUT, HUP = select.EPOLLIN, select.EPOLLOUT, select.EPOLLHUP


@pytest.fixture(params=["tcp", "unix"])
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    """Two connected sockets that do not block."""
    ends = tcp_pair() if request.param == "tcp" else socket.socketpair()
    with ends[0], ends[1]:
        for end in ends:
            end.setblocking(False)
        yield ends


@pytest.fixture
def tcp() -> Iterator[Pair]:
    """The same, TCP only: what can be reset."""
    ends = tcp_pair()
    with ends[0], ends[1]:
        for end in ends:
            end.setblocking(False)
        yield ends


@pytest.fixture
def epoll() -> Iterator[Epoll]:
    made = Epoll()
    yield made
    made.close()


@pytest.fixture
def counter() -> Iterator[Callable[[], int]]:
    """Makes descriptors that can be read at once, and for ever."""
    with ExitStack() as stack:

        def make() -> int:
            made = os.eventfd(1, os.EFD_NONBLOCK)
            stack.callback(os.close, made)
            return made

        yield make


def settled(fd: int, events: int) -> None:
    """Wait for the kernel, which delivers on this machine at once, but owes us no promise."""
    with select.epoll() as kernel:
        kernel.register(fd, events)
        assert kernel.poll(5)


def happened(epoll: Epoll) -> dict[int, int]:
    return {epoll.which(index): epoll.what(index) for index in range(epoll.wait())}


def fill(descriptor: Descriptor) -> int:
    """Send until no more goes."""
    count = 0
    while sent := descriptor.send(bytes(65536)):
        count += sent
    return count


# Receiving


def test_what_has_come_is_received(pair: Pair) -> None:
    near, far = pair
    far.send(b"hello")
    settled(near.fileno(), IN)
    assert Descriptor(near.fileno()).receive(65536) == b"hello"


def test_no_more_is_received_than_was_asked_for(pair: Pair) -> None:
    near, far = pair
    far.send(b"hello")
    settled(near.fileno(), IN)
    descriptor = Descriptor(near.fileno())
    assert [descriptor.receive(most) for most in (1, 2, 2, 1)] == [b"h", b"el", b"lo", None]


def test_as_much_as_there_is_room_for_is_received_at_once(pair: Pair) -> None:
    near, far = pair
    data = os.urandom(65536)
    sent = far.send(data)
    assert sent == len(data)
    settled(near.fileno(), IN)
    assert Descriptor(near.fileno()).receive(65536) == data


def test_nothing_is_received_while_nothing_has_come(pair: Pair) -> None:
    assert Descriptor(pair[0].fileno()).receive(65536) is None


def test_nothing_is_no_end(pair: Pair) -> None:
    near, far = pair
    descriptor = Descriptor(near.fileno())
    assert descriptor.receive(10) is None
    far.send(b"late")
    settled(near.fileno(), IN)
    assert descriptor.receive(10) == b"late"


def test_the_end_is_received_behind_the_last_byte_and_again(pair: Pair) -> None:
    near, far = pair
    far.send(b"last")
    far.shutdown(socket.SHUT_WR)
    settled(near.fileno(), select.EPOLLRDHUP)
    descriptor = Descriptor(near.fileno())
    assert [descriptor.receive(65536) for _ in range(3)] == [b"last", b"", b""]


def test_a_reset_is_an_error_behind_the_last_byte(tcp: Pair) -> None:
    near, far = tcp
    far.send(b"last")
    reset(far)
    settled(near.fileno(), HUP)
    descriptor = Descriptor(near.fileno())
    assert descriptor.receive(65536) == b"last"
    with pytest.raises(ConnectionResetError) as raised:
        descriptor.receive(65536)
    assert raised.value.errno == errno.ECONNRESET


def test_a_descriptor_that_is_closed_is_an_error() -> None:
    near, far = socket.socketpair()
    far.close()
    descriptor = Descriptor(near.detach())
    os.close(descriptor.fd)
    for call in (lambda: descriptor.receive(10), lambda: descriptor.send(b"x")):
        with pytest.raises(OSError, match="Bad file descriptor") as raised:
            call()
        assert raised.value.errno == errno.EBADF


def test_chunks_do_not_share_their_memory(pair: Pair) -> None:
    near, far = pair
    descriptor = Descriptor(near.fileno())
    chunks = []
    for letter in (b"a", b"b", b"c"):
        far.send(letter * 100)
        settled(near.fileno(), IN)
        chunks.append(descriptor.receive(65536))
    assert chunks == [b"a" * 100, b"b" * 100, b"c" * 100]


# Sending


def test_what_is_sent_arrives(pair: Pair) -> None:
    near, far = pair
    assert Descriptor(near.fileno()).send(b"hello\0there") == 11
    settled(far.fileno(), IN)
    assert far.recv(100) == b"hello\0there"


def test_the_kernel_takes_what_it_has_room_for_and_then_nothing(pair: Pair) -> None:
    near, far = pair
    descriptor = Descriptor(near.fileno())
    data = os.urandom(16 << 20)
    sent = descriptor.send(data)
    assert 0 < sent < len(data)
    fill(descriptor)
    assert descriptor.send(b"x") == 0
    got = b""
    while len(got) < sent:
        settled(far.fileno(), IN)
        got += far.recv(65536)
    assert got[:sent] == data[:sent]


def test_a_full_socket_can_be_sent_to_again_when_the_peer_has_read(pair: Pair) -> None:
    near, far = pair
    descriptor = Descriptor(near.fileno())
    left = fill(descriptor)
    while left:
        settled(far.fileno(), IN)
        left -= len(far.recv(1 << 20))
    settled(near.fileno(), OUT)
    assert descriptor.send(b"more") == 4


def test_sending_after_our_own_end_is_an_error_and_no_signal(pair: Pair) -> None:
    near, _ = pair
    near.shutdown(socket.SHUT_WR)
    assert signal.getsignal(signal.SIGPIPE) is signal.SIG_IGN, "Python's own doing; no test may undo it"
    with pytest.raises(BrokenPipeError) as raised:
        Descriptor(near.fileno()).send(b"x")
    assert raised.value.errno == errno.EPIPE


def test_sending_after_a_reset_is_an_error_and_what_came_before_it_can_still_be_received(tcp: Pair) -> None:
    near, far = tcp
    far.send(b"last words")
    reset(far)
    settled(near.fileno(), HUP)
    descriptor = Descriptor(near.fileno())
    with pytest.raises(ConnectionResetError):
        descriptor.send(b"x")
    with pytest.raises(BrokenPipeError):
        descriptor.send(b"x")
    assert descriptor.receive(65536) == b"last words"


def test_sending_to_a_unix_socket_that_is_closed_is_an_error() -> None:
    near, far = socket.socketpair()
    with near:
        near.setblocking(False)
        far.close()
        with pytest.raises(BrokenPipeError):
            Descriptor(near.fileno()).send(b"x")


# Being a descriptor


def test_a_descriptor_knows_its_number_and_owns_nothing() -> None:
    near, far = socket.socketpair()
    with near, far:
        descriptor = Descriptor(near.fileno())
        assert isinstance(descriptor, Taker)
        assert descriptor.fd == near.fileno()
        del descriptor
        near.send(b"still open")
        assert far.recv(100) == b"still open"


def test_a_bare_descriptor_lets_events_and_failures_pass() -> None:
    descriptor = Descriptor(0)
    descriptor.ready(IN | HUP | select.EPOLLET)
    descriptor.failed(ValueError())


# Epoll


def test_nothing_happens_to_nobody(epoll: Epoll) -> None:
    assert epoll.wait() == 0


def test_what_happens_is_told_with_its_descriptor(epoll: Epoll, pair: Pair) -> None:
    near, far = pair
    epoll.watch(near.fileno(), 0, IN)
    assert epoll.wait() == 0
    far.send(b"x")
    settled(near.fileno(), IN)
    assert happened(epoll) == {near.fileno(): IN}
    assert happened(epoll) == {near.fileno(): IN}, "until it is read"
    near.recv(10)
    assert epoll.wait() == 0


def test_each_descriptor_is_told_with_its_own_events(epoll: Epoll, pair: Pair) -> None:
    near, far = pair
    epoll.watch(near.fileno(), 0, IN)
    epoll.watch(far.fileno(), 0, IN | OUT)
    assert happened(epoll) == {far.fileno(): OUT}
    near.send(b"x")
    far.send(b"x")
    settled(near.fileno(), IN)
    settled(far.fileno(), IN)
    assert happened(epoll) == {near.fileno(): IN, far.fileno(): IN | OUT}


def test_what_is_watched_for_can_be_changed(epoll: Epoll, pair: Pair) -> None:
    fd = pair[0].fileno()
    epoll.watch(fd, 0, IN)
    assert epoll.wait() == 0
    epoll.watch(fd, IN, IN | OUT)
    assert happened(epoll) == {fd: OUT}
    epoll.watch(fd, IN | OUT, IN)
    assert epoll.wait() == 0


def test_watching_can_end_and_begin_again(epoll: Epoll, pair: Pair) -> None:
    fd = pair[0].fileno()
    epoll.watch(fd, 0, OUT)
    epoll.watch(fd, OUT, 0)
    assert epoll.wait() == 0
    epoll.watch(fd, 0, OUT)
    assert happened(epoll) == {fd: OUT}


def test_an_edge_is_told_once_and_again_when_it_is_watched_anew(epoll: Epoll, pair: Pair) -> None:
    near, far = pair
    fd, edge = near.fileno(), IN | select.EPOLLET
    epoll.watch(fd, 0, edge)
    far.send(b"x")
    settled(fd, IN)
    assert happened(epoll) == {fd: IN}
    assert epoll.wait() == 0
    epoll.watch(fd, edge, edge)
    assert happened(epoll) == {fd: IN}
    assert epoll.wait() == 0


def test_the_peer_s_end_is_told_unasked(epoll: Epoll) -> None:
    near, far = socket.socketpair()
    with near:
        epoll.watch(near.fileno(), 0, OUT)
        far.close()
        assert happened(epoll) == {near.fileno(): OUT | HUP}


def test_no_more_than_a_batch_is_told_at_a_time_and_the_rest_comes_next(
    epoll: Epoll, counter: Callable[[], int]
) -> None:
    made = {counter() for _ in range(BATCH + 44)}
    for fd in made:
        epoll.watch(fd, 0, IN)
    first = happened(epoll)
    assert len(first) == BATCH == 256
    second = happened(epoll)
    assert len(second) == BATCH
    assert set(first) | set(second) == made


def test_a_wait_forgets_what_the_last_one_told(epoll: Epoll, counter: Callable[[], int]) -> None:
    one, other = counter(), counter()
    epoll.watch(one, 0, IN)
    assert list(happened(epoll)) == [one]
    epoll.watch(one, IN, 0)
    epoll.watch(other, 0, IN)
    assert list(happened(epoll)) == [other]


@pytest.mark.parametrize(("before", "now"), [(IN, OUT), (IN, 0)])
def test_what_is_not_watched_cannot_be_changed(epoll: Epoll, pair: Pair, before: int, now: int) -> None:
    with pytest.raises(FileNotFoundError) as raised:
        epoll.watch(pair[0].fileno(), before, now)
    assert raised.value.errno == errno.ENOENT


def test_what_is_watched_cannot_be_watched_as_if_it_were_not(epoll: Epoll, pair: Pair) -> None:
    epoll.watch(pair[0].fileno(), 0, IN)
    with pytest.raises(FileExistsError):
        epoll.watch(pair[0].fileno(), 0, IN)


def test_a_file_cannot_be_watched(epoll: Epoll, tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as file, pytest.raises(PermissionError):
        epoll.watch(file.fileno(), 0, IN)


def test_an_epoll_can_itself_be_watched(epoll: Epoll, counter: Callable[[], int]) -> None:
    """That is how the event loop learns of what happens."""
    with select.epoll() as outer:
        outer.register(epoll.fd, IN)
        assert outer.poll(0) == []
        epoll.watch(counter(), 0, IN)
        assert outer.poll(0) == [(epoll.fd, IN)]


def test_closing_gives_the_descriptor_back_and_may_be_done_twice() -> None:
    epoll = Epoll()
    link = Path(f"/proc/self/fd/{epoll.fd}")
    assert str(link.readlink()) == "anon_inode:[eventpoll]"
    epoll.close()
    assert not link.exists()
    epoll.close()


def test_an_epoll_that_is_forgotten_is_closed() -> None:
    epoll = Epoll()
    link = Path(f"/proc/self/fd/{epoll.fd}")
    del epoll
    assert not link.exists()


def test_no_child_inherits_an_epoll(epoll: Epoll) -> None:
    assert not os.get_inheritable(epoll.fd)


def test_waiting_on_a_closed_epoll_is_an_error() -> None:
    epoll = Epoll()
    epoll.close()
    with pytest.raises((OSError, ValueError)):
        epoll.wait()
