# cython: language_level=3, annotation_typing=False, embedsignature=False
"""Flow: the half of a stream that the transport and TLS talk to. Its owner's half is `stream.Stream`.

Received bytes take one of two ways: they gather in a bounded buffer, or go straight to a sink. With TLS they first
pass the engine. Whatever stops them being wanted stops the reading of the socket too, so nothing grows.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from typing import Protocol

from ambassador.net.engine import RECORD, Engine, TlsFailed, explain
from ambassador.net.farewell import Farewell
from ambassador.net.taker import NOWHERE, Giving, Taker
from ambassador.net.transport import MOST, Transport

LIMIT = MOST
"""Most bytes gathered while nobody reads, unless the stream is given another number."""


def wake(future: asyncio.Future[None] | None) -> None:
    """Let go on who waits for `future`."""
    if future is not None and not future.done():
        future.set_result(None)


class Sink(Protocol):
    """Takes what a stream gives. Called from the event loop: must not block; only the taker may raise."""

    @property
    def taker(self) -> Taker:
        """Takes the bytes. Looked up once, when pouring begins."""

    def failed(self, error: Exception) -> None:
        """The taker has raised `error`."""

    @property
    def patient(self) -> bool:
        """Whether what the peer sent before it reset the connection is wanted, though reading is paused."""

    def eof(self) -> None:
        """The peer sends no more; writing to it is still possible. `stream.truncated` says if TLS ended unsaid."""

    def lost(self, error: BaseException | None) -> None:
        """The connection is gone: through the peer or the network (`error`), or closed here (None)."""

    def pause(self) -> None:
        """Too much written to this stream is still unsent: write no more for now."""

    def resume(self) -> None:
        """Write again."""


class Flow(Taker):
    """State of a stream, and what happens to it from outside. As a taker it gathers bytes for `read`."""

    __slots__ = (
        "_answering",
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
        "_sink",
        "_socket",
        "_transport",
        "outlet",
        "truncated",
    )

    def __init__(self, sock: socket.socket, *, limit: int = LIMIT) -> None:
        self.truncated = False
        self._socket = sock
        self._limit = min(limit, LIMIT)
        self._engine: Engine | None = None
        self._handshake: asyncio.Future[None] | None = None
        self._sink: Sink | None = None
        self._deliver: Taker = self
        self._buffer = b""
        self._fin = False  # FIN has come
        self._eof = False  # nothing more to read: FIN, or TLS's close_notify
        self._eof_told = False  # and the sink knows
        self._eof_sent = False
        self._held = False  # reading stopped by the owner
        self._full = False  # reading stopped by the limit
        self._answering = False  # reading stopped until TLS's own answers have left
        self._choked = False  # the transport holds more than HIGH_WATER
        self._closing = False
        self._closed = False
        self._error: Exception | None = None
        self._readable: asyncio.Future[None] | None = None
        self._drained: asyncio.Future[None] | None = None
        self._gone: asyncio.Future[None] | None = None
        self._farewell: Farewell | None = None
        self._transport = Transport(sock, self, self, self._limit)
        self.outlet: Taker = self._transport

    # ---- called by the transport

    def eof_received(self) -> bool:
        """FIN has come. True: keep the transport, we may still write."""
        self._fin = True
        if self._closing:
            return False
        if not self._eof:
            self.truncated = self._engine is not None
            self._end_reading()
        return True

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is gone."""
        self._closed = True
        self._error = self._error or error
        self._fail_handshake(TlsFailed("the connection was lost"))
        self.outlet = NOWHERE
        self._deliver = NOWHERE
        self._route()
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

    def is_patient(self) -> bool:
        """The connection was reset while nothing is read from it: by what else is there to end it?

        While it is awaited, by a deadline; while it is poured, by the other side, if that matters.
        """
        return self._sink is None or self._sink.patient

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
        if self._answering:
            self._answering = False
            self._more()
        if self._sink is not None:
            self._sink.resume()

    def delivery_failed(self, error: Exception) -> None:
        """Who was given bytes has raised."""
        if self._sink is not None:
            self._sink.failed(error)
            return
        words = {"message": "a connection failed through a fault of ours", "exception": error}
        asyncio.get_running_loop().call_exception_handler(words)
        self._transport.abort()

    # ---- bytes in

    def _route(self) -> None:
        """Give the transport the way of what comes next."""
        transport = self._transport
        transport.most = LIMIT
        if self._closing or self._closed:
            transport.taker = NOWHERE
        elif self._engine is not None:
            transport.taker = Giving(self._received if self._engine.ready else self._shaken)
        else:
            transport.taker = self._deliver
            if self._sink is None:
                transport.most = self._limit - len(self._buffer) or 1

    def take(self, chunk: bytes) -> None:
        """Keep `chunk` for who reads."""
        self._buffer += chunk
        if len(self._buffer) >= self._limit:
            self._full = True
            self._steer()
        else:
            self._route()
        wake(self._readable)

    def _shaken(self, chunk: bytes) -> None:
        """A piece of the handshake has come."""
        if self._engine is not None:
            self._engine.incoming.write(chunk)
            self._shake()

    def _received(self, chunk: bytes) -> None:
        """Ciphertext has come."""
        engine = self._engine
        if engine is not None:
            engine.incoming.write(chunk)
            self._decrypt(engine, len(chunk))

    def _decrypt(self, engine: Engine, size: int) -> None:
        """Deliver what TLS holds while it is wanted. The first piece is expected to have fewer than `size` bytes.

        The hot loop: `Engine.read` and `Engine.pending` are written out here, to save their frames.
        """
        read, incoming = engine.decrypt, engine.incoming
        try:
            while not (self._held or self._full or self._eof or self._closing):
                if self._sink is None:
                    size = min(size, self._limit - len(self._buffer))
                data = read(size)
                if not data:
                    self._end_reading()
                    break
                taker = self._deliver  # held while it works, see `Transport.ready`
                taker.take(data)
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
            if self._choked:
                # A peer that makes TLS answer (KeyUpdate, RFC 8446, section 4.6.3) and does not read the answers.
                self._answering = True
                self._steer()

    def _more(self) -> None:
        """Deliver what waits here, as far as it is wanted now, and read on accordingly."""
        if self._closed or self._closing:
            return
        self._full = self._sink is None and len(self._buffer) >= self._limit
        if self._sink is not None and self._buffer and not self._held:
            data, self._buffer = self._buffer, b""
            taker = self._deliver
            taker.take(data)
        if self._engine is not None and self._engine.ready:
            self._decrypt(self._engine, RECORD + 1)
        self._route()
        self._tell_eof()
        self._steer()

    def _steer(self) -> None:
        """Read from the socket, or stop, as things are."""
        if self._closed:
            return
        if (self._held or self._full or self._answering) and not self._closing:
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
            self.outlet = engine
            self._handshake = None
            handshake.set_result(None)
            self._route()
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
        with contextlib.suppress(TlsFailed):  # which reading on will report
            while engine.ready and engine.pending and (data := engine.read(RECORD)):
                self._buffer += data
        engine.close()

    def _break(self, error: TlsFailed) -> None:
        """TLS cannot go on: whoever reads hears it; a sink hears it when the connection is gone, which is at once."""
        self._error = self._error or error
        wake(self._readable)
        if self._engine is not None and not self._closing:
            self._engine.flush()
            if self._sink is not None:
                self._closing = True
                self._transport.abort()
        self._full = True
        self._steer()
