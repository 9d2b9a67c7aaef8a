"""The secrets that are known, and a text without them.

Nothing should ever put a secret into a log line; secrets have a type that does not print. This is the second wall,
for what the first cannot see: a library that quotes what it was given, a traceback, a server that repeats a
password in its error.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from urllib.parse import quote

MASK = "***"
SHORTEST = 6
"""Characters. Shorter values would black out innocent words everywhere, and are no secrets either."""

_KNOWN = 256
_HEAD = 256


class Redaction:
    """A bounded set of secret texts; the one least recently concealed is forgotten first.

    Args:
        limit: how many secrets are known at once.
    """

    def __init__(self, limit: int = _KNOWN) -> None:
        self._limit = limit
        self._known: OrderedDict[str, tuple[str, ...]] = OrderedDict()
        self._needles: tuple[str, ...] = ()
        self._lock = threading.Lock()  # secrets are also made by threads that run commands and read files

    def conceal(self, secret: str | bytes) -> None:
        """From now on mask this text, also as `repr` and as a URL would spell it.

        Of a long value (a key, a cloud token) only the head is kept, and a text is cut where it begins.
        """
        text = secret.decode("utf-8", "surrogateescape") if isinstance(secret, bytes) else secret
        if len(text) < SHORTEST:
            return
        head = text[:_HEAD]
        with self._lock:
            if head in self._known:
                self._known.move_to_end(head)
                return
            self._known[head] = _spellings(head)
            while len(self._known) > self._limit:
                self._known.popitem(last=False)
            needles = {needle for spellings in self._known.values() for needle in spellings}
            # Longest first: a secret that contains another must not leave its own rest behind.
            self._needles = tuple(sorted(needles, key=len, reverse=True))

    def clean(self, text: str) -> str:
        """`text` with every known secret masked."""
        if not self.found_in(text):
            return text
        for needle in self._needles:
            if len(needle) < _HEAD:
                text = text.replace(needle, MASK)
            elif needle in text:
                text = text[: text.index(needle)] + MASK
        return text

    def found_in(self, text: str) -> bool:
        """Whether `text` holds any known secret."""
        return any(map(text.__contains__, self._needles))


def _spellings(text: str) -> tuple[str, ...]:
    raw = text.encode("utf-8", "surrogateescape")
    return tuple({text, repr(text)[1:-1], repr(raw)[2:-1], quote(raw, safe="")})


_REDACTION = Redaction()


def conceal(secret: str | bytes) -> None:
    """Mask this secret in every log line from now on; values under six characters are ignored."""
    _REDACTION.conceal(secret)


def reveal_nothing(text: str) -> str:
    """`text` with every concealed secret replaced by `***`."""
    return _REDACTION.clean(text)


def reveals(text: str) -> bool:
    """Whether `text` holds a concealed secret."""
    return _REDACTION.found_in(text)
