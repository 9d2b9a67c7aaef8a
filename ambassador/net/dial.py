"""Dial: connect to an address by a deadline, over whichever of its addresses answers first."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Sequence
from typing import Protocol

from ambassador.config.address import Address
from ambassador.errors import Reason, UpstreamError
from ambassador.kit.clock import SYSTEM, Clock
from ambassador.net.connect import Found, connect
from ambassador.net.stream import Stream

_BUSY_PAUSE = 0.01
"""Seconds before a unix socket whose queue is full is tried again; the kernel offers nothing to wait on."""


_NUMERIC = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV


class Keepalive(Protocol):
    """How a vanished peer is noticed: seconds of silence, seconds between probes, probes unanswered (tcp(7))."""

    @property
    def idle(self) -> float:
        """Seconds of silence before the first probe."""

    @property
    def interval(self) -> float:
        """Seconds between probes."""

    @property
    def count(self) -> int:
        """Unanswered probes after which the connection is dead."""


async def dial(
    address: Address, *, timeout: float, keepalive: Keepalive | None = None, clock: Clock = SYSTEM
) -> Stream:
    """Connect within `timeout` seconds, name resolution included.

    Raises:
        UpstreamError: CONNECT_FAILED or CONNECT_TIMEOUT; the text names the address and the kernel's reason.
    """
    try:
        async with asyncio.timeout(timeout):
            return Stream.adopt(await _connect(address, keepalive, clock))
    except TimeoutError as error:
        if error.errno is not None:  # the kernel's own ETIMEDOUT
            raise _failed(address, error) from error
        words = f"cannot connect to {address}: no answer in {timeout:g} s"
        raise UpstreamError(Reason.CONNECT_TIMEOUT, words) from error
    except (OSError, UnicodeError) as error:
        raise _failed(address, error) from error


async def _connect(address: Address, keepalive: Keepalive | None, clock: Clock) -> socket.socket:
    if address.path is not None:
        return await _unix(address.path, clock)
    found = await resolve(address.host or "", address.port or 0)
    sock = await connect(found)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        keep_alive(sock, keepalive)
    except BaseException:
        sock.close()
        raise
    return sock


def keep_alive(sock: socket.socket, keepalive: Keepalive | None) -> None:
    """Set TCP keepalive, or turn it off."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, keepalive is not None)
    if keepalive is not None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, max(1, round(keepalive.idle)))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, max(1, round(keepalive.interval)))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, keepalive.count)


async def resolve(host: str, port: int) -> Sequence[Found]:
    """Addresses of a name, in the order to try them (RFC 6724), as getaddrinfo gives them.

    Raises:
        OSError: there are none, or nobody could say.
    """
    try:
        # An IP address needs nobody to be asked, and no thread to do it in.
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP, flags=_NUMERIC)
    except socket.gaierror:
        loop = asyncio.get_running_loop()
        return await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)


async def _unix(path: str, clock: Clock) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        while True:
            try:
                # A unix socket connects at once or not at all. When its queue is full that is EAGAIN, after which,
                # unlike EINPROGRESS, nothing is under way: the event loops' sock_connect would call it connected.
                sock.connect(path)
            except BlockingIOError:
                await clock.sleep(_BUSY_PAUSE)
            else:
                return sock
    except BaseException:
        sock.close()
        raise


def _failed(address: Address, error: OSError | UnicodeError) -> UpstreamError:
    if isinstance(error, socket.gaierror):
        words = f"cannot resolve the name: {error.strerror}"
    elif isinstance(error, OSError) and error.errno is not None:
        words = os.strerror(error.errno)
    else:
        words = str(error)
    return UpstreamError(Reason.CONNECT_FAILED, f"cannot connect to {address}: {words}")
