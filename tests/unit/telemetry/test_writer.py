from __future__ import annotations

import fcntl
import io
import os
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import pytest

from ambassador.telemetry.writer import Writer


def lost(count: int) -> bytes:
    return b"lost %d\n" % count


@contextmanager
def pipe() -> Iterator[tuple[BinaryIO, BinaryIO]]:
    """Reading and writing end of a pipe, its buffer as small as the kernel lets it be."""
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    with os.fdopen(reading, "rb", 0) as reader, os.fdopen(writing, "wb", 0) as writer:
        yield reader, writer


def wait_until_stuck(writer: Writer) -> None:
    """Until the thread has taken the first line, which does not fit into the pipe."""
    deadline = time.monotonic() + 5
    while writer._lines and time.monotonic() < deadline:
        time.sleep(0.001)
    assert not writer._lines


def test_lines_arrive_in_order(tmp_path: Path) -> None:
    file = tmp_path / "log"
    with file.open("wb") as stream:
        writer = Writer(stream, lost)
        for number in range(5000):
            writer.put(b"%d\n" % number)
        assert writer.close(5.0)
    assert file.read_bytes() == b"".join(b"%d\n" % number for number in range(5000))
    assert writer.dropped == 0


def test_a_stuck_reader_never_blocks_who_writes_and_the_loss_is_counted_and_told() -> None:
    with pipe() as (reader, stream):
        writer = Writer(stream, lost, limit=20_000)
        writer.put(b"x" * 9_999 + b"\n")
        wait_until_stuck(writer)
        started = time.monotonic()
        for _ in range(1000):
            writer.put(b"y" * 99 + b"\n")
        assert time.monotonic() - started < 1.0
        assert writer.dropped == 900
        assert not writer.flush(0.05)

        received = bytearray()
        while b"lost" not in received:
            received += reader.read(65536)
            writer.put(b"again\n")
        rest: list[bytes] = []
        finish = threading.Thread(target=lambda: rest.extend(iter(lambda: reader.read(65536), b"")))
        finish.start()
        assert writer.close(5.0)
        stream.close()
        finish.join(5.0)
    received += b"".join(rest)
    assert received.count(b"y" * 99 + b"\n") == 100
    assert received.startswith(b"x" * 9_999 + b"\n")
    assert sum(map(int, re.findall(rb"lost (\d+)\n", received))) == writer.dropped >= 900


def test_closing_waits_for_a_stuck_reader_no_longer_than_its_deadline() -> None:
    with pipe() as (reader, stream):
        writer = Writer(stream, lost)
        writer.put(b"x" * 100_000)
        wait_until_stuck(writer)
        started = time.monotonic()
        assert not writer.close(0.1)
        assert time.monotonic() - started < 1.0
        reader.close()
        writer._thread.join(5.0)
    assert not writer._thread.is_alive()


def test_what_is_written_to_a_reader_that_is_gone_counts_as_dropped() -> None:
    with pipe() as (reader, stream):
        reader.close()
        writer = Writer(stream, lost)
        writer.put(b"one\n")
        assert writer.flush(5.0)
        writer.put(b"two\n")
        assert writer.close(5.0)
        assert writer.dropped == 2


def test_lines_after_closing_are_dropped() -> None:
    stream = io.BytesIO()
    writer = Writer(stream, lost)
    writer.close(5.0)
    writer.put(b"late\n")
    assert stream.getvalue() == b""
    assert writer.dropped == 1


def test_a_pipe_that_somebody_made_non_blocking_is_waited_for() -> None:
    with pipe() as (reader, stream):
        os.set_blocking(stream.fileno(), False)
        writer = Writer(stream, lost)
        writer.put(b"x" * 50_000)
        received = bytearray()
        while len(received) < 50_000:
            received += reader.read(4096)
        assert writer.close(5.0)
        assert received == b"x" * 50_000


@pytest.mark.parametrize("stream", [io.BytesIO(), io.StringIO()])
def test_a_stream_without_a_descriptor_is_written_to_as_it_likes(stream: io.BytesIO | io.StringIO) -> None:
    writer = Writer(stream, lost)
    writer.put("é\n".encode())
    assert writer.close(5.0)
    assert stream.getvalue() in {"é\n", "é\n".encode()}


def test_the_stream_is_kept_open_as_long_as_it_is_written_to(tmp_path: Path) -> None:
    file = tmp_path / "log"
    writer = Writer(file.open("wb"), lost)
    writer.put(b"here\n")
    assert writer.close(5.0)
    assert file.read_bytes() == b"here\n"
    assert writer.dropped == 0
    writer._stream.close()


def test_a_line_longer_than_a_batch_is_written_whole() -> None:
    stream = io.BytesIO()
    writer = Writer(stream, lost)
    lines = [b"a" * size + b"\n" for size in (10, 70_000, 10, 60_000, 10_000)]
    for line in lines:
        writer.put(line)
    assert writer.close(5.0)
    assert stream.getvalue() == b"".join(lines)
