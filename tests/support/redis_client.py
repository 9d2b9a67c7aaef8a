"""A Redis client that sends exactly what it is told, and gives every reply as it came: as bytes, and decoded.

It blocks, and gives up in time: each call has one deadline for all it waits for.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

PATIENCE = 10.0
"""Seconds after which a test that waits for bytes fails."""

CHUNK = 1 << 16

Word = bytes | str | int


@dataclass(frozen=True)
class Error:
    """An error reply: its whole text, which begins with its code."""

    text: str

    @property
    def code(self) -> str:
        """The first word: `ERR`, `WRONGPASS`, `MOVED`, ..."""
        return self.text.partition(" ")[0]


Value = bytes | int | float | bool | list["Value"] | dict[bytes | int | float | bool, "Value"] | Error | None


@dataclass(frozen=True)
class Reply:
    """One reply, or one push.

    Args:
        raw: its bytes; an attribute before it (`|`) is among them.
        value: bytes for every kind of string, a list for arrays, sets and pushes, a dict for maps, `Error` for errors;
            what an attribute says is left out.
    """

    raw: bytes
    value: Value

    @property
    def pushed(self) -> bool:
        """Whether it is a RESP3 push, which answers no request."""
        return self.raw[:1] == b">"

    @property
    def error(self) -> Error:
        """The error it is; fails the test if it is none."""
        assert isinstance(self.value, Error), self
        return self.value


class RedisClient:
    """One connection; a context manager that closes it.

    Args:
        address: a unix socket's path, or host and port.
        tls: speaks TLS from the start, to the name `server_name`.
        patience: seconds of each call's deadline.
    """

    def __init__(
        self,
        address: Path | tuple[str, int],
        *,
        tls: ssl.SSLContext | None = None,
        server_name: str = "localhost",
        patience: float = PATIENCE,
    ) -> None:
        self._patience = patience
        self._buffer = bytearray()
        self._deadline = 0.0
        if isinstance(address, Path):
            self.socket = socket.socket(socket.AF_UNIX)
        else:
            self.socket = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
        try:
            self.socket.settimeout(patience)
            self.socket.connect(str(address) if isinstance(address, Path) else address)
            if tls is not None:
                self.socket = tls.wrap_socket(self.socket, server_hostname=server_name)
        except BaseException:
            self.socket.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the connection; twice does nothing."""
        self.socket.close()

    # Saying

    def send(self, raw: bytes) -> None:
        """Send bytes as they are.

        Raises:
            OSError: the other side is gone, or has not taken them in time (`TimeoutError`).
        """
        self.socket.settimeout(self._patience)
        self.socket.sendall(raw)

    def ask(self, *words: Word) -> Reply:
        """One command, one reply."""
        return self.pipeline([words])[0]

    def pipeline(self, commands: Iterable[Iterable[Word]]) -> list[Reply]:
        """Commands in one piece, and as many replies."""
        packed = [command(*words) for words in commands]
        self.send(b"".join(packed))
        return self.replies(len(packed))

    # Hearing

    def replies(self, count: int) -> list[Reply]:
        """Exactly so many replies, pushes among them; what comes after stays for the next call.

        Raises:
            OSError: the connection ended (`ConnectionError`) or was silent (`TimeoutError`) before; it is then no
                longer known where a reply begins.
        """
        self._deadline = time.monotonic() + self._patience
        return [self._reply() for _ in range(count)]

    def reply(self) -> Reply:
        """The next reply or push."""
        return self.replies(1)[0]

    def remaining(self) -> bytes:
        """Everything up to the end of the connection, however it ends; fails if it does not."""
        self._deadline = time.monotonic() + self._patience
        try:
            while True:
                self._more()
        except TimeoutError:
            raise
        except OSError:
            raw, self._buffer = bytes(self._buffer), bytearray()
            return raw

    def quiet(self, seconds: float = 0.1) -> bool:
        """Whether nothing comes for so long."""
        self._deadline = time.monotonic() + seconds
        try:
            if not self._buffer:
                self._more()
        except TimeoutError:
            return True
        return False

    # Behind it

    def _reply(self) -> Reply:
        raw = bytearray()
        value = self._value(raw)
        return Reply(bytes(raw), value)

    def _value(self, raw: bytearray) -> Value:
        line = self._take(lambda: self._buffer.find(b"\r\n") + 2)
        raw += line
        mark, text = line[:1], line[1:-2]
        if mark in _SCALARS:
            return _SCALARS[mark](text)
        if mark not in _COUNTED:
            raise AssertionError(f"no reply begins with {line!r}")
        size = int(text)
        if size < 0:
            return None
        if mark in b"$=!":
            blob = self._take(lambda: size + 2)
            raw += blob
            assert blob.endswith(b"\r\n"), f"{line!r} is not followed by a value of that length"
            return _string(mark, blob[:-2])
        if mark in b"%|":
            pairs = {_key(self._value(raw)): self._value(raw) for _ in range(size)}
            return pairs if mark == b"%" else self._value(raw)
        return [self._value(raw) for _ in range(size)]

    def _take(self, size: Callable[[], int]) -> bytes:
        """So many bytes, asked again whenever more have come: 1 or less is not known yet."""
        while not 1 < (wanted := size()) <= len(self._buffer):
            self._more()
        taken = bytes(self._buffer[:wanted])
        del self._buffer[:wanted]
        return taken

    def _more(self) -> None:
        self.socket.settimeout(max(0.001, self._deadline - time.monotonic()))
        try:
            chunk = self.socket.recv(CHUNK)
        except TimeoutError:
            raise TimeoutError(f"waited too long; so far: {bytes(self._buffer[:200])!r}") from None
        if not chunk:
            raise ConnectionResetError(f"the connection ended; so far: {bytes(self._buffer[:200])!r}")
        self._buffer += chunk


def command(*words: Word) -> bytes:
    """A command as clients send it: an array of bulk strings."""
    blobs = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    return b"*%d\r\n" % len(blobs) + b"".join(b"$%d\r\n%b\r\n" % (len(blob), blob) for blob in blobs)


def _string(mark: bytes, blob: bytes) -> Value:
    if mark == b"!":
        return Error(blob.decode())
    # A verbatim string says its format first: `txt:`.
    return blob[4:] if mark == b"=" else blob


def _key(value: Value) -> bytes | int | float | bool:
    assert isinstance(value, bytes | int | float), f"a map's key is {value!r}"
    return value


_SCALARS: dict[bytes, Callable[[bytes], Value]] = {
    b"+": bytes,
    b"-": lambda text: Error(text.decode()),
    b":": int,
    b"(": int,
    b",": float,
    b"#": lambda text: {b"t": True, b"f": False}[text],
    b"_": lambda text: None,
}
_COUNTED = b"$=!*~>%|"
