"""Bare sockets: for the end of a connection that must do what no decent library does."""

from __future__ import annotations

import socket
import struct

RESET = struct.pack("ii", 1, 0)
"""SO_LINGER on with zero seconds: closing resets the connection."""


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    """Two connected blocking TCP sockets of this machine; unlike a socket pair they can be reset."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        near = socket.create_connection(server.getsockname())
        far, _ = server.accept()
    return near, far


def reset(sock: socket.socket) -> None:
    """Close so that the other end sees a reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    sock.close()


def everything(sock: socket.socket) -> bytes:
    """All that comes until the other end's end; blocks."""
    sock.setblocking(True)
    sock.settimeout(10)
    parts = []
    while part := sock.recv(65536):
        parts.append(part)
    return b"".join(parts)
