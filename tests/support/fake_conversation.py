"""One connection of a `FakePostgres`: the login by its script, then a handful of statements."""

from __future__ import annotations

import hmac
import itertools
import re
import secrets
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NoReturn

from ambassador.wire import proxy_header, scram
from ambassador.wire.postgres import messages
from ambassador.wire.postgres.login.client import md5_digest
from tests.support.sockets import RESET
from tests.support.threaded import PATIENCE, take

Moment = Literal["connect", "ssl", "startup", "challenge", "proof", "settings", "ready"]
"""When something may go wrong: on accepting; on SSLRequest; the startup message has come; SCRAM's challenge is due;
the client's proof has come; AuthenticationOk has been sent; the settings too, but not ReadyForQuery."""

Act = Literal["close", "reset", "hang", "go on"]
Method = Literal["trust", "cleartext", "md5", "scram-sha-256"]

_PIDS = itertools.count(1000)
_SLEEP = re.compile(r"select pg_sleep\((\d+(?:\.\d+)?)\)\Z")
_REPEAT = re.compile(r"select repeat\('(.)', (\d+)\)\Z")
_SERIES = re.compile(r"select generate_series\(1, (\d+)\)\Z")
_LITERAL = re.compile(r"select (?:'(.*)'|(\d+))(?:::\w+)?\Z")


@dataclass
class Fault:
    """What is done at a moment: these bytes are sent, then this act. `times` None: at every connection."""

    act: Act = "go on"
    raw: bytes = b""
    times: int | None = None


@dataclass(frozen=True)
class User:
    """Who may come in, and how it must prove itself."""

    password: bytes
    method: Method


@dataclass
class Script:
    """Everything a `FakePostgres` was told."""

    users: dict[str, User] = field(default_factory=dict)
    databases: set[str] | None = None
    settings: dict[str, str] = field(default_factory=dict)
    faults: dict[Moment, Fault] = field(default_factory=dict)
    statements: dict[str, Fault] = field(default_factory=dict)
    tls: ssl.SSLContext | None = None
    end_point: bytes | None = None
    ssl_answer: bytes | None = None
    salt: bytes = bytes(range(16))
    iterations: int = scram.DEFAULT_ITERATIONS
    nonce: str = ""
    challenge: bytes | None = None
    wrong_signature: bool = False
    offers: tuple[str, ...] | None = None
    pause: float = 0.0
    proxied: bool = False


@dataclass(frozen=True)
class Login:
    """What one client said and showed until it was let in."""

    user: str
    database: str
    parameters: Mapping[str, str]
    version: int
    tls: str | None
    alpn: str | None
    client_name: str | None
    mechanism: str
    source: str | None


class SqlError(Exception):
    """A statement failed."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Conversation:
    """One client. `say`, `end` and `reset` are for the test's own thread, and for sessions without TLS."""

    def __init__(self, sock: socket.socket, script: Script) -> None:
        self.pid = next(_PIDS)
        self.key = b""
        self.login: Login | None = None
        self.cancelled = threading.Event()
        self._raw = sock
        self._sock: socket.socket = sock
        self._script = script
        self._status = b"I"
        self._source: str | None = None
        self._mechanism = "none"

    # ---- for the test

    def say(self, raw: bytes) -> None:
        """Send bytes of the test's own between two answers."""
        self._raw.sendall(raw)

    def end(self) -> None:
        """Close politely."""
        self._raw.shutdown(socket.SHUT_RDWR)

    def reset(self) -> None:
        """Close with a reset."""
        self._raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self._raw.shutdown(socket.SHUT_RD)

    # ---- the login

    def log_in(self) -> tuple[int, bytes] | None:
        """Everything up to ReadyForQuery; or pid and key of the cancel request that came instead.

        Raises:
            EOFError: the client or the script ended it.
        """
        if self._script.proxied:
            self._take_proxy_header()
        self._now("connect")
        if self._script.tls is not None and self._raw.recv(1, socket.MSG_PEEK) == b"\x16":
            self._handshake(self._script.tls)
        code, payload = self._startup()
        if code == messages.CANCEL_REQUEST:
            return int.from_bytes(payload[:4]), payload[4:]
        parameters = messages.parse_startup(payload)
        self._now("startup")
        user = parameters.pop("user")
        database = parameters.pop("database", user)
        self._authenticate(user)
        self._now("proof")
        self._check_database(database)
        self._send(messages.authentication(messages.AUTH_OK))
        self._now("settings")
        self.key = secrets.token_bytes(messages.CANCEL_KEY_3_0 if code < messages.PROTOCOL_3_2 else 32)
        for name, value in self._script.settings.items():
            self._send(messages.parameter_status(name, value))
        self._send(messages.backend_key_data(self.pid, self.key))
        self._now("ready")
        self.login = self._facts(user, database, parameters, code)
        return None

    def _facts(self, user: str, database: str, parameters: Mapping[str, str], version: int) -> Login:
        tls = self._sock if isinstance(self._sock, ssl.SSLSocket) else None
        # Any is what typeshed makes of a certificate's fields.
        shown: dict[str, Any] = {} if tls is None else tls.getpeercert() or {}
        names = dict(pair for part in shown.get("subject", ()) for pair in part)
        return Login(
            user,
            database,
            parameters,
            version,
            None if tls is None else tls.version(),
            None if tls is None else tls.selected_alpn_protocol(),
            names.get("commonName"),
            self._mechanism,
            self._source,
        )

    def _take_proxy_header(self) -> None:
        seen = b""
        while (header := proxy_header.parse(seen) if seen else None) is None:
            seen += take(self._raw, 1)
        self._source = None if header.source is None else f"{header.source.host}:{header.source.port}"

    def _startup(self) -> tuple[int, bytes]:
        while True:
            size = int.from_bytes(take(self._sock, 4))
            payload = take(self._sock, size - 4)
            code = int.from_bytes(payload[:4])
            if code == messages.SSL_REQUEST:
                self._now("ssl")
                self._answer_ssl()
            else:
                return code, payload[4:]

    def _answer_ssl(self) -> None:
        script = self._script
        usual = b"N" if script.tls is None else b"S"
        self._sock.sendall(usual if script.ssl_answer is None else script.ssl_answer)
        if script.tls is not None and (script.ssl_answer or usual)[:1] == b"S":
            self._handshake(script.tls)

    def _handshake(self, context: ssl.SSLContext) -> None:
        # A copy: the server ends connections by the socket it knows, which must stay a plain one.
        copy = self._raw.dup()
        copy.settimeout(PATIENCE)
        self._sock = context.wrap_socket(copy, server_side=True)

    def close(self) -> None:
        """Let go of what the handshake made."""
        if self._sock is not self._raw:
            self._sock.close()

    def _authenticate(self, name: str) -> None:
        if not self._script.users:
            return
        # Whom it does not know a real server asks for a password all the same.
        user = self._script.users.get(name) or User(secrets.token_bytes(16), "scram-sha-256")
        if user.method == "cleartext":
            self._send(messages.authentication(messages.AUTH_CLEARTEXT))
            good = hmac.compare_digest(self._proof().removesuffix(b"\0"), user.password)
        elif user.method == "md5":
            salt = secrets.token_bytes(4)
            self._send(messages.authentication(messages.AUTH_MD5, salt))
            good = self._proof().removesuffix(b"\0") == md5_digest(name, user.password, salt)
        else:
            good = user.method == "trust" or self._scram(user.password)
        if not good:
            self._fatal("28P01", f'password authentication failed for user "{name}"')
        if user.method in {"cleartext", "md5"}:
            self._mechanism = user.method

    def _scram(self, password: bytes) -> bool:
        script = self._script
        bound = script.end_point if isinstance(self._sock, ssl.SSLSocket) else None
        usual = (scram.MECHANISM,) if bound is None else (scram.MECHANISM_PLUS, scram.MECHANISM)
        self._send(messages.sasl_mechanisms(script.offers or usual))
        self._mechanism, first = messages.parse_sasl_initial_response(self._proof())
        keys = scram.derive(password, script.salt, script.iterations).stored
        machine = scram.ScramServer(
            scram.Verifier(script.salt, script.iterations, (keys,)),
            script.nonce or secrets.token_urlsafe(18),
            plus=self._mechanism == scram.MECHANISM_PLUS,
            end_point=bound if scram.MECHANISM_PLUS in (script.offers or usual) else None,
        )
        self._now("challenge")
        try:
            challenge = machine.first(first)
            if script.challenge is not None:
                challenge = challenge.split(b",")[0] + script.challenge
            self._send(messages.authentication(messages.AUTH_SASL_CONTINUE, challenge))
            machine.final(self._proof())
        except scram.ScramError as fault:
            if fault.refused:
                return False
            self._fatal("08P01", str(fault))
        signature = b"v=" + b"A" * 43 + b"=" if script.wrong_signature else machine.signature
        self._send(messages.authentication(messages.AUTH_SASL_FINAL, signature))
        return True

    def _proof(self) -> bytes:
        tag, payload = self._message()
        if tag != b"p":
            raise EOFError
        return payload

    def _check_database(self, name: str) -> None:
        if self._script.databases is not None and name not in self._script.databases:
            self._fatal("3D000", f'database "{name}" does not exist')

    def _fatal(self, code: str, text: str) -> NoReturn:
        self._send(messages.error_response("FATAL", code, text))
        raise EOFError

    def _now(self, moment: Moment) -> None:
        fault = self._script.faults.get(moment)
        if fault is not None:
            self._do(fault)

    def _do(self, fault: Fault) -> None:
        if fault.times is not None:
            if fault.times <= 0:
                return
            fault.times -= 1
        self._send(fault.raw)
        if fault.act == "hang":
            while self._raw.recv(65536):  # until either end has had enough
                pass
        if fault.act == "reset":
            self._raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        if fault.act != "go on":
            raise EOFError

    # ---- statements

    def serve(self) -> None:
        """Answer statements until the client says good-bye or ends.

        Raises:
            EOFError: it ended, or the script ended it.
        """
        self._send(messages.ready_for_query(self._status))
        prepared = ""
        while True:
            tag, payload = self._message()
            if tag == b"X":
                raise EOFError
            if tag == b"Q":
                self._guarded(payload[:-1].decode())
                self._send(messages.ready_for_query(self._status))
            elif tag == b"P":
                prepared = payload.split(b"\0")[1].decode()
                self._send(messages.message(b"1"))
            elif tag == b"B":
                self._send(messages.message(b"2"))
            elif tag == b"E" and not self._guarded(prepared):
                while self._message()[0] != b"S":
                    pass
                self._send(messages.ready_for_query(self._status))
            elif tag == b"S":
                self._send(messages.ready_for_query(self._status))

    def _guarded(self, sql: str) -> bool:
        """Execute; False when that failed, which the client has then been told."""
        try:
            self._execute(sql)
        except SqlError as error:
            if self._status == b"T":
                self._status = b"E"
            self._send(messages.error_response("ERROR", error.code, str(error)))
            return False
        return True

    def _execute(self, statement: str) -> None:
        sql = statement.strip().rstrip(";").strip()
        if (scripted := self._script.statements.get(sql)) is not None:
            self._do(scripted)
            return
        words = sql.lower()
        if words in {"commit", "rollback", "end"}:
            tag, self._status = "ROLLBACK" if self._status == b"E" else words.upper(), b"I"
            self._complete(tag)
        elif self._status == b"E":
            raise SqlError("25P02", "current transaction is aborted, commands ignored until end of transaction block")
        elif words == "begin":
            self._status = b"T"
            self._complete("BEGIN")
        elif words.startswith("copy "):
            self._copy(words)
        elif words.startswith(("create ", "set ")):
            self._complete("CREATE TABLE" if words.startswith("create") else "SET")
        else:
            self._select(words, sql)

    def _select(self, words: str, sql: str) -> None:
        login = self.login
        assert login is not None
        if words == "select current_user":
            self._rows([login.user])
        elif words == "select current_database()":
            self._rows([login.database])
        elif words.startswith("show "):
            self._rows([self._script.settings.get(sql[5:], "")])
        elif found := _SLEEP.match(words):
            if self.cancelled.wait(min(float(found[1]), PATIENCE)):
                self.cancelled.clear()
                raise SqlError("57014", "canceling statement due to user request")
            self._rows([""])
        elif found := _REPEAT.match(words):
            self._rows([found[1] * int(found[2])])
        elif found := _SERIES.match(words):
            self._rows([str(number) for number in range(1, int(found[1]) + 1)])
        elif found := _LITERAL.match(sql.replace("SELECT", "select", 1)):
            self._rows([found[1] if found[1] is not None else found[2]])
        else:
            raise SqlError("42601", "syntax error")

    def _rows(self, values: list[str]) -> None:
        self._send(messages.message(b"T", b"\0\1?column?\0" + b"\0" * 6 + b"\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\0"))
        data = (value.encode() for value in values)
        self._send(b"".join(messages.message(b"D", b"\0\1" + len(one).to_bytes(4) + one) for one in data))
        self._complete(f"SELECT {len(values)}")

    def _copy(self, words: str) -> None:
        if words.endswith("to stdout"):
            self._send(messages.message(b"H", b"\0\0\1\0\0") + messages.message(b"d", b"1\n") + messages.message(b"c"))
            self._complete("COPY 1")
            return
        self._send(messages.message(b"G", b"\0\0\1\0\0"))
        lines = 0
        while True:
            tag, payload = self._message()
            if tag == b"d":
                lines += payload.count(b"\n")
            elif tag == b"c":
                self._complete(f"COPY {lines}")
                return
            elif tag == b"f":
                raise SqlError("57014", "COPY from stdin failed")

    def _complete(self, tag: str) -> None:
        self._send(messages.message(b"C", tag.encode() + b"\0"))

    # ---- bytes

    def _message(self) -> tuple[bytes, bytes]:
        head = take(self._sock, 5)
        return head[:1], take(self._sock, int.from_bytes(head[1:]) - 4)

    def _send(self, data: bytes) -> None:
        if not self._script.pause:
            self._sock.sendall(data)
            return
        for byte in data:
            self._sock.sendall(bytes((byte,)))
            time.sleep(self._script.pause)
