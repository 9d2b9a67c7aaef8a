"""Which words of a request are keys, and in which slot of a cluster a key lies.

By the server's key specifications, except where those are vague or may be led astray: an option's name may stand where
a value is expected, and the server, which reads options in their order, would take other words for the keys than a
search for the name does. Those commands have functions here that read in the server's order.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable, Mapping
from typing import Final

from ambassador.wire.redis.commands import Command, KeySpec

SLOTS: Final = 16384

_COUNT = re.compile(rb"0|[1-9][0-9]{0,9}")


def slot(key: bytes) -> int:
    """The slot of a key: CRC16 (XMODEM) of it, or of its hash tag, modulo 16384 ("Redis cluster specification").

    A hash tag is what stands between the first `{` and the first `}` behind it, unless that is nothing.
    """
    start = key.find(b"{")
    end = key.find(b"}", start + 1) if start >= 0 else -1
    tag = key[start + 1 : end] if end > start + 1 else key
    return binascii.crc_hqx(tag, 0) % SLOTS


def keys_of(words: list[bytes], command: Command, *, channels: bool = False) -> list[int] | None:
    """The places of a request's keys, in ascending order; the name has place 0.

    Args:
        words: the whole request.
        command: what it names, as `commands.find` gives it.
        channels: count sharded channels as keys too, which share their slots.

    Returns:
        None when they cannot be known: the server does not tell, or it will refuse the request.
    """
    if command.subcommands:
        return None if len(words) > 1 else []
    read = _READERS.get(command.name)
    if read is not None:
        return read(words)
    places: set[int] = set()
    for spec in command.key_specs:
        if spec.channels and not channels:
            continue
        found = _places(words, spec)
        if found is None:
            return None
        places.update(found)
    if command.key_specs:
        return sorted(places)
    return None if "movablekeys" in command.flags else _old_form(words, command)


def _old_form(words: list[bytes], command: Command) -> list[int] | None:
    """First key, last key and step, all that a server before Redis 7 tells."""
    if command.first_key <= 0 or command.step <= 0:
        return []
    last = command.last_key if command.last_key >= 0 else len(words) + command.last_key
    return _run(words, command.first_key, last, command.step)


def _run(words: list[bytes], first: int, last: int, step: int) -> list[int] | None:
    if not 0 < first <= last < len(words):
        return None
    return list(range(first, last + 1, step))


def _places(words: list[bytes], spec: KeySpec) -> range | list[int] | None:
    """The keys that one specification finds; None when it cannot."""
    begin = _after_keyword(words, spec) if spec.keyword else spec.begin
    if not spec.known or begin is None:
        return None
    if not begin:
        return []  # the option is not there
    if spec.count is not None:
        return _counted(words, begin + spec.count, begin + spec.first, spec.step)
    if spec.last >= 0:
        last = begin + spec.last
    elif spec.limit > 1:
        last = begin + (len(words) - begin) // spec.limit + spec.last
    else:
        last = len(words) + spec.last
    return _run(words, begin, last, spec.step)


def _after_keyword(words: list[bytes], spec: KeySpec) -> int | None:
    """The place behind the keyword; 0 where it is not; None where it is more than once, and the place is open."""
    begin = spec.begin if spec.begin > 0 else 1
    found = [place for place in range(begin, len(words)) if option(words[place]) == spec.keyword]
    return None if len(found) > 1 else found[0] + 1 if found else 0


def _counted(words: list[bytes], place: int, first: int, step: int = 1) -> list[int] | None:
    """Keys behind their number. No number, or one that goes beyond the end, is one the server refuses."""
    if place >= len(words) or not _COUNT.fullmatch(words[place]):
        return None
    count = int(words[place])
    return _run(words, first, first + (count - 1) * step, step) if count else []


def option(word: bytes) -> bytes:
    """An option's name as the server compares it: in any case, and up to a NUL."""
    return word.partition(b"\0")[0].upper()


# --- Commands whose options must be read in order -------------------------------------------------------------------


def _read_sort(words: list[bytes]) -> list[int] | None:
    """SORT key [BY pattern] [LIMIT offset count] [GET pattern ...] [ASC|DESC] [ALPHA] [STORE destination]"""
    stored = _read_options(words, 2, {b"LIMIT": 2, b"BY": 1, b"GET": 1}, {b"STORE"})
    return [1, *stored] if len(words) > 1 else None


def _read_georadius(words: list[bytes]) -> list[int] | None:
    """GEORADIUS key longitude latitude radius unit [COUNT number [ANY]] ... [STORE key | STOREDIST key]"""
    begin = 6 if option(words[0]) == b"GEORADIUS" else 5
    stored = _read_options(words, begin, {b"COUNT": 1}, {b"STORE", b"STOREDIST"})
    return [1, *stored] if len(words) > 1 else None


def _read_options(words: list[bytes], place: int, skips: Mapping[bytes, int], stores: set[bytes]) -> list[int]:
    """The places behind options that store, when options are read one after the other."""
    found = []
    while place < len(words):
        name = option(words[place])
        if name in stores and place + 1 < len(words):
            found.append(place + 1)
            place += 1
        place += 1 + skips.get(name, 0)
    return found


_BEFORE_STREAMS: Mapping[bytes, int] = {b"COUNT": 1, b"BLOCK": 1, b"GROUP": 2, b"NOACK": 0, b"CLAIM": 1}


def _read_xread(words: list[bytes]) -> list[int] | None:
    """XREADGROUP GROUP group consumer [COUNT number] [BLOCK time] [NOACK] STREAMS key ... id ..."""
    place = 1
    while place < len(words) and option(words[place]) != b"STREAMS":
        skip = _BEFORE_STREAMS.get(option(words[place]))
        if skip is None:
            return None
        place += 1 + skip
    left = len(words) - place - 1
    return _run(words, place + 1, place + left // 2, 1) if left % 2 == 0 else None


def _read_migrate(words: list[bytes]) -> list[int] | None:
    """MIGRATE host port key|"" database timeout [COPY] [REPLACE] [AUTH ... | AUTH2 ... ...] [KEYS key ...]"""
    place = 6
    while place < len(words) and option(words[place]) != b"KEYS":
        place += 1 + {b"AUTH": 1, b"AUTH2": 2}.get(option(words[place]), 0)
    if place >= len(words):
        return _run(words, 3, 3, 1)
    return _run(words, place + 1, len(words) - 1, 1) if not words[3] else None


_READERS: Final[Mapping[bytes, Callable[[list[bytes]], list[int] | None]]] = {
    b"SORT": _read_sort,
    b"SORT_RO": _read_sort,
    b"GEORADIUS": _read_georadius,
    b"GEORADIUSBYMEMBER": _read_georadius,
    b"XREAD": _read_xread,
    b"XREADGROUP": _read_xread,
    b"MIGRATE": _read_migrate,
}
