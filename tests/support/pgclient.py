"""A PostgreSQL client that says exactly what it is told, and hears every message."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from ambassador.config.address import Address
from ambassador.net.dial import dial
from ambassador.net.stream import Stream
from ambassador.wire import scram
from ambassador.wire.postgres import messages
from ambassador.wire.postgres.login.client import ChannelBinding, ClientLogin
from ambassador.wire.postgres.login.events import KeysNeeded, LoggedIn
from ambassador.wire.postgres.messages import ErrorFields

PATIENCE = 10.0
"""Seconds after which a test that waits for bytes fails."""

NONCE = "a-nonce-of-the-tests-own"

Message = tuple[bytes, bytes]


@dataclass
class Result:
    """What a query brought: the first column of each row, tags of completed commands, errors, the status."""

    rows: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    errors: list[ErrorFields] = field(default_factory=list)
    status: bytes = b""

    @property
    def code(self) -> str:
        """SQLSTATE of the one error."""
        assert len(self.errors) == 1, self
        return self.errors[0].code


class PgClient:
    """One connection; an async context manager.

    Args:
        address: where to, as the configuration writes it.
    """

    def __init__(self, address: str) -> None:
        self._address = Address.parse(address)
        self._buffer = b""
        self._stream: Stream | None = None
        self.pid = 0
        self.key = b""
        self.settings: Mapping[str, str] = {}

    async def __aenter__(self) -> Self:
        self._stream = await dial(self._address, timeout=PATIENCE)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stream.abort()
        await self.stream.wait_closed(PATIENCE)

    @classmethod
    def over(cls, stream: Stream) -> Self:
        """A client at the end of a connection there is already; whoever made that closes it."""
        client = cls(stream.peer.address)
        client._stream = stream
        return client

    @property
    def stream(self) -> Stream:
        """The connection itself."""
        assert self._stream is not None, "use it as a context manager"
        return self._stream

    # ---- bytes

    def send(self, data: bytes) -> None:
        """Send these bytes."""
        self.stream.write(data)

    async def receive(self, size: int) -> bytes:
        """Exactly so many bytes.

        Raises:
            EOFError: the connection ended before; with what came.
        """
        while len(self._buffer) < size:
            async with asyncio.timeout(PATIENCE):
                data = await self.stream.read()
            if not data:
                raise EOFError(self._buffer)
            self._buffer += data
        taken, self._buffer = self._buffer[:size], self._buffer[size:]
        return taken

    async def rest(self) -> bytes:
        """Everything until the connection ends; a reset counts as an end."""
        while True:
            try:
                async with asyncio.timeout(PATIENCE):
                    data = await self.stream.read()
            except ConnectionError:
                data = b""
            if not data:
                taken, self._buffer = self._buffer, b""
                return taken
            self._buffer += data

    async def message(self) -> Message:
        """The next message: tag and payload."""
        head = await self.receive(5)
        return head[:1], await self.receive(int.from_bytes(head[1:]) - 4)

    async def until(self, tag: bytes) -> list[Message]:
        """Messages up to and with the first of this tag."""
        found = [await self.message()]
        while found[-1][0] != tag:
            found.append(await self.message())
        return found

    async def error(self) -> ErrorFields:
        """The next message, which must be an error."""
        tag, payload = await self.message()
        assert tag == b"E", (tag, payload)
        return messages.parse_error(payload)

    async def last_words(self) -> ErrorFields | None:
        """The error with which the other side ends the connection; None if it ends without a word."""
        try:
            error = await self.error()
        except (EOFError, ConnectionError):
            return None
        assert await self.rest() == b"", "something follows the last words"
        return error

    # ---- TLS

    async def ask_for_tls(self, context: ssl.SSLContext | None = None, name: str = "localhost") -> bytes:
        """Send SSLRequest and return the answer; after S, and with a context, shake hands."""
        self.send(messages.ssl_request())
        answer = await self.receive(1)
        if answer == b"S" and context is not None:
            await self.begin_tls(context, name)
        return answer

    async def begin_tls(self, context: ssl.SSLContext, name: str = "localhost") -> None:
        """Shake hands now."""
        async with asyncio.timeout(PATIENCE):
            await self.stream.start_tls(context, server_side=False, server_hostname=name)

    # ---- the login

    def start(self, user: str = "app", version: int = messages.PROTOCOL_3_0, **parameters: str) -> None:
        """Send the startup message."""
        self.send(messages.startup_message({"user": user, **parameters}, version))

    async def log_in(
        self,
        user: str = "app",
        password: str | bytes | None = None,
        *,
        binding: ChannelBinding = "disable",
        version: int = messages.PROTOCOL_3_0,
        **parameters: str,
    ) -> LoggedIn:
        """Log in by whichever method is asked for.

        Raises:
            UpstreamError: refused; or EOFError: the connection ended.
        """
        machine = ClientLogin(
            user,
            parameters,
            password=password.encode() if isinstance(password, str) else password,
            client_nonce=NONCE,
            channel_binding=binding,
            end_point=self._end_point(),
            allow_cleartext=True,
            version=version,
        )
        while True:
            event = machine.next_event()
            if isinstance(event, KeysNeeded):
                machine.provide(scram.derive(event.password, event.salt, event.iterations))
            elif isinstance(event, LoggedIn):
                self.pid, self.key, self.settings = event.pid, event.key, event.parameters
                self._buffer += event.rest
                return event
            if out := machine.to_send():
                self.send(out)
            if event is None:
                machine.receive(await self.receive(1) + self._take_buffer())

    def _take_buffer(self) -> bytes:
        taken, self._buffer = self._buffer, b""
        return taken

    def _end_point(self) -> Callable[[], bytes | None] | None:
        return None if self.stream.tls is None else self.stream.tls.server_end_point

    # ---- statements

    async def query(self, sql: str) -> Result:
        """Run a simple query."""
        self.send(messages.query(sql))
        return await self.result()

    async def extended(self, *statements: str) -> Result:
        """Run statements by the extended protocol, pipelined behind one Sync."""
        for sql in statements:
            self.send(messages.message(b"P", b"\0" + sql.encode() + b"\0\0\0"))
            self.send(messages.message(b"B", b"\0\0\0\0\0\0\0\0"))
            self.send(messages.message(b"E", b"\0\0\0\0\0"))
        self.send(messages.SYNC)
        return await self.result()

    async def result(self) -> Result:
        """Everything up to ReadyForQuery."""
        result = Result()
        for tag, payload in await self.until(b"Z"):
            if tag == b"D":
                result.rows.append(_first_column(payload).decode())
            elif tag == b"C":
                result.tags.append(payload[:-1].decode())
            elif tag == b"E":
                result.errors.append(messages.parse_error(payload))
            elif tag == b"Z":
                result.status = payload
        return result

    async def cancel(self, key: bytes | None = None) -> None:
        """Send a cancel request for this session on a connection of its own, and wait for the close."""
        async with PgClient(str(self._address)) as other:
            other.send(messages.cancel_request(self.pid, self.key if key is None else key))
            assert await other.rest() == b"", "a cancel request gets no answer"


def _first_column(row: bytes) -> bytes:
    """The first column of a DataRow; empty for NULL, whose length is -1."""
    size = int.from_bytes(row[2:6], signed=True)
    return row[6 : 6 + max(size, 0)]
