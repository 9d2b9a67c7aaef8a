"""Peer: who is at the other end of a socket, as far as the kernel knows."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass

_UCRED = struct.Struct("iII")
"""struct ucred of Linux: pid, uid, gid (unix(7), SO_PEERCRED)."""


@dataclass(frozen=True, slots=True)
class Peer:
    """One end of a connection.

    `address` is for people: `192.0.2.1:5432`, `[2001:db8::1]:5432`, `unix:/run/app/socket`, or `unix:` for the nameless
    end of a unix socket. `host` (without brackets or zone) and `port` are None for a unix socket.
    `uid`, `gid` and `pid` are those the process at a unix socket had when it connected, else None.
    """

    address: str
    host: str | None = None
    port: int | None = None
    uid: int | None = None
    gid: int | None = None
    pid: int | None = None


UNKNOWN = Peer("unknown")
"""The end of a connection that was gone before anybody asked."""


def remote(sock: socket.socket) -> Peer:
    """The far end of a connected stream socket.

    Raises:
        OSError: the connection is gone already.
    """
    if sock.family != socket.AF_UNIX:
        return _of(sock.getpeername())
    pid, uid, gid = _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    return Peer(f"unix:{_path(sock.getpeername())}", uid=uid, gid=gid, pid=pid)


def local(sock: socket.socket) -> Peer:
    """The near end of a stream socket.

    Raises:
        OSError: the socket is closed.
    """
    if sock.family != socket.AF_UNIX:
        return _of(sock.getsockname())
    return Peer(f"unix:{_path(sock.getsockname())}")


def _of(name: tuple[str, int] | tuple[str, int, int, int]) -> Peer:
    host, port = name[0].partition("%")[0], name[1]
    return Peer(f"[{host}]:{port}" if ":" in host else f"{host}:{port}", host, port)


def _path(name: str | bytes) -> str:
    # An abstract address begins with NUL; people write it with @ (unix(7), ss(8)).
    text = name.decode(errors="backslashreplace") if isinstance(name, bytes) else name
    return "@" + text[1:] if text.startswith("\0") else text
