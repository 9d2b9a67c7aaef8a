"""A TCP proxy that misbehaves as told: it loses, delays, resets and trickles, in each direction by itself."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from ambassador.kit.clock import SYSTEM, Clock

_RESET = struct.pack("ii", 1, 0)


@dataclass(frozen=True)
class Fault:
    """What is done to the bytes of one direction. The counts are of bytes since the connection began.

    Args:
        delay: seconds each chunk is held back.
        piece: bytes passed on at a time; with `pause` a trickle.
        pause: seconds after each piece.
        lose_after: from there on bytes vanish, while the connection stays.
        stop_after: from there on nothing is read any more, as from a peer that hangs.
        reset_after: there both connections are reset.
        close_after: there both connections are closed.
    """

    delay: float = 0.0
    piece: int = 65536
    pause: float = 0.0
    lose_after: int | None = None
    stop_after: int | None = None
    reset_after: int | None = None
    close_after: int | None = None


TRICKLE = Fault(piece=1, pause=1.0)
"""One byte a second."""

FINE = Fault()


class FaultyProxy:
    """Stands before `host:port`; connect to `port` of this machine instead. Use as an async context manager.

    Args:
        towards: fault of the bytes from client to server.
        back: fault of the bytes from server to client.
        clock: what delays and pauses are measured on.
    """

    def __init__(
        self, port: int, *, host: str = "127.0.0.1", towards: Fault = FINE, back: Fault = FINE, clock: Clock = SYSTEM
    ) -> None:
        self._target = (host, port)
        self._towards = towards
        self._back = back
        self._clock = clock
        self._writers: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[None]] = set()
        self.port = 0
        self.accepted = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        self.reset()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)
        await self._server.wait_closed()

    def reset(self) -> None:
        """Reset every connection there is."""
        for writer in self._writers:
            _reset(writer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        self.accepted += 1
        try:
            far_reader, far_writer = await asyncio.open_connection(*self._target)
        except OSError:
            _reset(writer)
            return
        ends = (writer, far_writer)
        self._writers.update(ends)
        try:
            await asyncio.gather(
                self._carry(reader, far_writer, self._towards, ends), self._carry(far_reader, writer, self._back, ends)
            )
        except OSError:
            self._end(ends, _reset)
        finally:
            self._end(ends, asyncio.StreamWriter.close)
            for end in ends:
                with contextlib.suppress(OSError):
                    await end.wait_closed()
            self._writers.difference_update(ends)
            self._serving.discard(task)

    async def _carry(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        fault: Fault,
        ends: tuple[asyncio.StreamWriter, asyncio.StreamWriter],
    ) -> None:
        done = 0
        while data := await reader.read(min(fault.piece, _left(fault, done))):
            if fault.delay:
                await self._clock.sleep(fault.delay)
            done += len(data)
            if fault.lose_after is None or done <= fault.lose_after:
                writer.write(data)
                await writer.drain()
            if fault.pause:
                await self._clock.sleep(fault.pause)
            if done == fault.stop_after:
                await asyncio.Event().wait()
            if done == fault.reset_after:
                self._end(ends, _reset)
                return
            if done == fault.close_after:
                self._end(ends, asyncio.StreamWriter.close)
                return
        if writer.can_write_eof() and not writer.is_closing():
            writer.write_eof()

    @staticmethod
    def _end(ends: Iterable[asyncio.StreamWriter], how: Callable[[asyncio.StreamWriter], None]) -> None:
        for end in ends:
            how(end)


def _left(fault: Fault, done: int) -> int:
    """How many bytes there are until the next thing happens."""
    marks = (fault.lose_after, fault.stop_after, fault.reset_after, fault.close_after)
    ahead = [mark - done for mark in marks if mark is not None and mark > done]
    return min(ahead, default=1 << 16)


def _reset(writer: asyncio.StreamWriter) -> None:
    if writer.transport.is_closing():
        return
    sock = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()
