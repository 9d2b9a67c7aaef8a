"""The tiny conversation, against a server that says what a test wants."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ambassador.demo.resp import Conversation, Refused, Reply, command


@contextmanager
def answering(answer: bytes, heard: list[bytes] | None = None, *, at: Path | None = None) -> Iterator[Conversation]:
    """A conversation with a server that answers the first bytes with `answer` and then ends the connection."""
    listening = socket.socket(socket.AF_INET if at is None else socket.AF_UNIX)
    listening.bind(("127.0.0.1", 0) if at is None else str(at))
    listening.listen()

    def serve() -> None:
        connection, _ = listening.accept()
        with connection:
            asked = connection.recv(4096)
            if heard is not None:
                heard.append(asked)
            connection.sendall(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with Conversation(at or listening.getsockname(), timeout=5) as conversation:
            yield conversation
    finally:
        thread.join()
        listening.close()


def test_a_command_is_an_array_of_bulk_strings() -> None:
    assert command("SET", "é", 7) == b"*3\r\n$3\r\nSET\r\n$2\r\n\xc3\xa9\r\n$1\r\n7\r\n"


@pytest.mark.parametrize(
    ("answer", "reply"),
    [
        (b"+OK\r\n", "OK"),
        (b":-7\r\n", -7),
        (b"$2\r\n\xc3\xa9\r\n", "é"),
        (b"$0\r\n\r\n", ""),
        (b"$4\r\na\r\nb\r\n", "a\r\nb"),
        (b"$-1\r\n", None),
        (b"*-1\r\n", None),
        (b"*0\r\n", []),
        (b"*3\r\n:1\r\n*1\r\n+a\r\n$-1\r\n", [1, ["a"], None]),
    ],
)
def test_every_type_of_reply_is_read(answer: bytes, reply: Reply) -> None:
    heard: list[bytes] = []
    with answering(answer, heard) as conversation:
        assert conversation.ask("GET", "key") == reply
    assert heard == [command("GET", "key")]


def test_a_unix_socket_will_do(tmp_path: Path) -> None:
    with answering(b"+PONG\r\n", at=tmp_path / "socket") as conversation:
        assert conversation.ask("PING") == "PONG"


def test_an_error_is_raised_in_the_server_s_words() -> None:
    answer = b"-NOAUTH Authentication required.\r\n"
    with answering(answer) as conversation, pytest.raises(Refused, match=r"^NOAUTH Authentication required\.$"):
        conversation.ask("GET", "key")


@pytest.mark.parametrize("answer", [b"", b"+O", b"+OK\n", b"$4\r\nab", b"*2\r\n:1\r\n"])
def test_an_end_within_a_reply_is_an_error(answer: bytes) -> None:
    with answering(answer) as conversation, pytest.raises(ConnectionResetError, match="ended"):
        conversation.ask("GET", "key")


def test_something_else_than_resp2_is_an_error() -> None:
    with answering(b"%1\r\n") as conversation, pytest.raises(ConnectionError, match="begins with b'%'"):
        conversation.ask("GET", "key")


def test_nobody_there_leaves_no_socket_behind(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Conversation(tmp_path / "nobody")
