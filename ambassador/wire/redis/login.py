"""Logins in both directions: ours to a server, and what a client asks of us with `HELLO` and `AUTH`.

    (AUTH), HELLO, (SELECT), (CLIENT SETNAME)  ─►  as many answers

All is sent in one go, because each answer costs a round trip. `AUTH` goes apart from `HELLO`, and first: so a server
older than `HELLO` lets us in as well, and whoever reads its answer knows that it is about the credential.

The server is not trusted: what may come is bounded, and no text of its reaches a client. No text that answers `AUTH`
reaches the log either, because servers repeat the arguments of what they do not understand.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from ambassador.errors import ClientError, Reason, UpstreamError
from ambassador.wire.redis.messages import (
    Error,
    Map,
    Protocol,
    Push,
    Value,
    bad_message,
    decode,
    encode,
    error_word,
    request,
)
from ambassador.wire.redis.reader import Reader

MAX_WAITING: Final = 1 << 20  # bytes; the longest answer, that to HELLO, has some hundred, and each module's arguments
MAX_QUOTED: Final = 500  # bytes of a server's words in an error of ours

Pairs = list[tuple[Value, Value]]


# --- Our own login --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LoggedIn:
    """The server let us in.

    Attributes:
        hello: what it said of itself, in its order; None when it knows no `HELLO`.
        rest: bytes that came behind the last answer; almost always empty.
    """

    hello: Pairs | None
    rest: bytes = field(repr=False)


def auth_request(username: bytes | None, password: bytes) -> bytes:
    """`AUTH`, for the default user where no name is given, which any version understands."""
    return request(b"AUTH", password) if username is None else request(b"AUTH", username, password)


def judge_auth(answer: Value) -> None:
    """Judge the answer to `AUTH`, in a login and afterwards.

    Raises:
        UpstreamError: UPSTREAM_LOGIN_REFUSED, the credential is wrong; UPSTREAM_UNSUPPORTED, the server knows no users;
            UPSTREAM_REJECTED, anything else. All with the error's first word in `code`.
    """
    if answer == b"OK":
        return
    if not isinstance(answer, Error):
        raise bad_message("the answer to AUTH is neither OK nor an error")
    word = error_word(answer.line)
    reason, text = _why_refused(answer.line, word)
    raise UpstreamError(reason, f"{text} ({word})", code=word)


_NONE_WANTED = (
    "the server's default user needs no password, but one is configured: remove it here, set one there, or configure "
    "the name of the user that it belongs to"
)


def _why_refused(line: bytes, word: str) -> tuple[Reason, str]:
    if word in {"WRONGPASS", "NOAUTH", "NOPERM"} or line.startswith(b"ERR invalid password"):
        return Reason.UPSTREAM_LOGIN_REFUSED, "the server refused the user name or the password"
    if b"without any password configured" in line or b"no password is set" in line:
        return Reason.UPSTREAM_REJECTED, _NONE_WANTED
    if line.startswith(b"ERR wrong number of arguments"):
        text = "the server is older than Redis 6 and knows no users: configure a password without a user name"
        return Reason.UPSTREAM_UNSUPPORTED, text
    if line.startswith(b"ERR max number of clients"):
        return Reason.UPSTREAM_REJECTED, "the server takes no more clients"
    return Reason.UPSTREAM_REJECTED, "the server answered AUTH with an error"


class ClientLogin:
    """One login, played as the client. What is to be sent can be sent at once.

    Args:
        username: of the access list; None: the default user.
        password: what to show; None: no `AUTH` is sent.
        protocol: the version of RESP to speak from then on.
        database: the number to `SELECT`.
        name: what the connection is to be called; a server that does not want it is not asked twice.
        allow_cleartext: the password may be sent, because nobody else can read it: there is nothing but clear text.

    Raises:
        UpstreamError: UPSTREAM_UNSUPPORTED, the password would have to be sent where it may not.
    """

    def __init__(
        self,
        username: bytes | None,
        password: bytes | None,
        *,
        protocol: Protocol,
        database: int = 0,
        name: str | None = None,
        allow_cleartext: bool = False,
    ) -> None:
        if password is not None and not allow_cleartext:
            raise UpstreamError(
                Reason.UPSTREAM_UNSUPPORTED,
                "the server takes the password in cleartext only, which is not allowed on this connection",
            )
        self._reader = Reader(MAX_WAITING)
        self._outbox = bytearray()
        self._answers: deque[Callable[[Value], None]] = deque()
        self._protocol = protocol
        self._password = password
        self._hello: Pairs | None = None
        self._finished = False
        if password is not None:
            self._ask(auth_request(username, password), judge_auth)
        self._ask(request(b"HELLO", protocol), self._judge_hello)
        if database:
            self._ask(request(b"SELECT", database), self._judge_select)
        if name:
            self._ask(request(b"CLIENT", b"SETNAME", name), lambda _: None)

    def to_send(self) -> bytes:
        """Bytes to write now, handed out once."""
        data = bytes(self._outbox)
        self._outbox.clear()
        return data

    def receive(self, data: bytes) -> None:
        """Take bytes that arrived. Raises UpstreamError when more came than may wait."""
        self._reader.receive(data)

    def next_event(self) -> LoggedIn | None:
        """The end of the login, once; None while answers are missing: then look at `to_send` too.

        Raises:
            UpstreamError: UPSTREAM_LOGIN_REFUSED (the credential is wrong, or there is none where one is demanded),
                UPSTREAM_REJECTED (any other error; all with its first word, or `SELECT`, in `code`),
                UPSTREAM_UNSUPPORTED (no such protocol, no users), UPSTREAM_BAD_MESSAGE.
        """
        while self._answers:
            raw = self._reader.next_raw()
            if raw is None:
                return None
            answer = decode(raw)[0]
            if not isinstance(answer, Push):
                self._answers.popleft()(answer)
        if self._finished:
            return None
        self._finished = True
        self._password = None
        return LoggedIn(self._hello, self._reader.rest())

    def _ask(self, data: bytes, judge: Callable[[Value], None]) -> None:
        self._outbox += data
        self._answers.append(judge)

    def _judge_hello(self, answer: Value) -> None:
        if not isinstance(answer, Error):
            self._hello = _parse_facts(answer)
        elif answer.line.startswith(b"ERR unknown command") and self._protocol == 2:
            # Such a server did not look whether it wants a password before it said so.
            self._ask(request(b"PING"), self._judge_ping)
        elif answer.line.startswith((b"ERR unknown command", b"NOPROTO")):
            raise UpstreamError(
                Reason.UPSTREAM_UNSUPPORTED,
                f"the server does not speak RESP{self._protocol}",
                code=error_word(answer.line),
            )
        else:
            raise self._refused("HELLO", answer)

    def _judge_select(self, answer: Value) -> None:
        if isinstance(answer, Error):
            fault = self._refused("SELECT", answer)
            if fault.code in {"ERR", "NOPERM"}:
                fault.code, fault.public = "SELECT", "ERR DB index is out of range"
            raise fault

    def _judge_ping(self, answer: Value) -> None:
        if isinstance(answer, Error):
            raise self._refused("PING", answer)

    def _refused(self, what: str, answer: Error) -> UpstreamError:
        word = error_word(answer.line)
        if word == "NOAUTH" and self._password is None:
            text = "the server demands a password, and none is configured"
            return UpstreamError(Reason.UPSTREAM_LOGIN_REFUSED, f"{text} ({word})", code=word)
        said = answer.line[:MAX_QUOTED]
        if self._password:
            said = said.replace(self._password, b"(redacted)")
        text = said.decode("utf-8", "replace")
        return UpstreamError(Reason.UPSTREAM_REJECTED, f"the server answered {what} with an error: {text!r}", code=word)


def _parse_facts(answer: Value) -> Pairs:
    """What `HELLO` answers, in RESP2 or RESP3."""
    if isinstance(answer, Map):
        return answer.pairs
    if not isinstance(answer, list) or len(answer) % 2:
        raise bad_message("the answer to HELLO is not a map")
    return list(zip(answer[::2], answer[1::2], strict=True))


# --- A client's login -----------------------------------------------------------------------------------------------

_INTEGER = re.compile(rb"0|-?[1-9][0-9]{0,18}")


@dataclass(frozen=True, slots=True)
class HelloRequest:
    """What a client asks for with `HELLO`; None is what it does not mention."""

    protocol: Protocol | None = None
    user: bytes | None = None
    password: bytes | None = field(default=None, repr=False)
    name: bytes | None = None


def parse_hello(words: list[bytes]) -> HelloRequest:
    """Read the words of a `HELLO`; of an option given twice the later counts.

    Raises:
        ClientError: in Redis' words, the first of them included (`ERR`, `NOPROTO`).
    """
    protocol = _parse_protocol(words[1]) if len(words) > 1 else None
    user = password = name = None
    position = 2
    while position < len(words):
        option = words[position].partition(b"\0")[0]  # as the server reads it
        more = len(words) - position - 1
        if option.upper() == b"AUTH" and more >= 2:
            user, password = words[position + 1 : position + 3]
            position += 3
        elif option.upper() == b"SETNAME" and more >= 1:
            name = words[position + 1]
            if not valid_name(name):
                raise _bad_words("ERR Client names cannot contain spaces, newlines or special characters.")
            position += 2
        else:
            raise _bad_words(f"ERR Syntax error in HELLO option '{option.decode('utf-8', 'replace')}'")
    return HelloRequest(protocol, user, password, name)


def _parse_protocol(word: bytes) -> Protocol:
    if not _INTEGER.fullmatch(word):
        raise _bad_words("ERR Protocol version is not an integer or out of range")
    if word == b"2":
        return 2
    if word == b"3":
        return 3
    raise ClientError(Reason.UNSUPPORTED, "NOPROTO unsupported protocol version")


def _bad_words(text: str) -> ClientError:
    return ClientError(Reason.BAD_MESSAGE, text)


def parse_auth(words: list[bytes]) -> tuple[bytes | None, bytes]:
    """User, or None for the default one, and password of an `AUTH`. Raises ClientError in Redis' words."""
    match words[1:]:
        case [password]:
            return None, password
        case [user, password]:
            return user, password
        case []:
            raise _bad_words("ERR wrong number of arguments for 'auth' command")
    raise _bad_words("ERR syntax error")


def valid_name(name: bytes) -> bool:
    """Whether a connection may be called so: printable ASCII without spaces, or nothing to take the name away."""
    return all(0x21 <= byte <= 0x7E for byte in name)


def hello_reply(pairs: Pairs, protocol: Protocol, client_id: int) -> bytes:
    """The answer to a client's `HELLO`: a server's own, with the client's number and protocol."""
    ours: dict[bytes, Value] = {b"id": client_id, b"proto": protocol}
    told = {key: ours.get(key, value) for key, value in pairs if isinstance(key, bytes)}
    if protocol == 3 and b"modules" in told:
        told[b"modules"] = _as_maps(told[b"modules"])
    return encode(Map(list(told.items())), protocol)


def _as_maps(modules: Value) -> Value:
    """Modules as RESP3 has them; over RESP2 each comes as an array."""
    return [_as_map(module) for module in modules] if isinstance(modules, list) else modules


def _as_map(module: Value) -> Value:
    return Map(list(zip(module[::2], module[1::2], strict=False))) if isinstance(module, list) else module
