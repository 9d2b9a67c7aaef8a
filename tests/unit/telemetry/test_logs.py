from __future__ import annotations

import asyncio
import contextlib
import fcntl
import io
import json
import logging
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ambassador.telemetry import logs


@contextlib.contextmanager
def log_to(level: logs.Level = "info", kind: logs.Format = "json") -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """A log in memory; the function gives its lines so far."""
    stream = io.BytesIO()
    handle = logs.setup(level, kind, stream)

    def lines() -> list[dict[str, Any]]:
        assert handle.flush(5.0)
        return [json.loads(line) for line in stream.getvalue().splitlines()]

    try:
        yield lines
    finally:
        handle.close(5.0)


_log = logs.logger("tests")


def test_a_line_has_its_event_and_fields() -> None:
    with log_to() as lines:
        _log.info("session ended", user="app", bytes_in=3)
    (line,) = lines()
    assert (line["level"], line["event"], line["logger"]) == ("info", "session ended", "tests")
    assert (line["user"], line["bytes_in"]) == ("app", 3)


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
def test_only_lines_of_the_level_and_above_are_written(level: logs.Level) -> None:
    order = ["debug", "info", "warning", "error"]
    with log_to(level) as lines:
        for word in order:
            getattr(_log, word)("event")
        assert [line["level"] for line in lines()] == order[order.index(level) :]
        assert _log.enabled_for_debug is (level == "debug")
        assert logs.level() == level


def test_the_level_changes_while_running() -> None:
    with log_to("error") as lines:
        _log.info("not seen")
        logs.set_level("debug")
        _log.debug("seen")
        assert [line["event"] for line in lines()] == ["seen"]


def test_an_exception_is_told_with_its_traceback_and_without_secrets() -> None:
    secret = secrets.token_hex(12)
    logs.conceal(secret)

    def fails(password: str) -> None:
        raise ValueError(f"bad password {password!r}\nin two lines")

    with log_to() as lines:
        try:
            fails(secret)
        except ValueError as error:
            _log.exception("something broke", error, listener="orders")
    (line,) = lines()
    assert line["level"] == "error"
    assert line["error"] == "ValueError: bad password '***' in two lines"
    assert line["listener"] == "orders"
    assert "in fails" in line["traceback"]
    assert secret not in json.dumps(line)


def test_secrets_in_the_causes_of_an_exception_are_masked_too() -> None:
    secret = secrets.token_hex(12)
    logs.conceal(secret)

    def fails() -> None:
        try:
            int(secret.encode() + b"?")
        except ValueError as cause:
            raise RuntimeError("outer") from cause

    with log_to() as lines:
        try:
            fails()
        except RuntimeError as error:
            _log.exception("something broke", error)
    (line,) = lines()
    assert "The above exception was the direct cause" in line["traceback"]
    assert secret not in json.dumps(line)


def test_an_error_without_words_is_told_by_its_type() -> None:
    assert logs.describe(TimeoutError()) == "TimeoutError"


def test_of_a_long_traceback_the_end_is_kept() -> None:
    def recurse(depth: int) -> None:
        if depth:
            recurse(depth - 1)
        raise ValueError("x" * 100_000 + "the end")

    with pytest.raises(ValueError, match="the end") as caught:
        recurse(3)
    assert logs.trace(caught.value).endswith("the end\n")
    assert len(logs.trace(caught.value)) <= 32768


def test_what_libraries_log_goes_the_same_way() -> None:
    with log_to() as lines:
        logging.getLogger("aiohttp.server").warning("odd %s", "thing")
        try:
            int("no")
        except ValueError:
            logging.getLogger("asyncio").exception("failed")
        logging.getLogger("asyncio").debug("chatter")
    first, second = lines()
    assert (first["event"], first["logger"], first["message"]) == ("library message", "aiohttp.server", "odd thing")
    assert (second["level"], second["error"]) == ("error", "ValueError: invalid literal for int() with base 10: 'no'")
    assert "Traceback" in second["traceback"]


def test_libraries_stay_silent_at_debug_because_they_quote_what_they_send() -> None:
    with log_to("debug") as lines:
        logging.getLogger("asyncio").debug("sending ...")
        logging.getLogger("asyncio").info("seen")
    assert [line["message"] for line in lines()] == ["seen"]


def test_a_librarys_faulty_message_does_not_harm_it() -> None:
    with log_to() as lines:
        record = logging.makeLogRecord(
            {"name": "odd", "levelno": logging.WARNING, "msg": "%d items", "args": ("many",)}
        )
        (bridge,) = [one for one in logging.getLogger().handlers if isinstance(one, logs.Bridge)]
        bridge.handle(record)
    (line,) = lines()
    assert line["message"] == "%d items"
    assert line["error"].startswith("TypeError")


def test_a_librarys_levels_are_ours() -> None:
    with log_to("debug") as lines:
        for number in (logging.CRITICAL, logging.ERROR, logging.WARNING, 25, logging.INFO):
            logging.getLogger("odd").log(number, "x")
    assert [line["level"] for line in lines()] == ["error", "error", "warning", "info", "info"]
    assert logs._level_word(5) == "debug"


def test_text_can_be_had_instead_of_json() -> None:
    stream = io.StringIO()
    handle = logs.setup("info", "text", stream)
    _log.info("session ended", user="app")
    assert handle.close(5.0)
    assert stream.getvalue().endswith(" INFO    session ended [tests] user=app\n")


def test_before_setup_and_after_the_end_trouble_goes_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    with log_to():
        pass
    _log.info("not seen")
    _log.warning("seen")
    captured = capsys.readouterr()
    assert "not seen" not in captured.err
    assert "WARNING seen [tests]" in captured.err
    assert captured.out == ""


def test_closing_leaves_logging_as_it_was_found() -> None:
    root = logging.getLogger()
    before = (root.level, list(root.handlers))
    with log_to("error"):
        assert root.level == logging.ERROR
    assert (root.level, list(root.handlers)) == before


def test_setting_up_again_closes_what_was_set_up_before() -> None:
    first, second = io.BytesIO(), io.BytesIO()
    earlier = logs.setup("info", "json", first)
    _log.info("one")
    later = logs.setup("info", "json", second)
    _log.info("two")
    assert later.close(5.0)
    assert earlier.close(5.0)
    assert json.loads(first.getvalue())["event"] == "one"
    assert json.loads(second.getvalue())["event"] == "two"


async def test_a_full_pipe_does_not_stop_the_loop_and_the_drops_are_counted() -> None:
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    with os.fdopen(reading, "rb", 0) as reader, os.fdopen(writing, "wb", 0) as stream:
        before = logs.dropped()
        handle = logs.setup("info", "json", stream)
        worst, last = 0.0, time.monotonic()
        for _ in range(100):
            for _ in range(30):
                _log.info("noise", text="x" * 4000)
            await asyncio.sleep(0)
            now = time.monotonic()
            worst, last = max(worst, now - last), now
        assert worst < 1.0
        assert handle.dropped > 1000
        assert logs.dropped() == before + handle.dropped
        assert not handle.close(0.05)
        reader.close()
        handle._writer._thread.join(5.0)


def test_what_is_queued_is_written_when_the_process_ends() -> None:
    program = (
        "from ambassador.telemetry import logs\n"
        "logs.setup('info', 'json')\n"
        "for n in range(1000): logs.logger('x').info('line', n=n)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=20, check=True)
    assert [json.loads(line)["n"] for line in done.stdout.splitlines()] == list(range(1000))
    assert done.stderr == b""


def test_a_stuck_reader_does_not_keep_the_process_from_ending() -> None:
    program = (
        "from ambassador.telemetry import logs\n"
        "logs.setup('info', 'json')\n"
        "for n in range(1000): logs.logger('x').info('line', text='x' * 1000)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        assert process.wait(15) == 0  # nobody reads; it gives up after its two seconds
        assert process.stdout is not None
        process.stdout.read()
