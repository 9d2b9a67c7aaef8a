"""A few words with a Redis or Valkey server, blocking, in RESP2: for its set-up, and to show what clients may say.

No client library: the demo runs where only the demo's servers are installed.
"""

from __future__ import annotations

import socket
from pathlib import Path
from types import TracebackType
from typing import Self

Reply = str | int | list["Reply"] | None

MARKS = {"+": "simple string", "-": "error", ":": "integer", "$": "bulk string", "*": "array"}


class Refused(Exception):
    """The server answered with an error; the text is its own."""


class Conversation:
    """One connection; a context manager that closes it.

    Args:
        address: a unix socket's path, or host and port.
        timeout: seconds for the connect and for each wait for bytes.
    """

    def __init__(self, address: Path | tuple[str, int], *, timeout: float = 10.0) -> None:
        if isinstance(address, Path):
            self._socket = socket.socket(socket.AF_UNIX)
        else:
            self._socket = socket.socket(socket.AF_INET)
        self._socket.settimeout(timeout)
        try:
            self._socket.connect(str(address) if isinstance(address, Path) else address)
        except BaseException:
            self._socket.close()
            raise
        self._answers = self._socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._answers.close()
        self._socket.close()

    def ask(self, *words: str | int) -> Reply:
        """Send one command and return its reply; texts are UTF-8.

        Raises:
            Refused: it is an error.
            OSError: the connection failed, ended (`ConnectionError`) or was silent for too long (`TimeoutError`).
        """
        self._socket.sendall(command(*words))
        return self._read()

    def _read(self) -> Reply:
        line = self._answers.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionResetError("the server ended the connection")
        mark, text = chr(line[0]), line[1:-2].decode()
        if mark == "+":
            return text
        if mark == "-":
            raise Refused(text)
        if mark not in MARKS:
            raise ConnectionError(f"no RESP2 reply begins with {line[:1]!r}")
        number = int(text)
        if mark == ":":
            return number
        if number < 0:
            return None
        if mark == "*":
            return [self._read() for _ in range(number)]
        blob = self._answers.read(number + 2)
        if len(blob) != number + 2:
            raise ConnectionResetError("the server ended the connection")
        return blob[:-2].decode()


def command(*words: str | int) -> bytes:
    """A command as clients send it: an array of bulk strings."""
    blobs = [str(word).encode() for word in words]
    return b"*%d\r\n" % len(blobs) + b"".join(b"$%d\r\n%b\r\n" % (len(blob), blob) for blob in blobs)
