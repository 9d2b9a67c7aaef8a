"""A server of threads: it serves, it ends, and it tells what went wrong in its threads."""

from __future__ import annotations

import socket
import tempfile
import threading
from pathlib import Path

import pytest

from tests.support.processes import wait_until
from tests.support.sockets import everything
from tests.support.threaded import ThreadedServer, echo, take


def connect(server: ThreadedServer) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=5)


def test_every_connection_is_served_by_itself() -> None:
    with ThreadedServer(echo) as server, connect(server) as first, connect(server) as second:
        second.sendall(b"two")
        assert take(second, 3) == b"two"
        first.sendall(b"one")
        assert take(first, 3) == b"one"
        assert (server.accepted, server.connections) == (2, 2)


def test_a_unix_socket_is_as_good() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as directory:
        path = Path(directory) / "s"
        with ThreadedServer(echo, unix=path) as server, socket.socket(socket.AF_UNIX) as client:
            assert server.address == f"unix:{path}"
            client.connect(str(path))
            client.sendall(b"hello")
            assert take(client, 5) == b"hello"


def test_an_echo_ends_when_its_client_has_ended() -> None:
    with ThreadedServer(echo) as server, connect(server) as client:
        client.sendall(b"all of it")
        client.shutdown(socket.SHUT_WR)
        assert everything(client) == b"all of it"


def test_it_may_refuse_from_some_moment_on() -> None:
    with ThreadedServer(echo) as server, connect(server) as before:
        wait_until("the connection to be taken", lambda: server.accepted == 1)
        server.refuse_connections()
        with pytest.raises(ConnectionRefusedError):
            connect(server)
        before.sendall(b"still here")
        assert take(before, 10) == b"still here"


def test_it_may_hang_up() -> None:
    with ThreadedServer(echo) as server, connect(server) as client:
        client.sendall(b"x")
        take(client, 1)
        server.hang_up()
        assert everything(client) == b""


def test_it_may_reset() -> None:
    with ThreadedServer(echo) as server, connect(server) as client:
        client.sendall(b"x")
        take(client, 1)
        server.reset()
        with pytest.raises(ConnectionResetError):
            client.recv(1)


def test_what_goes_wrong_in_a_thread_is_raised_at_the_end() -> None:
    def broken(sock: socket.socket) -> None:
        raise ValueError("a fault of the test's own")

    with (
        pytest.raises(ValueError, match="of the test's own"),
        ThreadedServer(broken) as server,
        connect(server) as client,
    ):
        assert everything(client) == b""


def test_the_end_of_a_connection_is_no_fault() -> None:
    served = threading.Event()

    def serve(sock: socket.socket) -> None:
        try:
            take(sock, 100)
        finally:
            served.set()

    with ThreadedServer(serve) as server:
        with connect(server) as client:
            client.sendall(b"less")
        assert served.wait(5)


def test_a_connection_that_says_nothing_does_not_hold_it() -> None:
    with ThreadedServer(echo) as server:
        client = connect(server)
        wait_until("it to be accepted", lambda: server.accepted == 1)
    with client:
        assert everything(client) == b""
