"""A program carried out at the server itself, and once more through the ambassador: what each client was told.

The server is the clock: a step is over when it has nothing left to say about it. What came in it directly has to come
through the ambassador too, no more and no less.
"""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.redis_client import RedisClient
from tests.support.redis_programs import Program, Step, without_ids

PATIENCE = 10.0
"""Seconds after which something is taken for missing."""

UNASKED = {b"message", b"pmessage", b"smessage", b"invalidate"}
"""How what nobody asked for begins."""

COUNTED = {ord("*"): 1, ord("~"): 1, ord(">"): 1, ord("%"): 2}
"""Values for each that a collection counts."""

WAITERS = ("blocked_clients", "pubsub_clients", "watching_clients", "tracking_clients")


class Different(AssertionError):
    """The ambassador has said something else than the server."""


class Items:
    """Counts what a server says: `count` items, `replies` of which answer something."""

    def __init__(self) -> None:
        self.count = 0
        self.replies = 0
        self._data = b""
        self._at = 0
        self._open = 1  # values until the item is whole
        self._words: list[bytes] = []

    def feed(self, data: bytes) -> None:
        """Go on with this."""
        self._data = self._data[self._at :] + data
        self._at = 0
        while (end := self._data.find(b"\r\n", self._at)) >= 0:
            mark, size = self._data[self._at], 0
            if mark in b"$=!" and (length := int(self._data[self._at + 1 : end])) >= 0:
                size = length + 2
                if len(self._data) < end + 2 + size:
                    return
                if len(self._words) < 1:
                    self._words.append(self._data[end + 2 : end + length + 2])
            elif mark in COUNTED:
                self._open += max(0, COUNTED[mark] * int(self._data[self._at + 1 : end]))
            else:
                self._words = self._words or [b""]
            self._at = end + 2 + size
            self._open -= 1
            if self._open == 0:
                self.count += 1
                self.replies += self._words[:1] == [] or self._words[0] not in UNASKED
                self._open, self._words = 1, []


@dataclass
class Told:
    """What one step brought: by client, how many items and which bytes; and how many clients were blocked after it."""

    step: Step
    items: Mapping[int, int]
    said: Mapping[int, bytes]
    blocked: int


class Talker:
    """One client's connection, which never blocks.

    Attributes:
        said: what it was told and nobody has taken yet.
        owed: replies that it has asked for.
        eof: the connection has ended.
    """

    def __init__(self, address: Path | tuple[str, int]) -> None:
        if isinstance(address, Path):
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.connect(str(address))
        else:
            self.socket = socket.create_connection(address, 5)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self._items = Items()
        self._pieces: list[bytes] = []
        self.said = b""
        self._counted = 0
        self.owed = 0
        self.eof = False

    def say(self, pieces: Iterable[bytes]) -> None:
        """Send this as it can be sent."""
        self._pieces = list(pieces)
        self.flush()

    def flush(self) -> None:
        """Send what can be sent now."""
        while self._pieces:
            try:
                sent = self.socket.send(self._pieces[0])
            except BlockingIOError:
                return
            if sent < len(self._pieces[0]):
                self._pieces[0] = self._pieces[0][sent:]
            else:
                del self._pieces[0]

    @property
    def items(self) -> int:
        """Items that came since the last time, the end of the connection among them."""
        return self._items.count + self.eof - self._counted

    @property
    def replies(self) -> int:
        """Replies that came in all."""
        return self._items.replies

    @property
    def unsent(self) -> bool:
        """Whether there is more to send."""
        return bool(self._pieces)

    def hear(self) -> None:
        """Take what has come."""
        while not self.eof:
            try:
                data = self.socket.recv(1 << 18)
            except BlockingIOError:
                return
            except ConnectionError:
                data = b""
            if not data:
                self.eof = True
                return
            self.said += data
            self._items.feed(data)

    def taken(self) -> tuple[int, bytes]:
        """What has come since the last time: items, and bytes."""
        found = self.items, self.said
        self._counted += found[0]
        self.said = b""
        return found


class Stage:
    """As many connections as a program has clients, to one address; a context manager.

    Args:
        control: says how many clients are blocked at the server.
    """

    def __init__(self, address: Path | tuple[str, int], clients: int, control: RedisClient) -> None:
        self._control = control
        self._selector = selectors.DefaultSelector()
        self._stack = ExitStack()
        self._stack.callback(self._selector.close)
        self.talkers: list[Talker] = []
        for _ in range(clients):
            talker = Talker(address)
            self._stack.callback(talker.socket.close)
            self._selector.register(talker.socket, selectors.EVENT_READ, talker)
            self.talkers.append(talker)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _listen(self, seconds: float) -> None:
        for key, _ in self._selector.select(seconds):
            key.data.hear()
            if key.data.eof:
                self._selector.unregister(key.fileobj)

    def _begin(self, step: Step) -> Talker:
        talker = self.talkers[step.client]
        talker.owed += step.replies
        talker.say(step.pieces)
        return talker

    def waiters(self, what: str = "blocked_clients") -> int:
        """How many clients the server says are blocked, or something else."""
        return states(self._control)[what]

    def collect(self) -> tuple[dict[int, int], dict[int, bytes]]:
        """What each client was told since the last time."""
        found = {number: talker.taken() for number, talker in enumerate(self.talkers)}
        told = {number: pair for number, pair in found.items() if pair[0] or pair[1]}
        return {number: pair[0] for number, pair in told.items()}, {number: pair[1] for number, pair in told.items()}

    # The two ways

    def perform(self, program: Program) -> list[Told]:
        """Carry it out at the server itself, as it is made."""
        done = []
        blocked: set[int] = set()
        while (step := program.step(blocked)) is not None:
            talker = self._begin(step)
            deadline = time.monotonic() + PATIENCE
            while talker.unsent or talker.replies < talker.owed or (step.last and not talker.eof):
                self._listen(0 if step.blocks else 0.5)
                talker.flush()
                # Who waits may wait for ever: the server tells when all of them do.
                if step.blocks and not step.timed and not talker.unsent and self.waiters() == len(self._waiting()):
                    break
                assert time.monotonic() < deadline, f"the server does not answer {step} of program {program.seed}"
            self._control.ask("PING")  # whatever there is to say has been sent when this has an answer
            self._listen(0)
            waiting = self._waiting()
            if waiting or blocked:
                while self.waiters() != len(waiting := self._waiting()):
                    self._listen(0)
                    assert time.monotonic() < deadline, f"{waiting} in {step} of program {program.seed}"
                self._control.ask("PING")
                self._listen(0)
            blocked = waiting
            done.append(Told(step, *self.collect(), len(blocked)))
        return done

    def _waiting(self) -> set[int]:
        return {number for number, talker in enumerate(self.talkers) if talker.replies < talker.owed and not talker.eof}

    def repeat(self, program: Program, directly: list[Told], way: str) -> None:
        """Carry it out again, elsewhere: `way` says where.

        Raises:
            Different: what comes is not what came directly.
        """
        blocked = 0
        for number, told in enumerate(directly):
            talker = self._begin(told.step)
            deadline = time.monotonic() + PATIENCE
            while talker.unsent or self._missing(told):
                talker.flush()
                self._listen(0.2 if not talker.unsent else 0)
                if time.monotonic() > deadline:
                    break
            while (told.blocked or blocked) and self.waiters() != told.blocked and time.monotonic() < deadline:
                self._listen(0)
            blocked = told.blocked
            _, said = self.collect()
            for client in sorted({*said, *told.said}):
                was, is_now = (without_ids(side.get(client, b"")) for side in (told.said, said))
                if was != is_now:
                    raise Different(f"{way}: {explained(program, directly[: number + 1], client, was, is_now)}")

    def _missing(self, told: Told) -> bool:
        return any(self.talkers[client].items < items for client, items in told.items.items())


def states(control: RedisClient) -> dict[str, int]:
    """How many clients are in which state, in the server's words."""
    text = control.ask("INFO", "clients").value
    assert isinstance(text, bytes)
    pairs = (line.partition(":") for line in text.decode().splitlines())
    return {name: int(value) for name, _, value in pairs if name in WAITERS}


def wipe(control: RedisClient) -> None:
    """Make the server as in the beginning, once the last program's clients are gone from it."""
    deadline = time.monotonic() + PATIENCE
    while any(states(control).values()):
        assert time.monotonic() < deadline, f"clients of the last program are left: {states(control)}"
    for words in (("FLUSHALL", "SYNC"), ("SCRIPT", "FLUSH", "SYNC"), ("FUNCTION", "FLUSH", "SYNC")):
        assert control.ask(*words).value == b"OK"


def explained(program: Program, done: list[Told], client: int, was: bytes, is_now: bytes) -> str:
    """A difference, and what led to it."""
    steps = "\n".join(
        f"  {told.step.client}: {shown(b''.join(told.step.pieces), 250)} -> {told.blocked} blocked"
        for told in done[-8:]
    )
    at = next((n for n, pair in enumerate(zip(was, is_now, strict=False)) if pair[0] != pair[1]), 0)
    return (
        f"program {program.seed}, step {len(done)}: client {client} of {program.clients} was told\n"
        f"  directly {shown(was[max(0, at - 40) :])}\n   through {shown(is_now[max(0, at - 40) :])}\n{steps}"
    )


def shown(data: bytes, most: int = 400) -> str:
    """Bytes for a reader."""
    return f"{data[:most]!r}{f' and {len(data) - most} more' if len(data) > most else ''}"
