"""Stream: one connection, first awaited, then poured.

During a login it is awaited: bytes gather in a bounded buffer and `read` takes them. After `pour` each chunk goes
straight to a sink inside the event loop's callback, and no task is needed. TLS may begin at any moment in between;
it is our own, over memory (see `engine`), on the plain transport.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import Callable

from ambassador.kit.clock import SYSTEM
from ambassador.net import peer as peers
from ambassador.net.engine import Engine, TlsFailed
from ambassador.net.facts import TlsFacts
from ambassador.net.farewell import Farewell, unacknowledged
from ambassador.net.flow import LIMIT, Flow, Sink, wake
from ambassador.net.peer import UNKNOWN, Peer
from ambassador.net.taker import NOWHERE

__all__ = ["LIMIT", "UNKNOWN", "Peer", "Sink", "Stream", "TlsFacts", "TlsFailed"]

_LOOK = 0.02
"""Seconds between looks at what is still unsent; nothing tells when the last of it has left."""

LINGER = 5.0
"""Seconds that `close` gives the peer to take the last bytes without any progress."""

_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER on with zero seconds: closing sends RST instead of FIN, so the peer cannot take it for a clean end."""


class Stream(Flow):
    """One connection. Made by `adopt`; used by one task at a time.

    `outlet` takes bytes for the peer, as `write` does; who keeps it for the hot path looks it up anew after
    `start_tls`. Once the connection is gone, or our side has ended, both do nothing. `truncated` is True when the
    peer's side of a TLS connection ended without close_notify.
    """

    __slots__ = ()

    @classmethod
    def adopt(cls, sock: socket.socket, *, limit: int = LIMIT) -> Stream:
        """Make a stream of a connected, non-blocking stream socket (TCP or unix), which it owns from now on.

        A connection that is gone already makes a stream that is lost at once.

        Raises:
            OSError: there are no more descriptors; the socket has been closed.
        """
        try:
            return cls(sock, limit=limit)
        except BaseException:
            sock.close()
            raise

    # ---- facts

    @property
    def peer(self) -> Peer:
        """The far end; `UNKNOWN` once the connection is gone. Looked up at each call: who needs it keeps it."""
        return self._end(peers.remote)

    @property
    def local(self) -> Peer:
        """The near end; `UNKNOWN` once the connection is gone. Looked up at each call."""
        return self._end(peers.local)

    @property
    def buffered(self) -> int:
        """How many bytes `read` would return now."""
        return len(self._buffer)

    @property
    def unsent(self) -> int:
        """How many bytes that were written the kernel has not taken yet."""
        return self._transport.unsent

    @property
    def closed(self) -> bool:
        """Whether the connection is gone."""
        return self._closed

    @property
    def tls(self) -> TlsFacts | None:
        """What the handshake settled; None without TLS."""
        return None if self._engine is None or not self._engine.ready else TlsFacts(self._engine.object)

    @property
    def shaking(self) -> bool:
        """Whether TLS has been begun and is not settled."""
        return self._engine is not None and not self._engine.ready

    # ---- awaited

    async def read(self) -> bytes:
        """All that is buffered, waiting for at least one byte; b"" when the peer has ended its side.

        Raises:
            TlsFailed: the peer broke TLS, or sent an alert.
            ConnectionError: the connection was reset, or closed here.
        """
        while not self._buffer:
            if self._eof:
                return b""
            if self._closed or self._closing or self._error is not None:
                raise self._failure()
            self._readable = asyncio.get_running_loop().create_future()
            try:
                await self._readable
            finally:
                self._readable = None
        data, self._buffer = self._buffer, b""
        self._more()
        return data

    def unread(self, data: bytes) -> None:
        """Put back the end of what `read` returned."""
        self._buffer = data + self._buffer
        if len(self._buffer) >= self._limit and self._sink is None:
            # Before the transport asks for room that is not there, which it takes for a fault.
            self._full = True
            self._steer()

    def write(self, data: bytes) -> None:
        """Send `data`, or queue what cannot go at once. Does nothing once the connection is gone, or our side ended."""
        self.outlet.take(data)

    async def drained(self) -> None:
        """Wait until most of what was written has left.

        Raises:
            ConnectionError: the connection is gone.
        """
        if self._choked and not self._closed:
            if self._drained is None:
                self._drained = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._drained)
        if self._closed:
            raise self._failure()

    async def start_tls(
        self,
        context: ssl.SSLContext,
        *,
        server_side: bool,
        server_hostname: str | None = None,
        early: bytes = b"",
    ) -> None:
        """Begin TLS here and now. The caller brings the deadline, and closes the stream when this fails.

        Bytes still buffered belong to the handshake; a protocol that forbids them looks at `buffered` first.

        Args:
            server_hostname: client side: name or IP address the certificate is checked for, and sent as SNI.
            early: what was read already and belongs to the handshake, ahead of what is buffered.

        Raises:
            TlsFailed: the handshake failed, or the connection ended meanwhile.
        """
        if self._closed or self._closing:
            raise TlsFailed("the connection is closed")
        if self._engine is not None or self._sink is not None:
            raise AssertionError("TLS begins once, and not on a poured stream")
        self._engine = Engine(
            context,
            server_side=server_side,
            server_hostname=server_hostname,
            to=self._transport,
            fail=self._break,
        )
        self.outlet = (
            NOWHERE  # until it is encrypted: what is said meanwhile, or after a failure, would go in the clear
        )
        self._engine.incoming.write(early + self._buffer)
        self._buffer = b""
        self._handshake = handshake = asyncio.get_running_loop().create_future()
        self._route()
        self._shake()
        if self._eof:
            self._fail_handshake(TlsFailed("the peer closed the connection"))
        self._full = False
        self._steer()
        await handshake

    # ---- poured

    def pour(self, sink: Sink) -> None:
        """From now on give every byte to `sink` as it comes, beginning with what is buffered."""
        self._sink = sink
        self._deliver = sink.taker
        if self._choked:
            sink.pause()
        self._eof_told = False
        if isinstance(self._error, TlsFailed):
            self._break(self._error)
        self._more()
        if self._sink is sink and self._closed:
            self._sink = None
            sink.lost(self._error)

    def unpour(self) -> None:
        """Be awaited again: what comes from now on gathers in the buffer."""
        if self._sink is None:
            return
        self._sink = None
        self._deliver = NOWHERE if self._closed else self
        self._route()

    def pause_reading(self) -> None:
        """Take no more from the peer until `resume_reading`."""
        self._held = True
        self._steer()

    def resume_reading(self) -> None:
        """Read on; what TLS still holds is delivered before this returns."""
        self._held = False
        self._more()

    # ---- ends

    def write_eof(self) -> None:
        """End our side: FIN after what is queued, or TLS's close_notify. Reading goes on."""
        if self._eof_sent or self._closed or self._closing:
            return
        self._eof_sent = True
        self.outlet = NOWHERE
        if self._engine is None:
            self._transport.write_eof()
        else:
            self._close_tls(self._engine)

    def close(self, linger: float = LINGER, *, reset: bool = False) -> None:
        """Send what is queued, say that we end, and close; what still comes from the peer is thrown away.

        Waits for the peer's own end before closing, because closing a socket with unread bytes resets the
        connection, and the reset may overtake our last words (RFC 1122, section 4.2.2.13).

        Args:
            linger: seconds without progress after which the connection is aborted; 0: do not wait for the peer's end.
            reset: end with a reset behind the last byte, so that the peer does not take it for a clean end.
        """
        if self._closing or self._closed:
            return
        if self._engine is not None and not self._eof_sent and not reset:
            self._close_tls(self._engine)
        self._closing = True
        self.outlet = NOWHERE
        self._deliver = NOWHERE
        self._buffer = b""
        wake(self._readable)
        self._route()
        if reset and self._socket.family != socket.AF_UNIX:
            self._end_with_reset(linger)
            return
        if self._fin or self._eof or linger <= 0 or reset:
            self._transport.close()
        else:
            if not (self._eof_sent and self._engine is None):
                self._transport.write_eof()
            self._steer()
        self._farewell = Farewell(lambda: self.unsent, self._let_go, linger=linger or LINGER, reset=False)

    def abort(self) -> None:
        """End at once: unsent bytes are dropped, and the peer sees a reset."""
        self._let_go(True)

    async def sent(self, *, acknowledged: bool = False) -> None:
        """Wait until nothing that was written is left in this process, or the connection is gone.

        Ask for the end first: `close`, which also bounds this wait.

        Args:
            acknowledged: wait until the machine of a TCP peer has it too, since ours may go away with us.
        """
        acknowledged = acknowledged and self._socket.family != socket.AF_UNIX
        while not self._closed and (self._unsent() if acknowledged else self.unsent):
            await SYSTEM.sleep(_LOOK)

    async def wait_closed(self, timeout: float) -> None:
        """Wait until the connection is gone; abort it after `timeout` seconds. Ask for the end first: `close`."""
        if self._closed:
            return
        if self._gone is None:
            self._gone = asyncio.get_running_loop().create_future()
        await asyncio.wait((self._gone,), timeout=timeout)
        if not self._closed:
            self.abort()
            await asyncio.shield(self._gone)

    # ---- inside

    def _end_with_reset(self, linger: float) -> None:
        if self._unsent() == 0:
            self._let_go(True)
        else:
            self._steer()
            self._farewell = Farewell(self._unsent, self._let_go, linger=linger, reset=True)

    def _unsent(self) -> int:
        return self.unsent + unacknowledged(self._socket)

    def _let_go(self, reset: bool) -> None:
        if self._closed:
            return
        if reset and self._socket.family != socket.AF_UNIX:
            with contextlib.suppress(OSError):
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.outlet = NOWHERE
        self._closing = True
        self._transport.abort()

    def _end(self, which: Callable[[socket.socket], Peer]) -> Peer:
        try:
            return which(self._socket)
        except OSError:
            return UNKNOWN

    def _failure(self) -> ConnectionError:
        if isinstance(self._error, ConnectionError):
            return self._error
        if self._error is not None:
            return ConnectionResetError(str(self._error))
        return ConnectionAbortedError("the connection is closed")
