"""Dial: connect to an address by a deadline, over whichever of its addresses answers first."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import Protocol

import aiohappyeyeballs

from ambassador.config.address import Address
from ambassador.errors import Reason, UpstreamError
from ambassador.kit.clock import SYSTEM, Clock
from ambassador.net.stream import Stream

_HEAD_START = 0.25
"""Seconds one address has before the next is tried as well (RFC 8305, section 5)."""

_BUSY_PAUSE = 0.01
"""Seconds before a unix socket whose queue is full is tried again; the kernel offers nothing to wait on."""


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
            sock = await (_unix(address.path, clock) if address.path is not None else _tcp(address))
            if sock.family != socket.AF_UNIX:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                keep_alive(sock, keepalive)
            return await Stream.adopt(sock)
    except TimeoutError as error:
        if isinstance(error, OSError) and error.errno is not None:  # the kernel's own ETIMEDOUT
            raise _failed(address, error) from error
        raise UpstreamError(
            Reason.CONNECT_TIMEOUT, f"cannot connect to {address}: no answer in {timeout:g} s"
        ) from error
    except (OSError, UnicodeError) as error:
        raise _failed(address, error) from error


def keep_alive(sock: socket.socket, keepalive: Keepalive | None) -> None:
    """Set TCP keepalive, or turn it off."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, keepalive is not None)
    if keepalive is not None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, max(1, round(keepalive.idle)))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, max(1, round(keepalive.interval)))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, keepalive.count)


async def _tcp(address: Address) -> socket.socket:
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return await aiohappyeyeballs.start_connection(found, happy_eyeballs_delay=_HEAD_START, interleave=1, loop=loop)


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
    elif isinstance(error, OSError) and error.errno is not None and "Multiple exceptions" not in str(error):
        words = os.strerror(error.errno)
    else:
        words = str(error)
    return UpstreamError(Reason.CONNECT_FAILED, f"cannot connect to {address}: {words}")
