"""Redis values to bytes and back: RESP2, RESP3 and inline commands ("Redis serialization protocol specification").

For the few requests and answers that somebody must understand; all others pass as they are, and `requests` and
`replies` only find where they end. Names and texts of the protocol travel as bytes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from ambassador.errors import ClientError, Reason, UpstreamError

Protocol = Literal[2, 3]

MAX_DEPTH: Final = 128  # arrays within arrays
MAX_LINE: Final = 1 << 20  # bytes of a line from the server
MAX_WORD: Final = 32  # bytes of the word that begins an error

OK: Final = b"+OK\r\n"
QUEUED: Final = b"+QUEUED\r\n"
PONG: Final = b"+PONG\r\n"

_LENGTH = re.compile(rb"0|[1-9][0-9]{0,10}")
_LINE_ENDS = re.compile(rb"[\r\n]")
_INT64 = range(-(1 << 63), 1 << 63)


class Simple(bytes):
    """A simple string (`+OK`). Equal to the bytes it holds, and only written differently."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Error:
    """An error reply, or an error within a reply: its line, from the word on, without the sign."""

    line: bytes


@dataclass(frozen=True, slots=True)
class Verbatim:
    """A text for people (RESP3 `=`); `form` is `txt` or `mkd`."""

    form: bytes
    text: bytes


@dataclass(slots=True)
class Map:
    """A map in the server's order (RESP3 `%`); RESP2 has arrays of twice the length instead."""

    pairs: list[tuple[Value, Value]]


class Set(list["Value"]):
    """A set in the server's order (RESP3 `~`)."""

    __slots__ = ()


class Push(list["Value"]):
    """What comes unasked (RESP3 `>`)."""

    __slots__ = ()


Value: TypeAlias = bool | int | float | bytes | Error | Verbatim | list["Value"] | Map | None
Encodable: TypeAlias = Value | str | Sequence["Encodable"] | dict[bytes, "Encodable"] | dict[str, "Encodable"]


# --- Requests -------------------------------------------------------------------------------------------------------


def request(*words: bytes | str | int) -> bytes:
    """A whole request, as drivers send it."""
    return array([bulk(_word(word)) for word in words])


def _word(word: bytes | str | int) -> bytes:
    return word if isinstance(word, bytes) else str(word).encode("utf-8", "surrogateescape")


def parse_request(data: bytes) -> list[bytes]:
    """The words of one whole request.

    Raises:
        ClientError: it is not one, or not one alone.
    """
    try:
        value, end = Decoder(data).value(0, MAX_DEPTH - 1)
    except Malformed as fault:
        raise ClientError(Reason.BAD_MESSAGE, f"Protocol error: {fault}") from None
    words = [word for word in value if type(word) is bytes] if type(value) is list else []
    if end != len(data) or not isinstance(value, list) or not 0 < len(words) == len(value):
        raise ClientError(Reason.BAD_MESSAGE, "Protocol error: not one request of bulk strings")
    return words


_ESCAPES = {0x6E: 0x0A, 0x72: 0x0D, 0x74: 0x09, 0x62: 0x08, 0x61: 0x07}
_INLINE = re.compile(
    rb'"(?P<double>(?:[^"\\]|\\.)*)"(?P<after_double>[^\s]?)'
    rb"|'(?P<single>(?:[^'\\]|\\'|\\(?!'))*)'(?P<after_single>[^\s]?)"
    rb"|(?P<plain>[^ \r\n\t\"']+)",
    re.DOTALL,
)
_ESCAPED = re.compile(rb"\\x([0-9a-fA-F]{2})|\\(.)", re.DOTALL)


def parse_inline(line: bytes) -> list[bytes]:
    r"""The words of an inline command, a line as people type it; with the quotes as the server understands them.

    In double quotes `\n \r \t \b \a \xHH` and any other escaped byte, in single ones `\'`. A closing quote ends the
    word. A NUL ends the line.

    Raises:
        ClientError: a quote is not closed, or something follows a closing one.
    """
    line = line.partition(b"\0")[0]
    words: list[bytes] = []
    position = _behind_blanks(line, 0)
    while position < len(line):
        word, position = _take_word(line, position)
        words.append(word)
        position = _behind_blanks(line, position)
    return words


def _behind_blanks(line: bytes, position: int) -> int:
    return len(line) - len(line[position:].lstrip())


def _take_word(line: bytes, position: int) -> tuple[bytes, int]:
    """One word, which may be quoted from somewhere on, and where it ends."""
    word = b""
    while position < len(line) and line[position] not in b" \r\n\t":
        found = _INLINE.match(line, position)
        if found is None or found["after_double"] or found["after_single"]:
            raise ClientError(Reason.BAD_MESSAGE, "Protocol error: unbalanced quotes in request")
        position = found.end()
        if found["plain"] is not None:
            word += found["plain"]
        elif found["double"] is not None:
            return word + _ESCAPED.sub(_unescaped, found["double"]), position
        else:
            return word + found["single"].replace(b"\\'", b"'"), position
    return word, position


def _unescaped(found: re.Match[bytes]) -> bytes:
    if found[1] is not None:
        return bytes.fromhex(found[1].decode())
    return bytes([_ESCAPES.get(found[2][0], found[2][0])])


# --- Replies to write -----------------------------------------------------------------------------------------------


def simple(text: bytes | str) -> bytes:
    """A simple string. Line ends become spaces."""
    return b"+%b\r\n" % _one_line(text)


def error(text: bytes | str) -> bytes:
    """An error reply; `text` begins with the word (`ERR`, `NOPERM`). Line ends become spaces."""
    return b"-%b\r\n" % _one_line(text)


def _one_line(text: bytes | str) -> bytes:
    return _LINE_ENDS.sub(b" ", _word(text))


def bulk(data: bytes | None, protocol: Protocol = 2) -> bytes:
    """A string of any bytes; None is null."""
    return null(protocol) if data is None else b"$%d\r\n%b\r\n" % (len(data), data)


def integer(number: int) -> bytes:
    """An integer of 64 bits."""
    return b":%d\r\n" % number


def array(items: Sequence[bytes]) -> bytes:
    """An array of items already encoded."""
    return b"*%d\r\n%b" % (len(items), b"".join(items))


def mapping(pairs: Iterable[tuple[bytes, bytes]], protocol: Protocol) -> bytes:
    """A map of keys and values already encoded; in RESP2 an array of both in turn."""
    items = [item for pair in pairs for item in pair]
    return array(items) if protocol == 2 else b"%%%d\r\n%b" % (len(items) // 2, b"".join(items))


def push(items: Sequence[bytes]) -> bytes:
    """What RESP3 sends unasked, of items already encoded."""
    return b">%d\r\n%b" % (len(items), b"".join(items))


def null(protocol: Protocol) -> bytes:
    """Nothing."""
    return b"$-1\r\n" if protocol == 2 else b"_\r\n"


def encode(value: Encodable, protocol: Protocol) -> bytes:
    """Any value, with what RESP2 lacks said in what it has."""
    if isinstance(value, list | tuple | dict | Map):
        return _encode_many(value, protocol)
    if isinstance(value, int):
        return _encode_integer(value, protocol)
    if isinstance(value, float):
        return _encode_double(value, protocol)
    if value is None:
        return null(protocol)
    assert isinstance(value, bytes | str | Error | Verbatim), type(value)
    return _encode_text(value, protocol)


def _encode_text(value: bytes | str | Error | Verbatim, protocol: Protocol) -> bytes:
    if isinstance(value, Simple):
        return simple(value)
    if isinstance(value, Error):
        return error(value.line)
    if isinstance(value, Verbatim):
        data = b"%b:%b" % (value.form, value.text)
        return bulk(value.text) if protocol == 2 else b"=%d\r\n%b\r\n" % (len(data), data)
    return bulk(_word(value))


def _encode_many(
    value: Sequence[Encodable] | dict[bytes, Encodable] | dict[str, Encodable] | Map, protocol: Protocol
) -> bytes:
    if isinstance(value, Map):
        return mapping(((encode(key, protocol), encode(item, protocol)) for key, item in value.pairs), protocol)
    if isinstance(value, dict):
        return mapping(((encode(key, protocol), encode(item, protocol)) for key, item in value.items()), protocol)
    items = [encode(item, protocol) for item in value]
    if protocol == 3 and isinstance(value, Push):
        return push(items)
    if protocol == 3 and isinstance(value, Set):
        return b"~%d\r\n%b" % (len(items), b"".join(items))
    return array(items)


def _encode_integer(value: int, protocol: Protocol) -> bytes:
    if isinstance(value, bool) and protocol == 3:
        return b"#t\r\n" if value else b"#f\r\n"
    if value in _INT64:
        return integer(value)
    return bulk(b"%d" % value) if protocol == 2 else b"(%d\r\n" % value


def _encode_double(value: float, protocol: Protocol) -> bytes:
    text = f"{value:.17g}".encode()
    return bulk(text) if protocol == 2 else b",%b\r\n" % text


# --- Replies to read ------------------------------------------------------------------------------------------------


class Malformed(ValueError):
    """Bytes that are no value; who is to blame is for the caller."""


class Short(Malformed):
    """The bytes end before the value does."""


def decode(data: bytes, offset: int = 0) -> tuple[Value, int]:
    """The whole value that begins at `offset`, and where it ends. Attributes before a value are left out.

    Raises:
        UpstreamError: it is no value, is not whole, or is nested too deep.
    """
    try:
        return Decoder(data).value(offset, 0)
    except Malformed as fault:
        raise bad_message(str(fault)) from None


def bad_message(text: str) -> UpstreamError:
    """What to raise for a server's bytes that make no sense."""
    return UpstreamError(Reason.UPSTREAM_BAD_MESSAGE, f"the server broke the protocol: {text}")


class Decoder:
    """Reads values from bytes that stay."""

    __slots__ = ("_data", "_max_line")

    def __init__(self, data: bytes | bytearray, max_line: int = MAX_LINE) -> None:
        self._data = data
        self._max_line = max_line

    def header(self, offset: int) -> tuple[int, bytes, int]:
        """The sign of the value that begins at `offset`, the rest of its first line, and where the next begins."""
        end = self._data.find(b"\r\n", offset, offset + self._max_line + 2)
        if end < 0:
            too_long = len(self._data) - offset > self._max_line
            raise Malformed("a line is too long") if too_long else Short("the value is not whole")
        if end == offset:
            raise Malformed("an empty line")
        return self._data[offset], bytes(self._data[offset + 1 : end]), end + 2

    def size(self, line: bytes) -> int:
        """A length or a count; -1 is null's."""
        if line == b"-1":
            return -1
        if not _LENGTH.fullmatch(line):
            raise Malformed("an invalid length")
        return int(line)

    def blob(self, size: int, offset: int) -> tuple[bytes, int]:
        """So many bytes, and where the next value begins."""
        end = offset + size
        if len(self._data) < end + 2:
            raise Short("the value is not whole")
        if self._data[end : end + 2] != b"\r\n":
            raise Malformed("a string does not end where it says")
        return bytes(self._data[offset:end]), end + 2

    def value(self, offset: int, depth: int) -> tuple[Value, int]:
        """The value at `offset`, which is within `depth` others, and where it ends."""
        sign, line, offset = self.header(offset)
        if sign in b"$=!":
            return self._string(sign, self.size(line), offset)
        if sign in b"*~>%|":
            return self._many(sign, self.size(line), offset, depth)
        return _scalar(sign, line), offset

    def _string(self, sign: int, size: int, offset: int) -> tuple[Value, int]:
        if size < 0:
            if sign != 0x24:
                raise Malformed("an invalid length")
            return None, offset
        data, end = self.blob(size, offset)
        if sign == 0x24:
            return data, end
        if sign == 0x21:
            return Error(data), end
        if data[3:4] != b":":
            raise Malformed("a text without a form")
        return Verbatim(data[:3], data[4:]), end

    def _many(self, sign: int, count: int, offset: int, depth: int) -> tuple[Value, int]:
        if count < 0:
            if sign != 0x2A:
                raise Malformed("an invalid length")
            return None, offset
        if depth >= MAX_DEPTH:
            raise Malformed("a value is nested too deep")
        items: list[Value] = []
        for _ in range(count * 2 if sign in b"%|" else count):
            item, offset = self.value(offset, depth + 1)
            items.append(item)
        if sign == 0x7C:  # an attribute, which says something of the value behind it
            return self.value(offset, depth + 1)
        if sign == 0x25:
            return Map(list(zip(items[::2], items[1::2], strict=True))), offset
        return (items if sign == 0x2A else Set(items) if sign == 0x7E else Push(items)), offset


_SCALARS: Mapping[int, tuple[re.Pattern[bytes], Callable[[bytes], Value]]] = {
    0x2B: (re.compile(rb".*", re.DOTALL), Simple),
    0x2D: (re.compile(rb".*", re.DOTALL), Error),
    0x3A: (re.compile(rb"-?[0-9]{1,19}"), int),
    0x5F: (re.compile(rb""), lambda _: None),
    0x23: (re.compile(rb"[tf]"), lambda line: line == b"t"),
    0x2C: (re.compile(rb"[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?|[-+]?inf|-?nan"), float),
    0x28: (re.compile(rb"[-+]?[0-9]{1,4000}"), int),  # no longer than int() takes
}


def _scalar(sign: int, line: bytes) -> Value:
    """A value that is one line."""
    pattern, convert = _SCALARS.get(sign, (None, None))
    if pattern is None or convert is None or not pattern.fullmatch(line):
        raise Malformed(f"no value begins with {chr(sign)!r}, or it is an invalid one")
    return convert(line)


def error_word(line: bytes) -> str:
    """The first word of an error reply: `WRONGPASS`, `MOVED`; `ERR` where it is none such. The sign may be there."""
    word = line.removeprefix(b"-")[: MAX_WORD + 1].split(maxsplit=1)[:1]
    plain = word[0] if word else b""
    return plain.decode() if plain.isalpha() and plain.isupper() and len(plain) <= MAX_WORD else "ERR"
