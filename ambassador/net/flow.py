"""Flow: the half of a stream that the transport and TLS talk to. Its owner's half is `stream.Stream`.

Received bytes take one of two ways: they gather in a bounded buffer, or go straight to a sink. With TLS they first
pass the engine. Whatever stops them being wanted stops the reading of the socket too, so nothing grows.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import Callable
from typing import cast

from ambassador.net.engine import RECORD, Engine, TlsFailed, explain
from ambassador.net.farewell import Farewell
from ambassador.net.sink import Sink

LIMIT = 65536
"""Most bytes gathered while nobody reads, unless the stream is given another number."""

HIGH_WATER = 65536
LOW_WATER = 16384
"""Unsent bytes at which writers are told to pause, and to go on."""


class _Scratch(threading.local):
    """One receive buffer for each thread, so for each event loop: it is in use only from a read to its callback."""

    def __init__(self) -> None:
        self.view = memoryview(bytearray(LIMIT))


_scratch = _Scratch()


def discard(data: bytes) -> None:
    """What takes bytes once nothing is done with them any more."""


def wake(future: asyncio.Future[None] | None) -> None:
    """Let go on who waits for `future`."""
    if future is not None and not future.done():
        future.set_result(None)


class Flow(asyncio.BufferedProtocol):
    """State of a stream, and what happens to it from outside."""

    __slots__ = (
        "_buffer",
        "_choked",
        "_closed",
        "_closing",
        "_deliver",
        "_drained",
        "_engine",
        "_eof",
        "_eof_sent",
        "_eof_told",
        "_error",
        "_farewell",
        "_fin",
        "_full",
        "_gone",
        "_handshake",
        "_held",
        "_limit",
        "_readable",
        "_rest",
        "_scratch",
        "_sink",
        "_socket",
        "_transport",
        "truncated",
        "write",
    )

    write: Callable[[bytes], None]

    def __init__(self, sock: socket.socket, *, limit: int = LIMIT) -> None:
        self.truncated = False
        self.write = discard
        self._socket = sock
        self._limit = min(limit, LIMIT)
        self._scratch = _scratch.view
        self._transport: asyncio.Transport | None = None
        self._engine: Engine | None = None
        self._handshake: asyncio.Future[None] | None = None
        self._sink: Sink | None = None
        self._deliver: Callable[[bytes], None] = discard
        self._buffer = b""
        self._rest: memoryview | None = None  # ciphertext of a long chunk that was not wanted yet
        self._fin = False  # FIN has come
        self._eof = False  # nothing more to read: FIN, or TLS's close_notify
        self._eof_told = False  # and the sink knows
        self._eof_sent = False
        self._held = False  # reading stopped by the owner
        self._full = False  # reading stopped by the limit
        self._choked = False  # the transport holds more than HIGH_WATER
        self._closing = False
        self._closed = False
        self._error: BaseException | None = None
        self._readable: asyncio.Future[None] | None = None
        self._drained: asyncio.Future[None] | None = None
        self._gone: asyncio.Future[None] | None = None
        self._farewell: Farewell | None = None

    # ---- called by the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The event loop took the socket over."""
        # uvloop's transports are not asyncio's by type, only by what they do.
        self._transport = two_way = cast("asyncio.Transport", transport)
        two_way.set_write_buffer_limits(HIGH_WATER, LOW_WATER)
        self._deliver = self._gather
        self.write = two_way.write

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's signature
        """Where the next bytes may be put: no more than there is room for."""
        if self._engine is None and not self._closing:
            return self._scratch[: self._limit - len(self._buffer)]
        return self._scratch

    def buffer_updated(self, nbytes: int) -> None:
        """`nbytes` have come."""
        if self._closing:
            return
        engine = self._engine
        if engine is None:
            self._gather(bytes(self._scratch[:nbytes]))
            return
        engine.incoming.write(self._scratch[:nbytes])
        if engine.ready:
            self._decrypt(engine, nbytes)
        else:
            self._shake()

    def eof_received(self) -> bool:
        """FIN has come. True: keep the transport, we may still write."""
        self._fin = True
        if self._closing:
            return False
        if not self._eof:
            self.truncated = self._engine is not None
            self._end_reading()
        return True

    def connection_lost(self, exc: BaseException | None) -> None:
        """The connection is gone."""
        if exc is not None:
            self._salvage()
        self._closed = True
        self._error = self._error or exc
        self._fail_handshake(TlsFailed("the connection was lost"))
        self.write = discard
        self._deliver = discard
        if self._engine is not None:
            self._engine.let_go()
        if self._farewell is not None:
            self._farewell.cancel()
            self._farewell = None
        for future in (self._readable, self._drained, self._gone):
            wake(future)
        sink, self._sink = self._sink, None
        if sink is not None:
            sink.lost(self._error)

    def pause_writing(self) -> None:
        """The transport holds too much."""
        self._choked = True
        if self._sink is not None:
            self._sink.pause()

    def resume_writing(self) -> None:
        """The transport has sent most of it."""
        self._choked = False
        wake(self._drained)
        self._drained = None
        if self._sink is not None:
            self._sink.resume()

    # ---- bytes in

    def _gather(self, data: bytes) -> None:
        self._buffer += data
        if len(self._buffer) >= self._limit:
            self._full = True
            self._steer()
        wake(self._readable)

    def _received(self, engine: Engine, chunk: bytes) -> None:
        """Ciphertext has come while the stream is poured: no copy into the receive buffer, and one call less."""
        if len(chunk) <= LIMIT:
            engine.incoming.write(chunk)
            self._decrypt(engine, len(chunk))
        else:
            self._rest = memoryview(chunk)
            self._decrypt_rest(engine)

    def _decrypt_rest(self, engine: Engine) -> None:
        # In pieces, because a memory BIO never gives back the room it once grew to.
        while self._rest and not (self._held or self._closing):
            engine.incoming.write(self._rest[:LIMIT])
            self._rest = self._rest[LIMIT:]
            self._decrypt(engine, RECORD + 1)

    def _swallow_rest(self, engine: Engine) -> None:
        """Give up the pieces: what is left of a long chunk goes into the engine at once."""
        if self._rest:
            engine.incoming.write(self._rest)
        self._rest = None

    def _decrypt(self, engine: Engine, size: int) -> None:
        """Deliver what TLS holds while it is wanted. The first piece is expected to have fewer than `size` bytes.

        The hot loop: `Engine.read` and `Engine.pending` are written out here, to save their frames.
        """
        read, incoming = engine.object.read, engine.incoming
        try:
            while not (self._held or self._full or self._eof or self._closing):
                if self._sink is None:
                    size = min(size, self._limit - len(self._buffer))
                data = read(size)
                if not data:
                    self._end_reading()
                    break
                self._deliver(data)
                if len(data) < size and not incoming.pending:
                    break  # the record was read to its end, and there is no other
                size = RECORD + 1
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self._end_reading()
        except ssl.SSLError as error:
            self._break(TlsFailed(explain(error)))
        if engine.outgoing.pending and not self._closing:
            engine.flush()

    def _salvage(self) -> None:
        """Take what the peer sent before the connection broke.

        When a write fails the transport reads no more, but the kernel still holds what had come: often the very
        words that say why the peer left.
        """
        with contextlib.suppress(OSError):
            while not (self._fin or self._held or self._full or self._closing):
                count = self._socket.recv_into(self.get_buffer(0))
                if not count:
                    break
                if self._engine is None and self._sink is not None:
                    self._deliver(bytes(self._scratch[:count]))
                else:
                    self.buffer_updated(count)

    def _more(self) -> None:
        """Deliver what waits here, as far as it is wanted now, and read on accordingly."""
        if self._closed or self._closing:
            return
        self._full = self._sink is None and len(self._buffer) >= self._limit
        if self._sink is not None and self._buffer and not self._held:
            data, self._buffer = self._buffer, b""
            self._deliver(data)
        if self._engine is not None and self._engine.ready:
            self._decrypt(self._engine, RECORD + 1)
            self._decrypt_rest(self._engine)
        self._tell_eof()
        self._steer()

    def _steer(self) -> None:
        """Read from the socket, or stop, as things are."""
        if self._transport is None or self._closed or self._fin:
            return
        if (self._held or self._full) and not self._closing:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def _end_reading(self) -> None:
        self._eof = True
        self._fail_handshake(TlsFailed("the peer closed the connection"))
        wake(self._readable)
        self._tell_eof()

    def _tell_eof(self) -> None:
        if self._eof and not self._eof_told and self._sink is not None and not self._buffer:
            self._eof_told = True
            self._sink.eof()

    # ---- TLS

    def _shake(self) -> None:
        """Take the handshake a step on, with what has come."""
        engine, handshake = self._engine, self._handshake
        if engine is None or handshake is None or handshake.done():
            return
        try:
            done = engine.shake()
        except TlsFailed as error:
            self._fail_handshake(error)
            return
        if done:
            self.write = engine.write
            self._handshake = None
            handshake.set_result(None)
            self._decrypt(engine, RECORD + 1)

    def _fail_handshake(self, error: TlsFailed) -> None:
        if self._handshake is None:
            return
        self._error = self._error or error
        if not self._handshake.done():
            self._handshake.set_exception(error)
        self._handshake = None
        self._full = True
        self._steer()

    def _close_tls(self, engine: Engine) -> None:
        """Send close_notify; what has been received is kept, see `Engine.close`."""
        self._swallow_rest(engine)
        with contextlib.suppress(TlsFailed):  # which reading on will report
            while engine.ready and engine.pending and (data := engine.read(RECORD)):
                self._buffer += data
        engine.close()

    def _break(self, error: TlsFailed) -> None:
        """TLS cannot go on: whoever reads hears it; a sink hears it when the connection is gone, which is at once."""
        self._error = self._error or error
        wake(self._readable)
        if self._engine is not None and self._transport is not None and not self._closing:
            self._engine.flush()
            if self._sink is not None:
                self._closing = True
                self._transport.abort()
        self._full = True
        self._steer()
