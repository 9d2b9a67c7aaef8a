"""The shared servers: each version starts, logs in, rotates, and speaks TLS where it can."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tests.support.certificates import Authority
from tests.support.leaks import SHARED_CHILDREN
from tests.support.postgres import PostgresServer, Role, Servers, new_role, pgpass


def login(server: PostgresServer, role: Role, **more: str) -> str:
    """Connect as `role` and return what the server says about itself."""
    where = make_conninfo(host=server.host, port=server.port, dbname="postgres", user=role.name, **more)
    with psycopg.connect(where, password=role.password) as connection:
        row = connection.execute("SELECT current_user || ' ' || current_setting('server_version_num')").fetchone()
    assert row is not None
    return str(row[0])


def test_every_version_lets_a_new_role_in(postgres: PostgresServer) -> None:
    role = new_role(postgres)
    assert login(postgres, role).startswith(f"{role.name} {postgres.distribution.major}")


def test_a_wrong_password_is_refused(postgres17: PostgresServer) -> None:
    role = new_role(postgres17)
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        login(postgres17, Role(role.name, "wrong"))


def test_tls_servers_are_verified_by_the_run_s_authority(postgres_tls: PostgresServer, authority: Authority) -> None:
    role = new_role(postgres_tls)
    assert role.name in login(postgres_tls, role, sslmode="verify-full", sslrootcert=str(authority.file))


def test_two_asks_for_one_version_give_one_server(servers: Servers) -> None:
    first = servers.get(17)
    assert servers.get(17) is first
    assert first.pid in SHARED_CHILDREN


def test_a_password_file_lets_psql_in_whatever_the_password(postgres17: PostgresServer, tmp_path: Path) -> None:
    role = new_role(postgres17, "back\\slash:colon 'quote'")
    path = pgpass(tmp_path, role)
    assert path.stat().st_mode & 0o777 == 0o600
    with psycopg.connect(
        host=postgres17.host, port=postgres17.port, user=role.name, dbname="postgres", passfile=str(path)
    ) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
