"""A Redis server that does as told, for what a real one will not do on demand.

    with FakeRedis().user("app", password).on("GET", "half", raw=b"$9\\r\\nab", act="close") as server:
        ...

Each word of the script returns the server itself, and may also be said while it runs. What works, works as with a
real server: `tests/contract` runs the same suite over both.
"""

from __future__ import annotations

import itertools
import socket
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Literal, Self

from ambassador.wire.redis.messages import (
    OK,
    PONG,
    QUEUED,
    array,
    bulk,
    error,
    integer,
    mapping,
    null,
    push,
    simple,
)
from tests.support.sockets import RESET
from tests.support.threaded import ThreadedServer, take

Act = Literal["go on", "close", "reset", "hang", "wait"]
"""What is done behind the words of a fault; `wait`: until `release`, and then what a real server would do."""

LOGIN = frozenset({b"AUTH", b"HELLO", b"SELECT", b"CLIENT", b"COMMAND"})
"""What a login consists of; `lose_after` does not count it."""

DATABASES = 16
LOOK = 0.02  # seconds between looks of a blocked command at whether its client is still there

_CONFINED = (
    "ERR Can't execute '{}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context"
)
_HEARD_BEFORE_LOGIN = frozenset({b"AUTH", b"HELLO", b"QUIT", b"RESET"})
_HEARD_WHEN_CONFINED = frozenset(
    {b"SUBSCRIBE", b"PSUBSCRIBE", b"UNSUBSCRIBE", b"PUNSUBSCRIBE", b"PING", b"QUIT", b"RESET"}
)
_NOT_QUEUED = frozenset({b"MULTI", b"EXEC", b"DISCARD", b"WATCH", b"RESET", b"QUIT"})
_IDS = itertools.count(100)

Words = list[bytes]


@dataclass
class Fault:
    """For commands that begin with these words: these bytes instead of an answer, and then this act."""

    words: Words
    raw: bytes
    act: Act
    times: int | None


@dataclass
class Data:
    """What all clients of a server see."""

    strings: dict[tuple[int, bytes], bytes] = field(default_factory=dict)
    lists: dict[tuple[int, bytes], deque[bytes]] = field(default_factory=dict)
    changes: dict[tuple[int, bytes], int] = field(default_factory=dict)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def touch(self, key: tuple[int, bytes]) -> None:
        """Note that a key was written, for those who watch or wait for it."""
        self.changes[key] = self.changes.get(key, 0) + 1
        self.changed.notify_all()


class FakeRedis(ThreadedServer):
    """A context manager. Without a user everyone is let in unasked.

    Attributes:
        heard: every command of every client, in order; a login's too.
    """

    def __init__(self) -> None:
        self.heard: list[Words] = []
        self.data = Data()
        self.users: dict[bytes, bytes] = {}
        self.knows_hello = True
        self.protocols = {2, 3}
        self.mode = b"standalone"
        self.released = threading.Event()
        self._script: list[Fault] = []
        self._left: int | None = None
        self._live: list[Conversation] = []
        self._guard = threading.Lock()
        super().__init__(self._talk)

    def __exit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.released.set()
        super().__exit__(kind, failure, trace)

    # ---- what is going on

    @property
    def sessions(self) -> list[Conversation]:
        """Who is connected now, in order."""
        with self._guard:
            return list(self._live)

    def asked(self, *words: str) -> int:
        """How often a command that begins with these words was heard."""
        wanted = [word.encode() for word in words]
        return sum(heard[: len(wanted)] == wanted for heard in list(self.heard))

    def release(self) -> None:
        """Let go on who waits."""
        self.released.set()

    # ---- the script

    def user(self, name: str, password: str) -> Self:
        """Let this user in, and nobody who is not named so. Said again: a new password."""
        self.users[name.encode()] = password.encode()
        return self

    def old(self) -> Self:
        """Know no HELLO."""
        self.knows_hello = False
        return self

    def only_resp2(self) -> Self:
        """Know HELLO, and no RESP3."""
        self.protocols = {2}
        return self

    def lose_after(self, count: int) -> Self:
        """Answer so many more commands, and close instead of answering the next; then work as before."""
        with self._guard:
            self._left = count
        return self

    def on(self, *words: str, raw: bytes = b"", act: Act = "go on", times: int | None = None) -> Self:
        """Answer commands that begin with these words so, all or the next few. What was said later comes first."""
        with self._guard:
            self._script.insert(0, Fault([word.encode() for word in words], raw, act, times))
        return self

    def as_usual(self) -> Self:
        """Forget every fault."""
        with self._guard:
            self._script.clear()
        return self

    # ---- behind it

    def fault_of(self, words: Words) -> Fault | None:
        """What is to go wrong with a command; each asked for once."""
        with self._guard:
            if words[0] not in LOGIN and self._left is not None:
                self._left -= 1
                if self._left < 0:
                    self._left = None
                    return Fault(words, b"", "close", None)
            for fault in self._script:
                if words[: len(fault.words)] == fault.words and fault.times != 0:
                    fault.times = None if fault.times is None else fault.times - 1
                    return fault
        return None

    def publish(self, channel: bytes, message: bytes) -> int:
        """Tell whoever is subscribed; how many."""
        return sum(session.tell(channel, message) for session in self.sessions)

    def _talk(self, sock: socket.socket) -> None:
        session = Conversation(sock, self)
        with self._guard:
            self._live.append(session)
        try:
            session.serve()
        finally:
            with self._guard:
                self._live.remove(session)


class Conversation:
    """One client. `say` is for the test's own thread as well."""

    def __init__(self, sock: socket.socket, server: FakeRedis) -> None:
        self._sock = sock
        self._server = server
        self._sending = threading.Lock()
        self._begin()

    def _begin(self) -> None:
        """Be as a connection is in the beginning, or behind RESET."""
        self.number = next(_IDS)
        self.name = b""
        self.user: bytes | None = None if self._server.users else b"default"
        self.protocol: Literal[2, 3] = 2
        self.database = 0
        self.channels: set[bytes] = set()
        self.patterns: set[bytes] = set()
        self._queue: list[Words] | None = None
        self._spoilt = False
        self._patient = True  # blocking commands block; within EXEC they do not
        self._watched: dict[tuple[int, bytes], int] = {}

    def say(self, raw: bytes) -> None:
        """Send bytes, whatever they are."""
        with self._sending:
            self._sock.sendall(raw)

    def tell(self, channel: bytes, message: bytes) -> int:
        """Deliver what was published; how many subscriptions it was for."""
        told = [[b"message", channel, message]] if channel in self.channels else []
        told += [
            [b"pmessage", pattern, channel, message]
            for pattern in sorted(self.patterns)
            if pattern.endswith(b"*") and channel.startswith(pattern[:-1])
        ]
        for words in told:
            self.say(self._pushed([bulk(word) for word in words]))
        return len(told)

    def serve(self) -> None:
        """Answer until the end.

        Raises:
            EOFError, OSError: it has come.
        """
        while True:
            words = self._request()
            if not words:
                continue
            words[0] = words[0].upper()
            self._server.heard.append(words)
            fault = self._server.fault_of(words)
            if fault is not None:
                self._do(fault)
            if fault is None or fault.act == "wait":
                self.say(self._answer(words))
                if words[0] == b"QUIT":
                    raise EOFError

    # ---- commands

    def _request(self) -> Words:
        return [self._word() for _ in range(int(self._line(b"*")))]

    def _word(self) -> bytes:
        return take(self._sock, int(self._line(b"$")) + 2)[:-2]

    def _line(self, sign: bytes) -> bytes:
        line = b""
        while not line.endswith(b"\r\n"):
            line += take(self._sock, 1)
        assert line.startswith(sign), f"{line!r} does not begin with {sign!r}"
        return line[1:-2]

    def _do(self, fault: Fault) -> None:
        if fault.raw:
            self.say(fault.raw)
        if fault.act == "wait":
            while not self._server.released.wait(LOOK):
                self._end_if_gone()
        if fault.act == "hang":
            while take(self._sock, 1):
                pass
        if fault.act == "reset":
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        if fault.act in {"close", "reset"}:
            raise EOFError

    def _end_if_gone(self) -> None:
        """Leave off waiting for a client that has gone, or a server that is ended."""
        self._sock.setblocking(False)
        try:
            if not self._sock.recv(1, socket.MSG_PEEK):
                raise EOFError
        except BlockingIOError:
            pass
        finally:
            self._sock.settimeout(10)
        if self._server.closing.is_set():
            raise EOFError

    def _answer(self, words: Words) -> bytes:
        name = words[0]
        handler = _HANDLERS.get(name)
        if self.user is None and name not in _HEARD_BEFORE_LOGIN:
            return error("NOAUTH Authentication required.")
        if handler is None or (name == b"HELLO" and not self._server.knows_hello):
            self._spoilt = True
            shown = " ".join(f"'{word.decode()}'" for word in words[1:])
            return error(f"ERR unknown command '{name.decode()}', with args beginning with: {shown} ")
        if len(words) < _SHORTEST.get(name, 1):
            self._spoilt = True
            return error(f"ERR wrong number of arguments for '{name.decode().lower()}' command")
        confined = self.protocol == 2 and (self.channels or self.patterns)
        if confined and name not in _HEARD_WHEN_CONFINED:
            return error(_CONFINED.format(name.decode().lower()))
        if self._queue is not None and name not in _NOT_QUEUED:
            self._queue.append(words)
            return QUEUED
        return handler(self, words)

    def _pushed(self, items: list[bytes]) -> bytes:
        return push(items) if self.protocol == 3 else array(items)

    def _auth(self, words: Words) -> bytes:
        user, password = (b"default", words[1]) if len(words) == 2 else (words[1], words[2])
        if self._server.users.get(user) != password:
            return error("WRONGPASS invalid username-password pair or user is disabled.")
        self.user = user
        return OK

    def _hello(self, words: Words) -> bytes:
        if self.user is None:
            return error("NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO ...")
        version = int(words[1]) if len(words) > 1 else self.protocol
        if version not in self._server.protocols:
            return error("NOPROTO unsupported protocol version")
        self.protocol = 3 if version == 3 else 2
        facts = {
            b"server": bulk(b"valkey"),
            b"version": bulk(b"9.0.0"),
            b"proto": integer(self.protocol),
            b"id": integer(self.number),
            b"mode": bulk(self._server.mode),
            b"role": bulk(b"master"),
            b"modules": array([]),
        }
        return mapping(((bulk(name), value) for name, value in facts.items()), self.protocol)

    def _select(self, words: Words) -> bytes:
        if not words[1].lstrip(b"-").isdigit():
            return error("ERR value is not an integer or out of range")
        if not 0 <= int(words[1]) < DATABASES:
            return error("ERR DB index is out of range")
        self.database = int(words[1])
        return OK

    def _client(self, words: Words) -> bytes:
        what = words[1].upper()
        if what == b"SETNAME" and len(words) != 3:
            return error("ERR wrong number of arguments for 'client|setname' command")
        if what == b"SETNAME":
            self.name = words[2]
            return OK
        if what == b"GETNAME":
            return bulk(self.name or None, self.protocol)
        if what == b"ID":
            return integer(self.number)
        if what == b"LIST":
            user = b"(superuser)" if self.user is None else self.user
            return bulk(b"id=%d name=%b user=%b db=%d\n" % (self.number, self.name, user, self.database))
        return OK

    def _get(self, words: Words) -> bytes:
        return bulk(self._server.data.strings.get((self.database, words[1])), self.protocol)

    def _set(self, words: Words) -> bytes:
        data, key = self._server.data, (self.database, words[1])
        with data.changed:
            data.strings[key] = words[2]
            data.touch(key)
        return OK

    def _incr(self, words: Words) -> bytes:
        data, key = self._server.data, (self.database, words[1])
        with data.changed:
            try:
                number = int(data.strings.get(key, b"0")) + 1
            except ValueError:
                return error("ERR value is not an integer or out of range")
            data.strings[key] = b"%d" % number
            data.touch(key)
        return integer(number)

    def _rpush(self, words: Words) -> bytes:
        data, key = self._server.data, (self.database, words[1])
        with data.changed:
            data.lists.setdefault(key, deque()).extend(words[2:])
            data.touch(key)
            return integer(len(data.lists[key]))

    def _blpop(self, words: Words) -> bytes:
        data, key = self._server.data, (self.database, words[1])
        left = float(words[2]) or 3600.0
        while True:
            with data.changed:
                if data.lists.get(key):
                    return array([bulk(words[1]), bulk(data.lists[key].popleft())])
                data.changed.wait(LOOK)
            left -= LOOK
            if left <= 0 or not self._patient:
                return self._nothing()
            self._end_if_gone()

    def _multi(self, _: Words) -> bytes:
        if self._queue is not None:
            return error("ERR MULTI calls can not be nested")
        self._queue, self._spoilt = [], False
        return OK

    def _exec(self, words: Words) -> bytes:
        if self._queue is None:
            return error("ERR EXEC without MULTI")
        queue, spoilt, stale = self._queue, self._spoilt, self._is_stale()
        self._discard(words)
        if spoilt:
            return error("EXECABORT Transaction discarded because of previous errors.")
        if stale:
            return self._nothing()
        self._patient = False
        answers = [self._answer(one) for one in queue]
        self._patient = True
        return array(answers)

    def _nothing(self) -> bytes:
        return b"*-1\r\n" if self.protocol == 2 else null(3)

    def _discard(self, _: Words) -> bytes:
        if self._queue is None:
            return error("ERR DISCARD without MULTI")
        self._queue = None
        self._watched.clear()
        return OK

    def _watch(self, words: Words) -> bytes:
        if self._queue is not None:
            return error("ERR WATCH inside MULTI is not allowed")
        for key in words[1:]:
            self._watched[self.database, key] = self._server.data.changes.get((self.database, key), 0)
        return OK

    def _unwatch(self, _: Words) -> bytes:
        self._watched.clear()
        return OK

    def _is_stale(self) -> bool:
        changes = self._server.data.changes
        return any(changes.get(key, 0) != count for key, count in self._watched.items())

    def _subscribe(self, words: Words) -> bytes:
        names = self.patterns if words[0].startswith(b"P") else self.channels
        known: list[bytes | None] = [*(words[1:] or sorted(names))]
        said = []
        for name in known or [None]:
            if name is not None:
                (names.discard if b"UNSUB" in words[0] else names.add)(name)
            count = len(self.channels) + len(self.patterns)
            said.append(self._pushed([bulk(words[0].lower()), bulk(name, self.protocol), integer(count)]))
        return b"".join(said)

    def _publish(self, words: Words) -> bytes:
        return integer(self._server.publish(words[1], words[2]))

    def _ping(self, words: Words) -> bytes:
        if self.protocol == 2 and (self.channels or self.patterns):
            return array([bulk(b"pong"), bulk(words[1] if len(words) > 1 else b"")])
        return bulk(words[1]) if len(words) > 1 else PONG

    def _reset(self, _: Words) -> bytes:
        self._begin()
        return simple("RESET")


_HANDLERS: dict[bytes, Callable[[Conversation, Words], bytes]] = {
    b"AUTH": Conversation._auth,
    b"HELLO": Conversation._hello,
    b"SELECT": Conversation._select,
    b"CLIENT": Conversation._client,
    b"GET": Conversation._get,
    b"SET": Conversation._set,
    b"INCR": Conversation._incr,
    b"RPUSH": Conversation._rpush,
    b"BLPOP": Conversation._blpop,
    b"MULTI": Conversation._multi,
    b"EXEC": Conversation._exec,
    b"DISCARD": Conversation._discard,
    b"WATCH": Conversation._watch,
    b"UNWATCH": Conversation._unwatch,
    **dict.fromkeys((b"SUBSCRIBE", b"PSUBSCRIBE", b"UNSUBSCRIBE", b"PUNSUBSCRIBE"), Conversation._subscribe),
    b"PUBLISH": Conversation._publish,
    b"PING": Conversation._ping,
    b"ECHO": lambda _, words: bulk(words[1]),
    b"MONITOR": lambda *_: OK,
    b"QUIT": lambda *_: OK,
    b"RESET": Conversation._reset,
}

_SHORTEST = {b"GET": 2, b"SET": 3, b"INCR": 2, b"RPUSH": 3, b"BLPOP": 3, b"ECHO": 2, b"WATCH": 2, b"PUBLISH": 3} | {
    b"AUTH": 2, b"SELECT": 2, b"CLIENT": 2, b"SUBSCRIBE": 2, b"PSUBSCRIBE": 2,
}  # fmt: skip
