"""Who is at the two ends of a socket."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from ambassador.net.peer import Peer, local, remote
from tests.support.sockets import tcp_pair


def test_an_ipv4_end_has_host_and_port() -> None:
    near, far = tcp_pair()
    port = near.getsockname()[1]
    with near, far:
        assert remote(far) == Peer(f"127.0.0.1:{port}", "127.0.0.1", port)
        assert local(near) == remote(far)


def test_an_ipv6_end_is_written_in_brackets() -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("::1", port)) as near:
            assert remote(near) == Peer(f"[::1]:{port}", "::1", port)


def test_the_nameless_end_of_a_unix_socket_has_a_process() -> None:
    near, far = socket.socketpair()
    with near, far:
        assert remote(near) == Peer("unix:", uid=os.getuid(), gid=os.getgid(), pid=os.getpid())


@pytest.mark.parametrize(("name", "written"), [("{}/s", "unix:{}/s"), ("\0ambassador-{}", "unix:@ambassador-{}")])
def test_a_unix_socket_s_path_is_shown(tmp_path: Path, name: str, written: str) -> None:
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as near:
        server.bind(name.format(tmp_path))
        server.listen()
        near.connect(name.format(tmp_path))
        assert remote(near).address == written.format(tmp_path)
        assert local(server).address == written.format(tmp_path)
        assert remote(near).uid == os.getuid()


def test_a_process_is_known_by_the_ids_it_connected_with(tmp_path: Path) -> None:
    path = tmp_path / "s"
    connect = "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); s.recv(1)"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        with subprocess.Popen([sys.executable, "-c", connect, str(path)]) as child:
            near, _ = server.accept()
            with near:
                assert remote(near).pid == child.pid


def test_a_connection_that_is_gone_has_no_far_end() -> None:
    with socket.socket() as alone, pytest.raises(OSError, match="not connected"):
        remote(alone)
