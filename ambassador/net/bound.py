"""Listening sockets: bind an address, hold it through reloads, give it up without taking another's."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import grp
import os
import pwd
import socket
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ambassador.config.address import Address
from ambassador.errors import ConfigError
from ambassador.net.peer import Peer, local

BACKLOG = 1024
"""Connections the kernel completes ahead of our accepting them; it caps this at net.core.somaxconn."""

_LOCK_TRIES = 100
_LOCK_PAUSE = 0.01
"""Seconds between tries for a directory's lock, which others hold for less than that."""


class UnixFile(Protocol):
    """The file of a unix socket: permission bits, and owner and group by name or number (None: as they come)."""

    @property
    def mode(self) -> int:
        """Permission bits."""

    @property
    def owner(self) -> str | None:
        """User, by name or number."""

    @property
    def group(self) -> str | None:
        """Group, by name or number."""


@dataclass(frozen=True, slots=True)
class _Private:
    mode: int = 0o600
    owner: str | None = None
    group: str | None = None


class BoundSocket:
    """A listening socket.

    `address` is what was asked for; `local` is where it listens: with port 0 asked for, the port that was given.
    """

    __slots__ = ("_file", "address", "local", "socket")

    def __init__(self, sock: socket.socket, address: Address) -> None:
        path = address.path
        self.socket = sock
        self.address = address
        self._file = None if path is None else (path, _identity(path))
        self.local: Peer = local(sock) if path is None else Peer(f"unix:{path}")

    def close(self) -> None:
        """Stop listening; a unix socket's file is removed, unless another has taken its place."""
        if self.socket.fileno() == -1:
            return
        if self._file is not None:
            path, mine = self._file
            with contextlib.suppress(OSError, ConfigError), _locked(path):
                if _identity(path) == mine:
                    Path(path).unlink()
        self.socket.close()


def bind(address: Address, *, unix: UnixFile | None = None, backlog: int = BACKLOG) -> BoundSocket:
    """Bind and listen.

    A name is bound at the first address it resolves to. `[::]` takes IPv6 only, so that it can stand beside
    `0.0.0.0`. A unix socket that nobody listens at is replaced.

    Args:
        unix: mode and owner of a unix socket; by default only the same user may connect.

    Raises:
        ConfigError: the address is taken, not ours to take, or not an address of this machine.
    """
    try:
        if address.path is not None:
            return BoundSocket(_bind_unix(address.path, unix or _Private(), backlog), address)
        return BoundSocket(_bind_tcp(address, backlog), address)
    except OSError as error:
        raise ConfigError(f"cannot listen at {address}: {_words(error)}") from error


def _bind_tcp(address: Address, backlog: int) -> socket.socket:
    found = socket.getaddrinfo(
        address.host, address.port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP, flags=socket.AI_PASSIVE
    )
    family, kind, protocol, _, name = found[0]
    sock = socket.socket(family, kind | socket.SOCK_NONBLOCK, protocol)
    try:
        # Without it a restart would wait for the last run's connections to leave TIME_WAIT. On Linux it does not
        # let two listeners share a port.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Accepted connections inherit it, on every event loop.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(name)
        sock.listen(backlog)
    except BaseException:
        sock.close()
        raise
    return sock


def _bind_unix(path: str, file: UnixFile, backlog: int) -> socket.socket:
    uid = -1 if file.owner is None else _user(file.owner)
    gid = -1 if file.group is None else _group(file.group)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        with _locked(path):
            _refuse_living(path)
            Path(path).unlink(missing_ok=True)
            # The file is born with the socket's own mode: until it has its owner, nobody but our user can connect.
            # Binding under another name and renaming would hide it better, but ss(8) and clients would see that name.
            os.fchmod(sock.fileno(), file.mode & 0o700)
            sock.bind(path)
            try:
                os.chown(path, uid, gid)
                Path(path).chmod(file.mode)
                sock.listen(backlog)
            except BaseException:
                Path(path).unlink()
                raise
    except BaseException:
        sock.close()
        raise
    return sock


def _refuse_living(path: str) -> None:
    """Raise unless `path` is free, or a socket whose listener is gone."""
    try:
        kind = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(kind):
        raise ConfigError(f"cannot listen at unix:{path}: there is a file of that name, and it is not a socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        # A full queue (EAGAIN) or a mode that keeps us out (EACCES) mean somebody may be there.
        if probe.connect_ex(path) not in {errno.ECONNREFUSED, errno.ENOENT}:
            raise ConfigError(f"cannot listen at unix:{path}: another process listens there")


@contextlib.contextmanager
def _locked(path: str) -> Iterator[None]:
    """Keep other daemons from replacing sockets in the directory of `path` meanwhile.

    The directory itself is locked, so that no lock file is left behind; and only while the socket is put in place:
    from then on it answers, which protects it.
    """
    directory = os.open(Path(path).parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for _ in range(_LOCK_TRIES):
            try:
                fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(_LOCK_PAUSE)
        else:
            raise ConfigError(f"cannot listen at unix:{path}: another process keeps the directory locked")
        yield
    finally:
        os.close(directory)


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _user(name: str) -> int:
    if name.isdecimal():
        return int(name)
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        raise ConfigError(f"there is no user {name!r} on this machine to own a unix socket") from None


def _group(name: str) -> int:
    if name.isdecimal():
        return int(name)
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise ConfigError(f"there is no group {name!r} on this machine to own a unix socket") from None


def _words(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "another process listens there"
    return error.strerror or str(error)
