"""Lines on their way to a stream whose reader may be slow, or stuck.

A write to a full pipe blocks, and on the loop's thread it would stop every session. So one thread writes, and the
queue to it is bounded: when it is full, lines are dropped and counted, and a later line says how many.
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Callable
from typing import BinaryIO, TextIO, cast

from ambassador.kit.clock import SYSTEM

Stream = BinaryIO | TextIO

LIMIT = 4 << 20
"""Bytes that may wait, the batch being written included."""

_PAUSE = 0.01
_MOST_AT_ONCE = 64 << 10


class Writer:
    """One stream and the thread that writes to it.

    The thread is a daemon: stuck in a write that never returns, it does not keep the process from ending.

    Args:
        stream: where to; something with a descriptor is written to directly, anything else (a test's buffer)
            through its `write`.
        lost: makes the line that tells how many were dropped.
        limit: bytes that may wait.
    """

    def __init__(self, stream: Stream, lost: Callable[[int], bytes], *, limit: int = LIMIT) -> None:
        self._stream = stream  # held, or its descriptor would be closed with it and then be somebody else's
        self._send = _sender(stream)
        self._lost = lost
        self._limit = limit
        self._lock = threading.Lock()
        self._lines: list[bytes] = []
        self._waiting = 0  # bytes queued, and those of the batch being written
        self._dropped = 0
        self._told = 0
        self._filled = threading.Event()
        self._empty = threading.Event()
        self._empty.set()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """How many lines were lost so far."""
        return self._dropped

    def put(self, line: bytes) -> None:
        """Queue one line, newline included. Never blocks; drops the line when too much is waiting."""
        with self._lock:
            if self._closing or self._waiting + len(line) > self._limit:
                self._dropped += 1
                return
            first = not self._lines
            self._lines.append(line)
            self._waiting += len(line)
            self._empty.clear()
        if first:
            self._filled.set()

    def flush(self, timeout: float) -> bool:
        """Wait at most `timeout` seconds until all that was queued is written; whether it is."""
        return self._empty.wait(timeout)

    def close(self, timeout: float) -> bool:
        """Take no more lines, write what is queued, wait at most `timeout` seconds; whether all was written."""
        with self._lock:
            self._closing = True
        self._filled.set()
        self._thread.join(timeout)
        return not self._thread.is_alive() and self._empty.is_set()

    def _run(self) -> None:
        written_at = float("-inf")
        while True:
            self._filled.wait()
            if not self._closing:
                # A burst is gathered into one write instead of waking this thread, and its claim on the
                # interpreter, for every line.
                time.sleep(min(_PAUSE, max(0.0, written_at + _PAUSE - SYSTEM.now())))
            with self._lock:
                self._filled.clear()
                lines, self._lines = self._lines, []
                closing = self._closing
            self._write(lines)
            written_at = SYSTEM.now()
            if closing:
                return

    def _write(self, lines: list[bytes]) -> None:
        size = sum(map(len, lines))
        try:
            self._tell_lost()
            for batch in _batches(lines):
                self._send(batch)
        except (OSError, ValueError):  # the reader is gone, or the stream was closed under us
            self._count_lost(len(lines))
        with self._lock:
            self._waiting -= size
            if not self._lines:
                self._empty.set()

    def _tell_lost(self) -> None:
        lost = self._dropped - self._told
        if lost:
            self._send(self._lost(lost))
            self._told += lost

    def _count_lost(self, lines: int) -> None:
        with self._lock:
            self._dropped += lines


def _batches(lines: list[bytes]) -> list[bytes]:
    """The lines joined into pieces of at most 64 KiB or one line."""
    batches: list[bytes] = []
    start = size = 0
    for end, line in enumerate(lines):
        if size and size + len(line) > _MOST_AT_ONCE:
            batches.append(b"".join(lines[start:end]))
            start, size = end, 0
        size += len(line)
    if lines:
        batches.append(b"".join(lines[start:]))
    return batches


def _sender(stream: Stream) -> Callable[[bytes], None]:
    try:
        descriptor = stream.fileno()
    except (OSError, ValueError, AttributeError):
        return _text_sender(stream) if hasattr(stream, "encoding") else _bytes_sender(stream)
    return lambda data: _write_descriptor(descriptor, data)


def _text_sender(stream: Stream) -> Callable[[bytes], None]:
    def send(data: bytes) -> None:
        cast("TextIO", stream).write(data.decode())
        stream.flush()

    return send


def _bytes_sender(stream: Stream) -> Callable[[bytes], None]:
    def send(data: bytes) -> None:
        cast("BinaryIO", stream).write(data)
        stream.flush()

    return send


def _write_descriptor(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(descriptor, view) :]
        except BlockingIOError:
            # Somebody who shares the pipe made it non-blocking; waiting is this thread's purpose.
            select.select((), (descriptor,), ())
