"""What every server of ours has in common, shown with one that is a line of Python."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sys
from collections import deque
from collections.abc import Sequence
from pathlib import Path

import pytest

from ambassador.demo import servers
from ambassador.demo.servers import Server, ServerFailed, environment, free_port, write_private

LISTEN = "import socket, sys; s = socket.create_server(('127.0.0.1', int(sys.argv[1]))); {then}"
WAIT = "print('up', flush=True); s.accept()"


class Small(Server):
    """Listens, says `up`, and then does what `then` says."""

    port_taken = "Address already in use"

    def __init__(self, then: str = WAIT, *, port: int = 0) -> None:
        super().__init__("small", "these tests", port=port)
        self.then = then
        self.prepared: list[int] = []

    def _prepare(self) -> None:
        self.prepared.append(self.port)

    def _words(self) -> Sequence[str | Path]:
        return [sys.executable, "-S", "-c", LISTEN.format(then=self.then), str(self.port)]

    def _takes_connections(self) -> bool:
        return "up" in self.log()

    def _remove(self) -> None:
        shutil.rmtree(self.directory, ignore_errors=True)


def test_a_free_port_can_be_bound_on_either_family() -> None:
    for host in ("127.0.0.1", "::1"):
        with socket.create_server((host, free_port(host)), family=socket.AF_INET6 if ":" in host else socket.AF_INET):
            pass


def test_a_port_is_not_given_twice_in_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "_given", deque[int](maxlen=1000))
    given = [free_port() for _ in range(200)]
    assert len(set(given)) == 200


def test_leaving_the_block_ends_the_server_and_removes_its_files() -> None:
    with Small() as server:
        process = Path(f"/proc/{server.pid}")
        assert (server.running, server.log()) == (True, "up\n")
    assert (server.running, process.exists()) == (False, False)
    assert not server.directory.exists()
    assert server.log() == ""
    with pytest.raises(ServerFailed, match="not running"):
        _ = server.pid


def test_a_restart_keeps_the_port_and_is_another_process() -> None:
    with Small() as server:
        pid, port = server.pid, server.port
        server.restart()
        assert (server.pid != pid, server.port) == (True, port)


def test_a_killed_server_can_be_started_again() -> None:
    with Small() as server:
        server.kill()
        assert not server.running
        server.start()
        assert server.running


def test_a_port_that_was_taken_meanwhile_makes_it_try_another(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        busy = taken.getsockname()[1]
        offered = [busy, free_port()]
        monkeypatch.setattr(servers, "free_port", lambda host: offered.pop(0))
        with Small() as server:
            assert server.prepared == [busy, server.port]


def test_a_port_that_was_asked_for_and_is_taken_is_an_error_that_says_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = Small(port=taken.getsockname()[1])
        with pytest.raises(ServerFailed, match="Address already in use"), server:
            pass
    assert not server.directory.exists()


def test_a_server_that_ends_at_once_fails_with_its_last_words() -> None:
    server = Small("raise SystemExit('nothing to do')")
    with pytest.raises(ServerFailed, match="these tests ended at once: nothing to do"), server:
        pass
    assert not server.directory.exists()


def test_a_server_that_never_gets_ready_is_ended() -> None:
    server = Small("s.accept()")
    with pytest.raises(ServerFailed, match=r"did not take connections in 0\.3 s"):
        server.start(0.3)
    assert not server.running
    server.close()


def test_a_server_that_is_deaf_to_the_signal_is_stopped_all_the_same() -> None:
    with Small(f"import signal; signal.signal(2, signal.SIG_IGN); {WAIT}") as server:
        process = server._running()
        server.stop(0.2)
        assert process.returncode == -signal.SIGQUIT


def test_a_server_sees_nothing_of_our_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PGPASSWORD", "ours")
    monkeypatch.setenv("REDISCLI_AUTH", "ours")
    assert "ours" not in environment(tmp_path).values()
    assert environment(tmp_path)["HOME"] == str(tmp_path)


def test_a_private_file_is_ours_alone_from_the_beginning(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("old")
    path.chmod(0o644)
    write_private(path, "new")
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("new", 0o600)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_private_file_can_be_somebody_else_s(tmp_path: Path) -> None:
    write_private(tmp_path / "theirs", "text", uid=12345)
    assert (tmp_path / "theirs").stat().st_uid == 12345
