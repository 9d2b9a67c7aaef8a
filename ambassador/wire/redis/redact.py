"""What a server says of our login, taken out of what it says to clients.

The configuration holds passwords; lists of clients, and newer servers' errors, hold the name that we logged in with;
the log of slow commands may hold what we logged in with, where the server is old.
"""

from __future__ import annotations

import re
from typing import Final

from ambassador.wire.redis.messages import Map, Value, Verbatim

REDACTED: Final = b"(redacted)"  # the server's own word, in its log of slow commands

_USERS: Final = frozenset({b"masteruser", b"primaryuser", b"tls-auth-clients-user"})
_USER_FIELD = re.compile(rb"(?<= user=)[^ \n]*")
_HIDING: Final = frozenset({b"CONFIG|GET", b"CLIENT|LIST", b"CLIENT|INFO", b"SLOWLOG|GET", b"COMMANDLOG|GET"})
_TELLING: Final = frozenset({b"AUTH", b"HELLO", b"MIGRATE", b"CONFIG|SET", b"ACL|SETUSER", b"SENTINEL|SET"})


def is_secret(name: bytes) -> bool:
    """Whether a configuration's value is a credential or the name of a login.

    By its name, in any case and up to a NUL, as the server compares it: `requirepass`, `masterauth`, `primaryauth`,
    `tls-key-file-pass`, a module's `...password`.
    """
    name = name.partition(b"\0")[0].lower()
    return name.endswith((b"pass", b"auth")) or b"password" in name or name in _USERS


def hides(words: list[bytes]) -> bool:
    """Whether the answer to a request must be read and go through `redact`."""
    return b"|".join(word.partition(b"\0")[0].upper() for word in words[:2]) in _HIDING


def redact(words: list[bytes], answer: Value, ours: bytes, shown: bytes) -> Value:
    """The answer to a request of which `hides` is true, without our login.

    Args:
        words: the request.
        answer: decoded.
        ours: the name we logged in with.
        shown: the name to say instead.
    """
    container = words[0].upper()
    if container == b"CONFIG":
        return redact_config(answer)
    if container == b"CLIENT":
        if isinstance(answer, Verbatim):
            return Verbatim(answer.form, redact_clients(answer.text, ours, shown))
        return redact_clients(answer, ours, shown) if isinstance(answer, bytes) else answer
    return redact_log(answer)


def redact_config(answer: Value) -> Value:
    """The answer to CONFIG GET, with credentials that are set replaced."""
    if isinstance(answer, Map):
        return Map([(name, _redacted(name, value)) for name, value in answer.pairs])
    if not isinstance(answer, list):
        return answer
    return [
        answer[place] if place % 2 == 0 else _redacted(answer[place - 1], answer[place]) for place in range(len(answer))
    ]


def _redacted(name: Value, value: Value) -> Value:
    return REDACTED if value and isinstance(name, bytes) and is_secret(name) else value


def redact_clients(text: bytes, ours: bytes, shown: bytes) -> bytes:
    """The text of CLIENT LIST or CLIENT INFO, with another name wherever ours stands as a user's."""
    return _USER_FIELD.sub(lambda found: shown if found[0] == ours else found[0], text)


def redact_log(answer: Value) -> Value:
    """The answer to SLOWLOG GET or COMMANDLOG GET, without the arguments of commands that carry credentials.

    A server before Redis 6 writes the password of AUTH into it. Newer ones redact it themselves, and such an entry
    stays as it is.
    """
    if not isinstance(answer, list):
        return answer
    return [_redacted_entry(entry) for entry in answer]


def _redacted_entry(entry: Value) -> Value:
    match entry:
        case [number, time, duration, [bytes(name), *arguments], *rest] if _tells([name, *arguments]):
            return [number, time, duration, [name, *(REDACTED for _ in arguments)], *rest]
    return entry


def _tells(words: list[Value]) -> bool:
    """Whether a command in the log carries a credential."""
    names = [word.upper() for word in words[:2] if isinstance(word, bytes)]
    return (names[0] in _TELLING or b"|".join(names) in _TELLING) and REDACTED not in words


def redact_error(line: bytes, ours: bytes, shown: bytes) -> bytes:
    """An error's line, with or without its sign, with another name where it speaks of our user.

    Valkey 9 says `NOPERM User app has no permissions to run the 'get' command`; Redis 7.0 does not name the user.
    """
    return line.replace(b"User %b has no permissions" % ours, b"User %b has no permissions" % shown)
