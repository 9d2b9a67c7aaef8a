"""RESP written by hand: requests, values at random, and both spoilt. It shares nothing with what it tests."""

from __future__ import annotations

import random
from collections.abc import Callable

from tests.support.mutations import mutate

# What stands where a length or a count should, and has fooled parsers: signs, zeros, spaces, bounds, words.
NUMBERS = (
    b"", b"-1", b"-2", b"-0", b"+1", b"00", b"01", b" 1", b"1 ", b"?", b"0", b"1", b"2", b"3", b"7", b"64", b"65",
    b"128", b"1000", b"65536", b"1048576", b"1048577", b"536870912", b"536870913", b"4294967295", b"4294967296",
    b"4294967297", b"9223372036854775807", b"9223372036854775808", b"18446744073709551616", b"9" * 30, b"1e3", b"0x1",
)  # fmt: skip
TYPES = b"+-:$*_,#!=(%~>|;.?\r\n\0"


def request(*words: bytes) -> bytes:
    """A request as every driver writes it."""
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


def value(rng: random.Random, depth: int = 3) -> bytes:
    """A value that is no error and no push, in RESP2 or RESP3; perhaps with an attribute before it."""
    if depth and rng.random() < 0.08:
        return b"|" + _collection(rng, depth, pairs=True) + value(rng, depth - 1)
    if depth and rng.random() < 0.4:
        kind = rng.choice((b"*", b"*", b"~", b"%"))
        return kind + _collection(rng, depth, pairs=kind == b"%")
    return _scalar(rng)


def push(rng: random.Random, first: bytes) -> bytes:
    """A push whose first word is `first`, as a bulk or a simple string."""
    rest = [value(rng, 1) for _ in range(rng.randrange(3))]
    return b">%d\r\n" % (1 + len(rest)) + _word(rng, first) + b"".join(rest)


def array(rng: random.Random, first: bytes) -> bytes:
    """The same as an array, as a RESP2 subscriber gets it."""
    return b"*" + push(rng, first)[1:]


def error(rng: random.Random) -> bytes:
    """An error reply."""
    text = rng.choice((b"ERR no", b"MOVED 1 h:1", b"", b"LOADING " + b"x" * 300))
    return b"-%s\r\n" % text if rng.random() < 0.7 else b"!" + _counted(text)


def spoil(data: bytes, rng: random.Random) -> bytes:
    """`data` spoilt in ways that RESP invites, or in any."""
    if not data or rng.random() < 0.3:
        return mutate(data, rng)
    for _ in range(rng.choice((1, 1, 2))):
        data = rng.choice(WAYS)(data, rng)
    return data


def _word(rng: random.Random, word: bytes) -> bytes:
    return b"+%s\r\n" % word if rng.random() < 0.3 else b"$" + _counted(word)


def _counted(data: bytes) -> bytes:
    return b"%d\r\n%s\r\n" % (len(data), data)


def _collection(rng: random.Random, depth: int, *, pairs: bool) -> bytes:
    """A count and the values; keys are no collections, because other readers take none as keys."""
    count = rng.choice((0, 1, 2, 3, 12) if depth == 1 else (0, 1, 2, 3))
    keys = [_scalar(rng) if pairs else b"" for _ in range(count)]
    return b"%d\r\n" % count + b"".join(key + value(rng, depth - 1) for key in keys)


def _scalar(rng: random.Random) -> bytes:
    data = rng.choice((b"", b"x", b"\r\n", b"$1\r\n", rng.randbytes(rng.choice((3, 40, 700)))))
    line = rng.choice((b"OK", b"", b"a b", b"messages"))
    simple = (
        b"+" + line, b":%d" % rng.randrange(-5, 1 << 40), b"$-1", b"*-1", b"_", b"#t", b",1.5", b",inf",
        b"(%d" % 10**30,
    )  # fmt: skip
    if rng.random() < 0.5:
        return rng.choice(simple) + b"\r\n"
    return rng.choice((b"$" + _counted(data), b"=" + _counted(b"txt:" + data)))


def _renumber(data: bytes, rng: random.Random) -> bytes:
    """Another number behind one of the types."""
    places = [at for at in range(len(data)) if data[at] in b"$*%~>|!=" and data[at + 1 : at + 2].isdigit()]
    if not places:
        return data
    at = rng.choice(places) + 1
    end = data.find(b"\r", at)
    return data[:at] + rng.choice(NUMBERS) + data[end:] if end > 0 else data


def _retype(data: bytes, rng: random.Random) -> bytes:
    """Another type at the beginning of a line."""
    places = [0, *(at + 1 for at in range(len(data) - 1) if data[at] == 0x0A)]
    at = rng.choice(places)
    return data[:at] + bytes((rng.choice(TYPES),)) + data[at + 1 :]


def _unline(data: bytes, rng: random.Random) -> bytes:
    """A CR or LF less, more, or instead."""
    places = [at for at in range(len(data)) if data[at] in b"\r\n"]
    if not places:
        return data
    at = rng.choice(places)
    return data[:at] + rng.choice((b"", b"\r", b"\n", b"\r\n", b"x")) + data[at + 1 :]


def _nest(data: bytes, rng: random.Random) -> bytes:
    """Collections that open and open."""
    at = rng.randrange(len(data) + 1)
    return data[:at] + rng.choice((b"*1\r\n", b"%1\r\n", b">1\r\n", b"|1\r\n", b"~2\r\n")) * rng.choice((1, 127, 400))


WAYS: tuple[Callable[[bytes, random.Random], bytes], ...] = (_renumber, _retype, _unline, _nest)
