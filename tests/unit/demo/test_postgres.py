"""PostgreSQL of our own: its life, its port, and what clients may do."""

from __future__ import annotations

import os
import signal
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from ambassador.demo import postgres
from ambassador.demo.distributions import find
from ambassador.demo.postgres import PostgresServer
from ambassador.demo.servers import Certificates, ServerFailed
from ambassador.demo.unprivileged import NOBODY, Guise
from tests.support.certificates import Authority
from tests.support.leaks import SHARED_CHILDREN


@pytest.fixture(scope="module")
def own(authority: Authority) -> Iterator[PostgresServer]:
    """A server that these tests may restart and change."""
    pair = authority.server("localhost")
    with PostgresServer(find(17), certificates=Certificates(pair.cert, pair.key)) as server:
        SHARED_CHILDREN.add(server.pid)
        yield server


def where(server: PostgresServer, user: str) -> str:
    """How to reach the server's database `postgres` over TCP, for libpq."""
    return make_conninfo(host=server.host, port=server.port, dbname="postgres", user=user)


def certificate(server: PostgresServer) -> bytes:
    """What the server shows in a TLS handshake, DER."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with socket.create_connection((server.host, server.port), timeout=5) as plain:
        plain.sendall(bytes.fromhex("00000008 04d2162f"))  # SSLRequest
        assert plain.recv(1) == b"S"
        with context.wrap_socket(plain) as tls:
            shown = tls.getpeercert(binary_form=True)
    assert shown is not None
    return shown


def test_leaving_the_block_ends_the_server_and_removes_its_files() -> None:
    with PostgresServer(find(17)) as server:
        pid = Path(f"/proc/{server.pid}")
        assert server.psql("SELECT 1 + 1") == "2"
        assert "ready to accept connections" in server.log()
    assert not pid.exists()
    assert not server.directory.exists()
    assert server.log() == ""
    with pytest.raises(ServerFailed, match="not running"):
        _ = server.pid


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_it_runs_as_nobody_where_namespaces_are_forbidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "guise", lambda: Guise((), NOBODY))
    with PostgresServer(find(17)) as server:
        assert Path(f"/proc/{server.pid}").stat().st_uid == NOBODY
        assert server.psql("SELECT 1") == "1"


def test_a_port_that_was_asked_for_and_is_taken_is_an_error_that_says_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = PostgresServer(find(17), port=taken.getsockname()[1])
        with pytest.raises(ServerFailed, match="could not bind"), server:
            pass
    assert not server.directory.exists()


def test_a_server_that_waits_for_a_session_is_stopped_all_the_same() -> None:
    with PostgresServer(find(17)) as server:
        server.create_role("waiting", "secret")
        session = psycopg.connect(where(server, "waiting"), password="secret")
        server.stop(0.2, how=signal.SIGTERM)
        with pytest.raises(psycopg.OperationalError):
            session.execute("SELECT 1")
        session.close()


def test_a_restart_keeps_port_and_data(own: PostgresServer) -> None:
    own.create_database("kept")
    port = own.port
    own.restart()
    SHARED_CHILDREN.add(own.pid)
    assert own.port == port
    assert own.psql("SELECT current_database()", database="kept") == "kept"


def test_a_new_password_is_taken_and_the_old_one_refused(own: PostgresServer) -> None:
    own.create_role("rotated", "first")
    own.alter_password("rotated", "second")
    with psycopg.connect(where(own, "rotated"), password="second") as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(where(own, "rotated"), password="first")


def test_a_password_may_be_kept_as_md5(own: PostgresServer) -> None:
    own.create_role("older", "first", kept="md5")
    own.alter_password("older", "second", kept="md5")
    assert own.psql("SELECT left(rolpassword, 3) FROM pg_authid WHERE rolname = 'older'") == "md5"


def test_a_role_without_a_password_can_be_made(own: PostgresServer) -> None:
    own.create_role("bare", more="REPLICATION")
    assert own.psql("SELECT rolreplication, rolcanlogin FROM pg_roles WHERE rolname = 'bare'") == "t|t"


def test_hba_lines_hold_when_the_call_returns(own: PostgresServer) -> None:
    own.create_role("guest")
    for _ in range(3):
        own.set_hba(["host all guest 127.0.0.1/32 trust"])
        psycopg.connect(where(own, "guest")).close()
        own.set_hba(postgres.DEFAULT_HBA)
        with pytest.raises(psycopg.OperationalError, match="no password supplied"):
            psycopg.connect(where(own, "guest"))


def test_certificates_are_replaced_when_the_call_returns(own: PostgresServer, authority: Authority) -> None:
    pair = authority.server("localhost")
    before = certificate(own)
    own.set_certificates(Certificates(pair.cert, pair.key))
    assert certificate(own) != before
    assert ssl.DER_cert_to_PEM_cert(certificate(own)).strip() in pair.cert.read_text()


def test_bad_sql_is_an_error_with_the_server_s_words(own: PostgresServer) -> None:
    with pytest.raises(ServerFailed, match="syntax error"):
        own.psql("SELEKT 1")


def test_statements_never_reach_the_log_even_when_they_fail(own: PostgresServer) -> None:
    with pytest.raises(ServerFailed):
        own.psql("ALTER ROLE nobody_here PASSWORD 'log-canary-93'")
    assert "log-canary-93" not in own.log()


def test_bad_settings_fail_the_start_with_the_server_s_words() -> None:
    server = PostgresServer(find(17), settings={"no_such_setting": "1"})
    with pytest.raises(ServerFailed, match="no_such_setting"):
        server.start()
    server.close()
    assert not server.directory.exists()


def test_hba_may_be_written_before_the_start() -> None:
    server = PostgresServer(find(17))
    server._cluster.data.mkdir()
    server.set_hba([])
    assert (server.directory / "data" / "pg_hba.conf").exists()
    server.close()
