"""A PostgreSQL server reduced to when it owes an answer, as postgres.c and copyfromparse.c of version 17 decide it.

It is not a fake to talk to: it exists so that a tracker can be compared with the truth, under every order in which
bytes may cross and with errors at moments of its own choosing.
"""

from __future__ import annotations

import random
from collections import deque

from tests.support.shorthand import from_client, from_server

# What the client may send, by what the server will make of it: a query that succeeds, fails, copies in; the same as
# extended messages; the rest by their tags.
WORDS = {"Q": "Q", "Qe": "Q", "Qc": "Q", "x": "P B E", "xe": "P B E", "xc": "P B E"}


class ModelServer:
    """Reads one thing after the other, and says what it must.

    Attributes:
        unread: what was sent and not read.
        said: bytes that have not been carried to the client.
    """

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.unread: deque[str] = deque()
        self.said = bytearray()
        self._copying = False
        self._extended = False
        self._skipping = False
        self._unsynced = False

    @property
    def owes_nothing(self) -> bool:
        """Nothing that was sent needs an answer or a Sync, and all answers have been carried."""
        waits = any(word not in {"d", "c", "f", "H"} for word in self.unread)
        return not (waits or self.said or self._copying or self._skipping or self._unsynced)

    def send(self, word: str) -> bytes:
        """The client sends this; the bytes that it is."""
        self.unread.append(word)
        return from_client(WORDS.get(word, word))

    def read(self) -> None:
        """Read the next thing, or fail on the way to it."""
        if self._copying and self._rng.random() < 0.05:
            self._fail()
            return
        word = self.unread.popleft()
        if self._copying:
            self._read_copy(word)
        elif self._skipping:
            self._skipping = word != "S"
            if word == "S":
                self._ready()
        else:
            self._obey(word)

    def _read_copy(self, word: str) -> None:
        assert word in {"d", "c", "f", "S", "H"}, "a server that reads data takes nothing else and closes"
        if word == "f" or (word == "d" and self._rng.random() < 0.1):
            self._fail()
        elif word == "c":
            self._copying = False
            self._say("C")
            if not self._extended:
                self._ready()

    def _obey(self, word: str) -> None:
        if word in WORDS:
            self._extended = word[0] == "x"
            self._unsynced = self._unsynced or self._extended
        if word in {"Q", "x"}:
            self._say("T D C" if word == "Q" else "1 2 C")
        elif word in {"Qe", "xe"}:
            self._fail()
        elif word in {"Qc", "xc"}:
            self._say("G")
            self._copying = True
            if self._rng.random() < 0.2:
                self._fail()
        if word in {"Q", "S"}:
            self._ready()

    def _fail(self) -> None:
        self._say("E")
        self._copying = False
        if self._extended:
            self._skipping = True
        else:
            self._ready()

    def _ready(self) -> None:
        self._unsynced = False
        self._say("ZI")

    def _say(self, words: str) -> None:
        if self._rng.random() < 0.1:
            words = f"N {words}"
        self.said += from_server(words)
