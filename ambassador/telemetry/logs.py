"""Log lines: one JSON object each, from anywhere in the daemon, without ever making the loop wait.

`logger(name)` may be called at import; `setup` decides later where lines go. Until then warnings and errors go
straight to standard error, so that a command that never sets up a log (`check`) still speaks of trouble.

One line per session at its end, one per change of state; the rest at debug, behind `enabled_for_debug`. Never a
password, a token, a query's text. The fields' names are settled: `listener upstream endpoint session client user
database phase reason bytes_in bytes_out duration_ms credential version error`.
"""

from __future__ import annotations

import atexit
import logging
import sys
import traceback
from collections.abc import Callable, Mapping
from typing import Any, Literal

from ambassador.kit.clock import SYSTEM
from ambassador.telemetry.lines import LONGEST_TRACEBACK, Format, json_line, text_line
from ambassador.telemetry.redaction import conceal, reveal_nothing
from ambassador.telemetry.writer import Stream, Writer

__all__ = [
    "Format",
    "Level",
    "Log",
    "LogHandle",
    "conceal",
    "dropped",
    "level",
    "logger",
    "reveal_nothing",
    "set_level",
    "setup",
]

Level = Literal["debug", "info", "warning", "error"]

LEVELS: Mapping[str, int] = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
_DEBUG, _INFO, _WARNING, _ERROR = LEVELS.values()

CLOSE_TIMEOUT = 2.0
"""Seconds that the end of the process waits for a slow reader of the log."""

Lines = Callable[[float, str, str, str, Mapping[str, Any]], bytes]


class _Output:
    """Where lines go now. One per process, as standard output is."""

    def __init__(self) -> None:
        self.threshold = _WARNING
        self.lines: Lines = text_line
        self.put: Callable[[bytes], None] = _to_stderr
        self.handle: LogHandle | None = None
        self.dropped_before = 0

    def emit(self, level: str, event: str, name: str, fields: Mapping[str, Any]) -> None:
        self.put(self.lines(SYSTEM.wall(), level, event, name, fields))


def _to_stderr(line: bytes) -> None:
    sys.stderr.write(line.decode())


_OUTPUT = _Output()


class Log:
    """Writes the lines of one part of the daemon, under its name."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    @property
    def enabled_for_debug(self) -> bool:
        """Whether `debug` writes at all: ask first where the fields cost something to make."""
        return _OUTPUT.threshold <= _DEBUG

    def debug(self, event: str, /, **fields: object) -> None:
        """Something along the way. `event` is a short fixed phrase; what varies goes into fields."""
        if _OUTPUT.threshold <= _DEBUG:
            _OUTPUT.emit("debug", event, self._name, fields)

    def info(self, event: str, /, **fields: object) -> None:
        """A change of state, or the end of a session."""
        if _OUTPUT.threshold <= _INFO:
            _OUTPUT.emit("info", event, self._name, fields)

    def warning(self, event: str, /, **fields: object) -> None:
        """Something an operator should look at; the daemon goes on as before."""
        if _OUTPUT.threshold <= _WARNING:
            _OUTPUT.emit("warning", event, self._name, fields)

    def error(self, event: str, /, **fields: object) -> None:
        """Something that does not work."""
        _OUTPUT.emit("error", event, self._name, fields)

    def exception(self, event: str, error: BaseException, /, **fields: object) -> None:
        """A fault in this program: its type and text as `error`, and its traceback, cleaned of known secrets."""
        told = {"error": describe(error), "traceback": trace(error)}
        _OUTPUT.emit("error", event, self._name, {**fields, **told})


def logger(name: str) -> Log:
    """The log of one part of the daemon; `name` becomes the field `logger`."""
    return Log(name)


class LogHandle:
    """What `setup` gives: the log's end."""

    def __init__(self, writer: Writer, bridge: Bridge) -> None:
        self._writer = writer
        self._bridge = bridge
        self._closed = False

    @property
    def dropped(self) -> int:
        """How many lines were lost because the reader was too slow, or gone."""
        return self._writer.dropped

    def flush(self, timeout: float) -> bool:
        """Wait at most `timeout` seconds until all lines so far are written; whether they are."""
        return self._writer.flush(timeout)

    def close(self, timeout: float = CLOSE_TIMEOUT) -> bool:
        """Write what is queued, waiting at most `timeout` seconds; later lines go to standard error again.

        Returns whether everything was written. Closing twice does nothing.
        """
        if self._closed:
            return True
        self._closed = True
        atexit.unregister(self.close)
        self._bridge.remove()
        if _OUTPUT.handle is self:
            _OUTPUT.handle, _OUTPUT.put, _OUTPUT.lines, _OUTPUT.threshold = None, _to_stderr, text_line, _WARNING
        written = self._writer.close(timeout)
        _OUTPUT.dropped_before += self._writer.dropped
        return written


def setup(level: Level = "info", format: Format = "json", stream: Stream | None = None) -> LogHandle:  # noqa: A002 - the configuration's own word
    """Send all log lines, those of libraries too, to `stream` (standard output), from now until the handle is closed.

    A log set up before is closed first. At the end of the process what is queued is still written, within 2 seconds.
    """
    if _OUTPUT.handle is not None:
        _OUTPUT.handle.close()
    lines = json_line if format == "json" else text_line

    def lost(count: int) -> bytes:
        return lines(SYSTEM.wall(), "warning", "log lines dropped", __name__, {"dropped": count})

    writer = Writer(sys.stdout if stream is None else stream, lost)
    handle = LogHandle(writer, Bridge())
    _OUTPUT.lines, _OUTPUT.put, _OUTPUT.handle = lines, writer.put, handle
    set_level(level)
    atexit.register(handle.close)
    return handle


def set_level(level: Level) -> None:
    """Write lines of this level and above: `debug`, `info`, `warning` or `error`."""
    _OUTPUT.threshold = LEVELS[level]
    # Libraries at debug quote what they send and receive.
    logging.getLogger().setLevel(max(LEVELS[level], _INFO))


def level() -> Level:
    """The level in force."""
    names: dict[int, Level] = {_DEBUG: "debug", _INFO: "info", _WARNING: "warning", _ERROR: "error"}
    return names[_OUTPUT.threshold]


def dropped() -> int:
    """How many lines this process has lost so far."""
    return _OUTPUT.dropped_before + (_OUTPUT.handle.dropped if _OUTPUT.handle else 0)


def describe(error: BaseException) -> str:
    """An error's type and text on one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def trace(error: BaseException) -> str:
    """An error's traceback, without the values of variables; of a long one the end, where the cause is."""
    return "".join(traceback.format_exception(error, chain=True))[-LONGEST_TRACEBACK:]


class Bridge(logging.Handler):
    """What libraries (aiohttp, asyncio) write to `logging` goes the same way as our own lines."""

    def __init__(self) -> None:
        super().__init__()
        root = logging.getLogger()
        self._level_before = root.level
        root.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record as a line of its own."""
        try:
            fields: dict[str, object] = {"message": record.getMessage()}
            if record.exc_info and record.exc_info[1]:
                fields |= {"error": describe(record.exc_info[1]), "traceback": trace(record.exc_info[1])}
        except Exception as error:  # noqa: BLE001 - a library's faulty format string must not harm its caller
            fields = {"message": str(record.msg), "error": describe(error)}
        _OUTPUT.emit(_level_word(record.levelno), "library message", record.name, fields)

    def remove(self) -> None:
        """Leave `logging` as it was found."""
        root = logging.getLogger()
        root.removeHandler(self)
        root.setLevel(self._level_before)


def _level_word(number: int) -> str:
    if number >= _ERROR:
        return "error"
    if number >= _WARNING:
        return "warning"
    return "info" if number >= _INFO else "debug"
