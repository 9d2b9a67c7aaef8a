"""Cancel keys of our own, and carrying a cancel to the one server process it is meant for.

A client is given a process id and a secret key that we made up (protocol chapter, "Canceling Requests in Progress").
Both are random, so that under protocol 3.0, whose key has only 32 bits, 63 bits must be guessed; 3.2 has 32 bytes.
What the server gave us never leaves the proxy. A key dies with its session, before its server connection is closed,
so a late cancel can never reach another client's query.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
from dataclasses import dataclass

from ambassador.errors import UpstreamError
from ambassador.protocols.postgres.login import begin_tls
from ambassador.upstreams.endpoint import Endpoint
from ambassador.upstreams.target import Target
from ambassador.wire.postgres.messages import cancel_request

SHORT_KEY = 4
LONG_KEY = 32
"""Bytes of the secret: 4 is all that 3.0 has; 3.2 allows up to 256 (protocol chapter, BackendKeyData)."""

MOST_AT_ONCE = 64
"""Cancels carried at one time; more wait their turn within their login deadline."""


@dataclass(frozen=True, slots=True, eq=False)
class CancelKey:
    """What one client shows to cancel, and the server process that it means."""

    pid: int
    secret: bytes
    target: Target
    endpoint: Endpoint
    server_pid: int
    server_secret: bytes


class CancelKeys:
    """The keys of all live sessions of a daemon; lives through reloads."""

    def __init__(self) -> None:
        self._by_pid: dict[int, CancelKey] = {}
        self._turns = asyncio.Semaphore(MOST_AT_ONCE)

    def __len__(self) -> int:
        return len(self._by_pid)

    def issue(self, size: int, target: Target, endpoint: Endpoint, server_pid: int, server_secret: bytes) -> CancelKey:
        """Make a key of `size` bytes for a session; `retire` it when the session ends."""
        pid = _fresh_pid()
        while pid in self._by_pid:
            pid = _fresh_pid()
        key = CancelKey(pid, secrets.token_bytes(size), target, endpoint, server_pid, server_secret)
        self._by_pid[pid] = key
        return key

    def retire(self, key: CancelKey) -> None:
        """The session is over; its key cancels nothing from here on."""
        self._by_pid.pop(key.pid, None)

    async def carry(self, pid: int, secret: bytes) -> bool:
        """Cancel what the owner of this key runs. False when no such key exists, or the server was not reached.

        The caller brings the deadline.
        """
        key = self._by_pid.get(pid)
        if key is None or not hmac.compare_digest(key.secret, secret):
            return False
        async with self._turns:
            # The session may have ended while this waited its turn.
            if self._by_pid.get(pid) is not key:
                return False
            try:
                await _deliver(key)
            except (UpstreamError, OSError):
                return False
        return True


async def _deliver(key: CancelKey) -> None:
    """Send the server's own key on a connection of its own, encrypted like the session's.

    Waits for the server to close: only then has it passed the signal on (protocol chapter), and a client that
    waits for our close in turn knows that its cancel is not still under way.
    """
    upstream = key.target.upstream
    attempt = await upstream.connect(key.endpoint, key.target.preamble)
    try:
        await begin_tls(attempt)
        attempt.stream.write(cancel_request(key.server_pid, key.server_secret))
        await attempt.stream.drained()
        while await attempt.stream.read():
            pass
    finally:
        attempt.stream.abort()


def _fresh_pid() -> int:
    """A process id as clients expect one: a positive 31-bit integer."""
    return secrets.randbelow(2**31 - 1) + 1
