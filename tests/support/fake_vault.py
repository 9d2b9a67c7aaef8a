"""A Vault that does as told, for what a real one will not do on demand.

    with FakeVault().database("database/creds/app", ttl=3, max_ttl=9) as server:
        server.on("sys/leases/renew", status=500, errors=["no"], times=2)

Each word returns the server itself, and may also be said while it runs. What works, works as with a real server:
`tests/contract` takes the same walk through both. Users that it lends exist nowhere.
"""

from __future__ import annotations

import json
import secrets
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from email.parser import BytesHeaderParser
from http import HTTPStatus
from typing import Any, Literal, Self

import trustme

from ambassador.demo.servers import Certificates
from tests.support.fake_vault_answers import Json, Request, frame
from tests.support.fake_vault_contents import Contents, Version, Way
from tests.support.fake_vault_lenders import authority, database
from tests.support.secrets import canary
from tests.support.sockets import RESET
from tests.support.threaded import ThreadedServer, take

Act = Literal["answer", "close", "cut", "reset", "hang", "drip", "endless"]
"""`answer`: as usual. `close`, `reset`, `hang`: without a word, and `hang` until the client goes. `cut`: close in the
middle of the body. `drip`: one byte each 50 ms. `endless`: a body that goes on until the client goes."""

LONGEST_HEAD = 64 * 1024
PACE = 0.05
WEEK = 7 * 24 * 3600


@dataclass
class Fault:
    """What is done to answers for paths that begin so."""

    prefix: str
    status: int | None
    body: bytes | None
    headers: Mapping[str, str]
    change: Callable[[Json], Any] | None
    delay: float
    act: Act
    times: int | None


class FakeVault(ThreadedServer):
    """A context manager; everything of it is at 127.0.0.1.

    Args:
        certificates: makes it speak TLS. With a `client_ca` every client must show a certificate from there.
        port: 0 means a free one.

    Attributes:
        heard: every request, in order.
        contents: what it knows; `contents.tokens` and `contents.leases` are what is lent now.
        root: a token for everything, without end; a canary.
    """

    def __init__(self, *, certificates: Certificates | None = None, port: int = 0) -> None:
        self.contents = Contents()
        self.heard: list[Request] = []
        self.root = self.contents.issue("auth/token/root", WEEK, WEEK, renewable=False)
        self._script: list[Fault] = []
        self._guard = threading.Lock()
        self._tls = None if certificates is None else _context(certificates)
        super().__init__(self._talk, port=port)
        self.url = f"{'http' if certificates is None else 'https'}://{self.address}"

    # ---- what is going on

    def asked(self, prefix: str = "") -> list[Request]:
        """What was asked below a path, in order."""
        return [request for request in list(self.heard) if request.path.startswith(prefix)]

    # ---- what there is

    def seal(self) -> Self:
        """Answer 503 to everything; leases go on ending."""
        self.contents.sealed = True
        return self

    def unseal(self) -> Self:
        """Answer again."""
        self.contents.sealed = False
        return self

    def deny(self, *prefixes: str) -> Self:
        """Have no policy that allows what is below these paths; none named: everything is allowed again."""
        with self._guard:
            self.contents.denied = set(prefixes)
        return self

    def token(self, *, ttl: int = 3600, max_ttl: int = WEEK, renewable: bool = True) -> str:
        """A new token; a canary."""
        with self._guard:
            token = self.contents.issue("auth/token/create-orphan", ttl, max_ttl, renewable=renewable)
            self.contents.tokens[token].explicit = max_ttl
            return token

    def revoke(self, token: str) -> Self:
        """End a token and its leases."""
        with self._guard:
            self.contents.revoke(token)
        return self

    def login(self, path: str, *, ttl: int = 3600, max_ttl: int = WEEK, renewable: bool = True, **said: str) -> Self:
        """Let in at this path, for example `auth/approle/login`, whoever says these fields with these values."""
        self.contents.ways[path] = Way(said, ttl, max_ttl, renewable)
        return self

    def wrap(self, data: Mapping[str, Any]) -> str:
        """A token that unwraps this once; a canary."""
        token = canary("wrapping")
        self.contents.wrapped[token] = dict(data)
        return token

    def key_value(self, mount: str, version: Literal[1, 2] = 2) -> Self:
        """An empty place for secrets."""
        self.contents.mounts[mount] = version
        return self

    def put(self, mount: str, name: str, **fields: Any) -> Self:
        """Write all fields of a secret: a new version of it."""
        with self._guard:
            versions = self.contents.values.setdefault(f"{mount}/{name}", [])
            versions.append(Version(fields, time.time()))
        return self

    def delete(self, mount: str, name: str, *, destroy: bool = False) -> Self:
        """Hide the newest version of a secret, or take its content out for good."""
        with self._guard:
            newest = self.contents.values[f"{mount}/{name}"][-1]
            newest.deleted, newest.destroyed = time.time(), destroy
        return self

    def database(
        self,
        path: str,
        *,
        ttl: int = 3600,
        max_ttl: int = 86400,
        renewable: bool = True,
        user: Callable[[], tuple[str, str]] | None = None,
    ) -> Self:
        """A dynamic role at `MOUNT/creds/ROLE`.

        Args:
            user: makes user names and passwords; some that exist nowhere without it, and the passwords are canaries.
        """
        made = user or (lambda: (f"lent_{secrets.token_hex(6)}", canary("password")))
        self.contents.lenders[path] = ("GET", database(ttl, max_ttl, renewable=renewable, user=made))
        return self

    def static_role(self, path: str, username: str, password: str, *, ttl: int = 60, period: int = 60) -> Self:
        """A static role at `MOUNT/static-creds/ROLE`; said again: as after a rotation."""
        rotated = "2026-01-31T12:00:00.000000000Z"
        known = {
            "username": username,
            "password": password,
            "ttl": ttl,
            "rotation_period": period,
            "last_vault_rotation": rotated,
        }
        self.contents.lenders[path] = ("GET", lambda contents, request: (200, frame(known)))
        return self

    def authority(self, path: str, *, ttl: int = 3600, max_ttl: int = 86400, ca: trustme.CA | None = None) -> Self:
        """A role of a certificate authority at `MOUNT/issue/ROLE`."""
        self.contents.lenders[path] = ("POST", authority(ca or trustme.CA(), ttl, max_ttl))
        return self

    # ---- the script

    def on(
        self,
        prefix: str = "",
        *,
        status: int | None = None,
        errors: Sequence[str] | None = None,
        body: bytes | str | None = None,
        headers: Mapping[str, str] | None = None,
        change: Callable[[Json], Any] | None = None,
        delay: float = 0.0,
        act: Act = "answer",
        times: int | None = None,
    ) -> Self:
        """Do this to answers for paths that begin so, all or the next few. What was said later comes first.

        With a status, errors or a body of its own nothing is lent or revoked; `change` and the acts come after the
        deed: a client that hears nothing of it may have a lease all the same.

        Args:
            status: of HTTP; without it 200 for a body of one's own, else whatever it is.
            errors: are the body, with a status.
            body: instead of JSON.
            headers: more of them: `Location`, `Retry-After`.
            change: is given the JSON that would be sent, and returns what is sent.
            delay: seconds before the answer.
        """
        if errors is not None:
            body = json.dumps({"errors": list(errors)})
        elif status is not None and body is None:
            body = ""
        raw = body.encode() if isinstance(body, str) else body
        with self._guard:
            self._script.insert(0, Fault(prefix, status, raw, headers or {}, change, delay, act, times))
        return self

    def as_usual(self) -> Self:
        """Forget every fault."""
        with self._guard:
            self._script.clear()
        return self

    # ---- behind it

    def _fault_of(self, path: str) -> Fault:
        with self._guard:
            for fault in self._script:
                if path.startswith(fault.prefix) and fault.times != 0:
                    fault.times = None if fault.times is None else fault.times - 1
                    return fault
        return Fault("", None, None, {}, None, 0.0, "answer", None)

    def _talk(self, sock: socket.socket) -> None:
        # Clients keep connections for the next time; leaving wakes whoever waits.
        sock.settimeout(None)
        if self._tls is None:
            self._serve_all(sock, sock)
            return
        # A copy: what wraps a socket takes its descriptor away, and we end connections by it.
        copy = sock.dup()
        with copy, self._tls.wrap_socket(copy, server_side=True) as secured:
            self._serve_all(secured, sock)

    def _serve_all(self, sock: socket.socket, raw: socket.socket) -> None:
        while True:
            request = _request(sock)
            self.heard.append(request)
            fault = self._fault_of(request.path)
            if fault.act == "hang":
                _wait_for_end(sock)
            if fault.act in {"close", "reset"}:
                _end(raw, fault.act)
            if self.closing.wait(fault.delay):
                raise EOFError
            status, body = self._answer(request, fault)
            self._send(sock, status, body, fault)

    def _answer(self, request: Request, fault: Fault) -> tuple[int, bytes]:
        if fault.body is not None:
            return fault.status or 200, fault.body
        with self._guard:
            status, said = self.contents.answer(request)
        if fault.change is not None:
            said = fault.change({} if said is None else said)
        return status, b"" if said is None else json.dumps(said).encode()

    def _send(self, sock: socket.socket, status: int, body: bytes, fault: Fault) -> None:
        if fault.act == "endless":
            sock.sendall(_head(status, {"Transfer-Encoding": "chunked"}, fault.headers))
            while not self.closing.wait(0.001):
                sock.sendall(b"1000\r\n" + b" " * 4096 + b"\r\n")
            raise EOFError
        length = {} if status == HTTPStatus.NO_CONTENT else {"Content-Length": str(len(body))}
        sock.sendall(_head(status, length, fault.headers))
        if fault.act == "cut":
            sock.sendall(body[: len(body) // 2])
            raise EOFError
        if fault.act != "drip":
            sock.sendall(body)
            return
        for byte in body:
            if self.closing.wait(PACE):
                raise EOFError
            sock.sendall(bytes([byte]))


def _request(sock: socket.socket) -> Request:
    """The next one.

    Raises:
        EOFError, OSError: there is none.
    """
    head = bytearray()
    while not head.endswith(b"\r\n\r\n"):
        head += take(sock, 1)
        assert len(head) < LONGEST_HEAD
    line, _, rest = bytes(head).partition(b"\r\n")
    method, target, _ = line.decode("ascii").split(" ")
    fields = BytesHeaderParser().parsebytes(rest)
    body = take(sock, int(fields.get("Content-Length", "0")))
    path, _, query = target.removeprefix("/v1/").partition("?")
    token, namespace = fields.get("X-Vault-Token", ""), fields.get("X-Vault-Namespace", "")
    return Request(method, path, token, namespace, query, json.loads(body) if body else {})


def _head(status: int, length: Mapping[str, str], headers: Mapping[str, str]) -> bytes:
    named = {"Cache-Control": "no-store", "Content-Type": "application/json", **length, **headers}
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", *(f"{name}: {value}" for name, value in named.items())]
    return "".join(f"{line}\r\n" for line in [*lines, ""]).encode()


def _wait_for_end(sock: socket.socket) -> None:
    while take(sock, 1):
        pass


def _end(raw: socket.socket, act: Act) -> None:
    if act == "reset":
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    raise EOFError


def _context(certificates: Certificates) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.cert, certificates.key)
    if certificates.client_ca is not None:
        context.load_verify_locations(certificates.client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context
