# cython: language_level=3, annotation_typing=False, embedsignature=False
"""Transport: a socket's bytes in and out, as they can go, without waiting.

The event loops' own transports cost a third more for each chunk, and read no more once a write has failed, where the
kernel may still hold the peer's last words.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
from collections import deque
from itertools import islice
from typing import Protocol, cast

from ambassador.net.poller import poller
from ambassador.net.syscalls import Descriptor
from ambassador.net.taker import Taker

HIGH_WATER = 65536
LOW_WATER = 16384
"""Unsent bytes at which writers are told to pause, and to go on."""

MOST = 65536
"""Most bytes taken from the socket at a time."""

READS = 4
"""Most reads in a row from one socket that has more each time: the others are to have their turn."""

SALVAGED = 256
"""Most reads from a connection that has broken."""

_PIECES = 64
"""Most pieces given to the kernel at a time (writev(2))."""

READ = select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLPRI
WRITE = select.EPOLLOUT
ERROR = select.EPOLLERR
BROKEN = ERROR | select.EPOLLHUP  # told without being asked for
READABLE = READ | BROKEN
WRITABLE = WRITE | BROKEN

DOUBTFUL = select.EPOLLRDHUP | select.EPOLLPRI | BROKEN
"""Events with which a short read does not mean that the socket is empty: the end, an error, or urgent data follow."""

# A socket told of once for each arrival (edge-triggered) costs the kernel less than one it must look at again after
# every read, to see whether it was emptied. It must be emptied then, or be watched anew, which tells at once what is
# there. A unix socket may give little though it holds more (ancillary data, unix(7)): it is told of until it is empty.
EDGES = select.EPOLLET


class Events(Protocol):
    """Who owns a transport, and is told what happens to it besides the bytes that come."""

    def eof_received(self) -> bool:
        """FIN has come; True keeps the transport open."""

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is gone: through the peer or the network (`error`), or closed here (None)."""

    def delivery_failed(self, error: Exception) -> None:
        """The taker, or one of these, has raised."""

    def is_patient(self) -> bool:
        """The peer has reset the connection while reading was paused. True: what the kernel still holds is wanted."""

    def pause_writing(self) -> None:
        """Too much is unsent."""

    def resume_writing(self) -> None:
        """Most of it has left."""


class Transport(Descriptor):
    """A connected, non-blocking stream socket, which it owns from now on. Reading begins at once.

    As a taker it sends what it takes: at once, or as soon as it can go. It does nothing once our side has ended.

    `taker` takes what comes, and `most` (1 to `MOST`) is how much at a time; both may be changed at any time.

    Raises:
        OSError: there are no more descriptors; the socket has been closed.
    """

    __slots__ = (
        "_choked",
        "_closing",
        "_direct",
        "_eof",
        "_events",
        "_fin",
        "_mode",
        "_over",
        "_poller",
        "_queue",
        "_queued",
        "_reading",
        "_socket",
        "_watched",
        "most",
        "taker",
    )

    def __init__(self, sock: socket.socket, events: Events, taker: Taker, most: int = MOST) -> None:
        super().__init__(sock.fileno())
        if self.fd < 0:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        self.taker = taker
        self.most = most
        self._socket = sock
        self._events = events
        self._queue: deque[memoryview] | None = None  # unsent; most connections never have any
        self._queued = 0
        self._direct = True  # nothing is unsent, and our side is open: what is written can go at once
        self._reading = True
        self._fin = False
        self._eof = False  # our side ends, behind what is unsent
        self._closing = False
        self._over = False
        self._choked = False
        self._mode = 0 if sock.family == socket.AF_UNIX else EDGES
        self._watched = 0
        self._poller = poller()
        self._poller.enter(self)
        self._steer()

    # ---- called by the poller

    def ready(self, events: int) -> None:
        """The socket can be read or written, or is broken."""
        if events & ERROR and not self._watched & (READ | WRITE):
            self._consider()
        if events & READABLE and self._watched & READ:
            self._read(events)
        if events & WRITABLE and self._watched & WRITE:
            self._flush()

    def _read(self, events: int) -> None:
        """Take what has come, and go on while there is much of it: what it gives rise to is gathered, and the more that
        is, the less each costs whoever is asked. Where more than bytes has come, it is one step at a time."""
        doubtful = events & DOUBTFUL != 0
        for left in range(1 if doubtful else READS, 0, -1):
            most = self.most
            try:
                data = self.receive(most)
            except OSError as error:
                self._lose(error)
                return
            if not data:
                if data is not None:
                    self._ended()
                return
            full = len(data) == most
            if doubtful or (full and left == 1):
                self._rearm()
            # Held while it works: it may have another put in its place, and compiled code holds nothing by itself.
            taker = self.taker
            taker.take(data)
            if not full or not self._watched & READ:
                return
            if self._eof:
                # Writing may have failed on the way, and have taken the word of a reset: the next read would be an end.
                self._rearm()
                return

    def failed(self, error: Exception) -> None:
        """What was called on the way has raised."""
        self._rearm()
        self._events.delivery_failed(error)

    # ---- called by the owner

    @property
    def unsent(self) -> int:
        """How many bytes the kernel has not taken yet."""
        return self._queued

    def take(self, chunk: bytes) -> None:
        """See `Taker`."""
        if self._direct:
            try:
                count = self.send(chunk)
            except OSError as error:
                self._break(error)
                return
            if count != len(chunk):
                self._keep(memoryview(chunk)[count:])
        elif self._queue and not (self._eof or self._closing):
            self._keep(memoryview(chunk))

    def write_eof(self) -> None:
        """End our side, behind what is unsent."""
        if self._eof or self._closing or self._over:
            return
        self._eof = True
        self._direct = False
        if not self._queue:
            self._shut()

    def pause_reading(self) -> None:
        """Take no more from the socket."""
        self._reading = False
        self._steer()

    def resume_reading(self) -> None:
        """Read on."""
        self._reading = True
        self._steer()

    def close(self) -> None:
        """Close behind what is unsent; until then nothing more is read."""
        if self._closing or self._over:
            return
        self._closing = True
        self._direct = False
        if self._queue:
            self._steer()
        else:
            self._lose(None)

    def abort(self) -> None:
        """Close now; what is unsent is lost."""
        self._lose(None)

    # ---- inside

    def _consider(self) -> None:
        """Reset while nothing is read or written, which else would tell."""
        if self._fin or not self._events.is_patient():
            number = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) or errno.ECONNRESET
            self._lose(OSError(number, os.strerror(number)))

    def _ended(self) -> None:
        self._fin = True
        self._steer()
        if not self._events.eof_received():
            self.close()

    def _keep(self, rest: memoryview) -> None:
        if self._queue is None:
            self._queue = deque()
        self._queue.append(rest)
        self._queued += len(rest)
        self._direct = False
        self._steer()
        if self._queued > HIGH_WATER and not self._choked:
            self._choked = True
            self._events.pause_writing()

    def _flush(self) -> None:
        queue = self._queue
        try:
            while queue:
                count = os.writev(self.fd, list(islice(queue, _PIECES)))
                self._queued -= count
                while queue and count >= len(queue[0]):
                    count -= len(queue.popleft())
                if count:
                    queue[0] = queue[0][count:]
        except BlockingIOError:
            pass
        except OSError as error:
            self._break(error)
            return
        if not queue:
            self._emptied()
        if self._choked and self._queued <= LOW_WATER and not self._over:
            self._choked = False
            self._events.resume_writing()

    def _emptied(self) -> None:
        self._queue = None
        self._direct = not (self._eof or self._closing)
        if self._closing:
            self._lose(None)
            return
        self._steer()
        if self._eof:
            self._shut()

    def _shut(self) -> None:
        with contextlib.suppress(OSError):  # it is broken; reading will say so
            self._socket.shutdown(socket.SHUT_WR)

    def _break(self, error: OSError) -> None:
        """Writing has failed. What the peer said before is still in the kernel, and often tells why."""
        self._direct = False
        self._queue = None
        self._queued = 0
        self._eof = True
        self._steer()
        self._poller.loop.call_soon(self._salvage, error)

    def _salvage(self, error: OSError) -> None:
        try:
            for _ in range(SALVAGED):
                data = self.receive(self.most) if self._watched & READ else None
                if data is None:
                    break
                if data:
                    taker = self.taker
                    taker.take(data)
                elif isinstance(error, BrokenPipeError):  # FIN came, and then the reset
                    self._ended()
                else:  # no FIN: having told its error, the kernel says "end" for what is missing
                    break
        except OSError:
            pass
        except Exception as failure:  # noqa: BLE001 - told, as if it had come in time
            self.failed(failure)
        self._lose(error)

    def _lose(self, error: Exception | None) -> None:
        if self._over:
            return
        self._over = True
        self._direct = False
        self._queue = None
        self._queued = 0
        self._steer()
        self._poller.leave(self)
        self._poller.loop.call_soon(self._gone, error)

    def _gone(self, error: Exception | None) -> None:
        events, self._events = self._events, cast("Events", None)  # or the two would hold each other for ever
        self._socket.close()
        events.connection_lost(error)

    def _rearm(self) -> None:
        """There may be more to read, which has been told already."""
        if self._watched & EDGES:
            self._poller.watch(self.fd, self._watched, self._watched)

    def _steer(self) -> None:
        """Watch for what matters now."""
        watched = 0
        if not self._over:
            if self._reading and not (self._fin or self._closing):
                watched = READ
            if self._queue:
                watched |= WRITE
            # With nothing else to tell, a break is told still: else a peer that is gone would be held for ever.
            watched |= self._mode if watched else EDGES
        before, self._watched = self._watched, watched
        if watched != before:
            try:
                self._poller.watch(self.fd, before, watched)
            except OSError as error:
                self._watched = before
                self._lose(error)


# Its type hides it from Python, when compiled.
globals().update(READS=READS)
