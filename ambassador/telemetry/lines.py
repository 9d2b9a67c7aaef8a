"""An event and its fields → one line, as JSON or as text. Pure but for the clock it is handed.

Field values may be a client's words, so they are bounded, kept from forging a line or driving a terminal, and
cleaned of known secrets. Whatever a value is, a line results: a log that raises hides what it was to tell.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Literal

import orjson

from ambassador.telemetry.redaction import reveal_nothing, reveals

Format = Literal["json", "text"]

LONGEST = 8192
"""Characters of one string field, tracebacks excepted."""
LONGEST_TRACEBACK = 32768

_CONSIDERED = 65536
_DEPTH = 4
_ITEMS = 64
_LARGEST = 2**63 - 1  # orjson takes no larger integer
_BARE = re.compile(r"[!#-&(-<>-\[\]-~]+")  # printable ASCII without space, quotes, equals sign, backslash

# Valid in JSON, yet a terminal obeys them: DEL, the C1 controls, line separators, and what turns the direction of text.
_UNSAFE = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")


def json_line(wall: float, level: str, event: str, logger: str, fields: Mapping[str, Any]) -> bytes:
    """One JSON object and a newline: `time`, `level`, `event`, `logger`, then the fields."""
    line = {"time": timestamp(wall), "level": level, "event": event, "logger": logger}
    add(line, fields)
    data = orjson.dumps(line)
    if b"\x7f" in data or not data.isascii():
        data = _UNSAFE.sub(_escape, data.decode()).encode()
    return data + b"\n"


def text_line(wall: float, level: str, event: str, logger: str, fields: Mapping[str, Any]) -> bytes:
    """One line for a person's eye: time, level, event, `key=value` with JSON quotes where a value needs them."""
    line: dict[str, Any] = {}
    add(line, fields)
    words = " ".join(f"{key}={_word(value)}" for key, value in line.items())
    return f"{timestamp(wall)} {level.upper():7} {event} [{logger}] {words}".rstrip().encode() + b"\n"


def _word(value: object) -> str:
    if isinstance(value, str) and _BARE.fullmatch(value):
        return value
    return _UNSAFE.sub(_escape, orjson.dumps(value).decode())


_second: tuple[int, str] = (-1, "")


def timestamp(wall: float) -> str:
    """Wall seconds as RFC 3339, UTC, with milliseconds: `2026-01-31T12:00:00.000Z`."""
    global _second  # noqa: PLW0603 - the date part of the last second, which most lines share
    milliseconds = int(wall * 1000)
    seconds, rest = divmod(milliseconds, 1000)
    if seconds != _second[0]:
        _second = (seconds, datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S"))
    return f"{_second[1]}.{rest:03d}Z"


def add(line: dict[str, Any], fields: Mapping[str, Any]) -> None:
    """Put the fields into `line` as what JSON knows, bounded, with every known secret masked.

    A field that is None is left out; one named as what is there already gets a `_` behind its name.
    """
    easy: list[str] = []
    for name, value in fields.items():
        if value is None:
            continue
        key = f"{name}_" if name in line else name
        if type(value) is str and len(value) <= LONGEST and value.isascii():
            easy.append(value)
            line[key] = value
        elif type(value) is int and -_LARGEST <= value <= _LARGEST:
            line[key] = value
        else:
            line[key] = _text(value, LONGEST_TRACEBACK) if key == "traceback" else _plain(value, _DEPTH)
    # Usually there is nothing to mask, and one search over all of them says so.
    if reveals("\n".join(easy)):
        masked = {key: reveal_nothing(value) for key, value in line.items() if type(value) is str}
        line |= {key: value for key, value in masked.items() if key in fields or key.removesuffix("_") in fields}


def _plain(value: object, depth: int) -> object:
    """A value as what JSON knows; anything else as its text."""
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int) and abs(value) <= _LARGEST:
        return int(value)
    if isinstance(value, Mapping) and depth:
        return {_text(key, LONGEST): _plain(item, depth - 1) for key, item in islice(value.items(), _ITEMS)}
    if isinstance(value, list | tuple | set | frozenset) and depth:
        return [_plain(item, depth - 1) for item in islice(value, _ITEMS)]
    if isinstance(value, bytes | bytearray | memoryview):
        value = bytes(value[:_CONSIDERED]).decode("utf-8", "backslashreplace")
    return _text(value, LONGEST)


def _text(value: object, limit: int) -> str:
    """A string of at most `limit` characters that UTF-8 can carry, without a known secret."""
    try:
        text = str(value)[:_CONSIDERED]
    except Exception as error:  # noqa: BLE001 - a value that will not be printed (a secret) must not end the log
        return f"({type(value).__name__}: {type(error).__name__})"
    # Masked before it is cut: half a secret would not be recognised.
    text = reveal_nothing(text.encode("utf-8", "backslashreplace").decode())
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text)} characters)"


def _escape(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"
