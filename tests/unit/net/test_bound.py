"""Binding: what is free is taken, what is stale is replaced, what lives is left alone."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ambassador.config.address import Address
from ambassador.errors import ConfigError
from ambassador.net import bound
from ambassador.net.bound import BoundSocket, bind

ROOT = Path(__file__).parents[3]


@dataclass(frozen=True)
class File:
    """Mode and owner of a socket's file."""

    mode: int = 0o660
    owner: str | None = None
    group: str | None = None


@pytest.fixture
def address(tmp_path: Path) -> Address:
    """Of a unix socket that does not exist yet."""
    return Address(path=str(tmp_path / "s"))


@pytest.fixture
def held() -> Iterator[list[BoundSocket]]:
    """What is put in here is closed after the test."""
    sockets: list[BoundSocket] = []
    yield sockets
    for one in sockets:
        one.close()


def reachable(address: Address) -> bool:
    """Whether somebody listens there."""
    assert address.path is not None
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(address.path) == 0


# TCP


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "0.0.0.0", "::"])
def test_a_port_of_ones_own_choice_or_the_kernel_s_is_bound(host: str, held: list[BoundSocket]) -> None:
    first = bind(Address(host, 0))
    held.append(first)
    assert first.address == Address(host, 0)
    assert first.local.port
    assert first.socket.getblocking() is False
    with socket.create_connection(("::1" if ":" in host else "127.0.0.1", first.local.port)):
        pass
    first.close()
    again = bind(Address(host, first.local.port))
    held.append(again)
    assert again.local == first.local


def test_both_families_can_have_the_same_port(held: list[BoundSocket]) -> None:
    held.append(bind(Address("0.0.0.0", 0)))
    held.append(bind(Address("::", held[0].local.port)))
    assert held[0].local.port == held[1].local.port


def test_a_taken_port_is_refused_in_words(held: list[BoundSocket]) -> None:
    held.append(bind(Address("127.0.0.1", 0)))
    taken = Address("127.0.0.1", held[0].local.port)
    with pytest.raises(
        ConfigError, match=rf"cannot listen at 127\.0\.0\.1:{taken.port}: another process listens there"
    ):
        bind(taken)


@pytest.mark.parametrize(
    ("address", "words"),
    [
        (Address("192.0.2.1", 0), "Cannot assign requested address"),
        (Address("no-such-host.invalid", 0), "cannot listen at no-such-host.invalid:0: "),
    ],
)
def test_what_is_not_of_this_machine_is_refused(address: Address, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        bind(address)


def test_accepted_connections_do_not_wait_to_fill_packets(held: list[BoundSocket]) -> None:
    held.append(bind(Address("127.0.0.1", 0)))
    with socket.create_connection(held[0].socket.getsockname()):
        accepted, _ = held[0].socket.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_closing_twice_does_nothing(address: Address) -> None:
    for one in (bind(Address("127.0.0.1", 0)), bind(address)):
        one.close()
        one.close()
        assert one.socket.fileno() == -1


# Unix sockets


def test_a_unix_socket_appears_with_its_mode_and_goes_when_closed(address: Address, tmp_path: Path) -> None:
    mine = bind(address, unix=File(0o640))
    assert mine.local.address == str(address)
    assert (tmp_path / "s").stat().st_mode & 0o7777 == 0o640
    assert reachable(address)
    assert list(tmp_path.iterdir()) == [tmp_path / "s"], "nothing else is left there"
    mine.close()
    assert list(tmp_path.iterdir()) == []


def test_by_default_only_the_same_user_may_connect(address: Address, tmp_path: Path, held: list[BoundSocket]) -> None:
    held.append(bind(address))
    assert (tmp_path / "s").stat().st_mode & 0o7777 == 0o600


@pytest.mark.parametrize("umask", [0, 0o777])
def test_the_mode_does_not_depend_on_the_umask(address: Address, tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        mine = bind(address, unix=File(0o666))
    finally:
        os.umask(before)
    assert (tmp_path / "s").stat().st_mode & 0o7777 == 0o666
    mine.close()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize(
    ("file", "ids"), [(File(0o600, "nobody", "daemon"), (65534, 1)), (File(0o600, "12345", "54321"), (12345, 54321))]
)
def test_owner_and_group_are_set_by_name_or_number(
    address: Address, tmp_path: Path, held: list[BoundSocket], file: File, ids: tuple[int, int]
) -> None:
    held.append(bind(address, unix=file))
    found = (tmp_path / "s").stat()
    assert (found.st_uid, found.st_gid) == ids


def test_until_all_is_set_nobody_else_can_connect(
    address: Address, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: list[BoundSocket]
) -> None:
    modes = []

    def look(*_: object) -> None:
        modes.append((tmp_path / "s").stat().st_mode & 0o7777)

    monkeypatch.setattr(os, "chown", look)
    before = os.umask(0)
    held.append(bind(address, unix=File(0o666)))
    os.umask(before)
    assert modes == [0o600]


def test_a_failure_leaves_no_file(address: Address, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "chown", fail)
    with pytest.raises(ConfigError, match="Operation not permitted"):
        bind(address)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("file", "words"),
    [
        (File(owner="no-such-user"), "there is no user 'no-such-user'"),
        (File(group="no-such-group"), "there is no group"),
    ],
)
def test_unknown_owners_are_named(address: Address, tmp_path: Path, file: File, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        bind(address, unix=file)
    assert list(tmp_path.iterdir()) == []


def test_a_stale_socket_is_replaced(address: Address, held: list[BoundSocket]) -> None:
    assert address.path is not None
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(address.path)
        dead.listen()
    assert not reachable(address)
    held.append(bind(address))
    assert reachable(address)


def test_a_living_socket_is_refused_and_left_alone(address: Address, held: list[BoundSocket]) -> None:
    held.append(bind(address))
    with pytest.raises(ConfigError, match=r"cannot listen at unix:.*/s: another process listens there"):
        bind(address)
    assert reachable(address)


def test_a_living_socket_with_a_full_queue_is_refused_too(address: Address, held: list[BoundSocket]) -> None:
    held.append(bind(address, backlog=0))
    assert address.path is not None
    with socket.socket(socket.AF_UNIX) as first:
        first.connect(address.path)
        with pytest.raises(ConfigError, match="another process listens there"):
            bind(address)


@pytest.mark.parametrize("kind", ["file", "directory", "link"])
def test_what_is_no_socket_is_not_replaced(address: Address, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "s"
    if kind == "file":
        path.write_text("precious")
    elif kind == "directory":
        path.mkdir()
    else:
        path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="it is not a socket"):
        bind(address)
    assert path.is_symlink() or path.exists()
    assert list(tmp_path.iterdir()) == [tmp_path / "s"]


def test_a_socket_that_another_has_replaced_is_not_removed(address: Address, tmp_path: Path) -> None:
    mine = bind(address)
    (tmp_path / "s").unlink()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(tmp_path / "s"))
        mine.close()
        assert (tmp_path / "s").exists()


def test_closing_works_when_the_directory_is_gone(address: Address, tmp_path: Path) -> None:
    mine = bind(address)
    (tmp_path / "s").unlink()
    tmp_path.rmdir()
    mine.close()
    assert mine.socket.fileno() == -1


def test_a_missing_directory_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file or directory"):
        bind(Address(path=str(tmp_path / "none" / "s")))


def test_a_path_of_the_greatest_length_can_be_bound(tmp_path: Path, held: list[BoundSocket]) -> None:
    path = tmp_path / ("x" * (107 - len(str(tmp_path)) - 1))
    held.append(bind(Address(path=str(path))))
    assert path.is_socket()


def test_a_path_that_is_too_long_is_refused(tmp_path: Path) -> None:
    path = tmp_path / ("x" * (109 - len(str(tmp_path)) - 1))
    with pytest.raises(ConfigError, match="path too long"):
        bind(Address(path=str(path)))
    assert list(tmp_path.iterdir()) == []


def test_binding_waits_for_another_that_is_binding_there(
    address: Address, tmp_path: Path, held: list[BoundSocket]
) -> None:
    directory = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(directory, fcntl.LOCK_EX)
    release = threading.Timer(0.1, os.close, (directory,))
    release.start()
    held.append(bind(address))
    release.join()
    assert reachable(address)


def test_binding_does_not_wait_for_ever(address: Address, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bound, "_LOCK_TRIES", 3)
    directory = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(directory, fcntl.LOCK_EX)
    with pytest.raises(ConfigError, match="another process keeps the directory locked"):
        bind(address)
    os.close(directory)


RACER = textwrap.dedent(
    """
    import sys
    from ambassador.config.address import Address
    from ambassador.errors import ConfigError
    from ambassador.net.bound import bind
    print("ready", flush=True)
    sys.stdin.readline()
    try:
        bound = bind(Address(path=sys.argv[1]))
    except ConfigError as error:
        print(error)
    else:
        print("mine", flush=True)
        sys.stdin.readline()
    """
)


def test_of_many_daemons_that_start_at_once_one_gets_the_socket(address: Address) -> None:
    assert address.path is not None
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(address.path)
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, address.path],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    outcomes = []
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    for racer in racers:
        assert racer.stdout is not None
        outcomes.append(racer.stdout.readline().strip())
    for racer in racers:
        racer.communicate("stop\n", timeout=10)
    words = f"cannot listen at {address}: another process listens there"
    assert sorted(outcomes) == sorted(["mine", words, words, words])


def test_a_failure_of_the_kernel_is_told_in_its_words(address: Address, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(socket.socket, "listen", fail)
    for place in (address, Address("127.0.0.1", 0)):
        with pytest.raises(ConfigError, match="Too many open files"):
            bind(place)
