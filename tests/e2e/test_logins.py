"""Every way of logging in: the ambassador to a server, and a client to the ambassador."""

from __future__ import annotations

import socket
import ssl
import stat
import statistics
import time
from pathlib import Path

import psycopg
import pytest

from tests.e2e.drivers.asyncpg import Asyncpg
from tests.e2e.drivers.base import QUOTED, Driver, Seen
from tests.e2e.drivers.node import Node
from tests.e2e.drivers.pg8000 import Pg8000
from tests.e2e.drivers.psql import Psql
from tests.e2e.drivers.psycopg3 import Psycopg, connect, value
from tests.e2e.house import CLIENT, House
from tests.e2e.where import Where
from tests.support.certificates import Authority
from tests.support.postgres import distribution
from tests.support.processes import wait_until
from tests.support.secrets import canary

# The ambassador's logins, by listener: whom the server lets in, and what it calls the way in its log.
METHODS = {
    "trust": ("by_trust", None),
    "password": ("by_password", "password"),
    "md5": ("by_md5", "md5"),
    "scram": ("app", "scram-sha-256"),
    "scram-plus": ("app", "scram-sha-256"),
    "cert": ("by_cert", "cert"),
    "cert-files": ("by_cert", "cert"),
    "token": ("by_token", "scram-sha-256"),
    "prepared": ("by_prepared", "scram-sha-256"),
    "unprepared": ("by_unprepared", "scram-sha-256"),
    "direct": ("app", "scram-sha-256"),
}
ONLY_TLS = {"scram-plus", "cert", "cert-files", "direct"}
UPSTREAM = [
    (major, kind)
    for major in (15, 17, 18)
    for kind in METHODS
    if not (major == 18 and kind in ONLY_TLS) and not (major == 15 and kind == "direct")
]

ACCESSES = ("scram-sha-256", "scram-sha-256-tls", "md5", "md5-tls", "cleartext", "cleartext-tls", "ipv6")
CLIENTS: tuple[Driver, ...] = (Psycopg("psycopg"), Asyncpg("asyncpg"), Pg8000("pg8000"), Node("pg"), Node("postgres"))


def refused(where: Where, **more: str) -> psycopg.Error:
    """How a client is refused that psycopg makes; fails the test if it is not."""
    with pytest.raises(psycopg.OperationalError) as caught, connect(where, **more):
        pass
    return caught.value


@pytest.mark.parametrize(("major", "kind"), UPSTREAM)
def test_the_ambassador_logs_in_by(house: House, major: int, kind: str) -> None:
    distribution(major)
    cluster = house.clusters[major]
    user, method = METHODS[kind]
    before = len(cluster.server.log())
    with connect(house.where(f"pg{major}-{kind}")) as connection:
        assert value(connection.execute("SELECT current_user::text")) == user
        # Wherever a server has TLS this house speaks it.
        assert value(connection.execute("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")) is cluster.tls
    said = cluster.server.log()[before:]
    assert method is None or f"method={method} " in said


@pytest.mark.parametrize(
    ("access", "driver"),
    [
        pytest.param(access, driver, id=f"{access}-{driver.name}")
        for access in ACCESSES
        for driver in CLIENTS
        if (access, driver.name) != ("ipv6", "node-postgres")  # it takes what follows a colon for a port
    ],
)
def test_a_client_logs_in_by(house: House, access: str, driver: Driver) -> None:
    assert driver.query(house.where(access)) == Seen("app", QUOTED, "22012", 42)


@pytest.mark.parametrize(("access", "method"), [("md5", "md5"), ("cleartext", "password"), ("ipv6", "scram-sha-256")])
def test_a_client_is_asked_for_what_the_listener_says(house: House, access: str, method: str) -> None:
    with connect(house.where(access), require_auth=method) as connection:
        assert value(connection.execute("SELECT 42")) == 42


@pytest.mark.parametrize("access", ["scram-sha-256", "md5", "cleartext", "scram-sha-256-tls"])
def test_a_wrong_user_and_a_wrong_password_get_the_same_answer_in_the_same_time(house: House, access: str) -> None:
    where = house.where(access)
    wrong_user, wrong_password = where.but(user="nobody"), where.but(password=canary("wrong"))

    def attempt(tried: Where) -> tuple[float, str]:
        start = time.perf_counter()
        said = str(refused(tried)).replace(tried.user, "USER")
        return time.perf_counter() - start, said.replace(str(tried.port), "PORT")

    pairs = [(attempt(wrong_user), attempt(wrong_password)) for _ in range(12)]
    assert {said for pair in pairs for _, said in pair} == {pairs[0][0][1]}
    assert 'password authentication failed for user "USER"' in pairs[0][0][1]
    user, password = (statistics.median(pair[which][0] for pair in pairs) for which in (0, 1))
    # Either of the two costing a key derivation more, or a lookup elsewhere, would be several times as much.
    assert 0.5 < user / password < 2


def test_a_client_binds_its_login_to_the_tls_connection(house: House) -> None:
    with connect(house.where("scram-sha-256-tls"), channel_binding="require") as connection:
        assert value(connection.execute("SELECT 42")) == 42
    said = str(refused(house.where("scram-sha-256"), channel_binding="require"))
    assert "channel binding" in said


def test_a_listener_with_tls_turns_away_who_speaks_none(house: House) -> None:
    where = house.where("scram-sha-256-tls")
    assert "over TLS only" in str(refused(where, sslmode="disable"))


def test_a_listener_may_allow_both(house: House) -> None:
    where = house.where("allow")
    with connect(where) as secret, connect(where, sslmode="disable") as open_to_all:
        assert secret.pgconn.ssl_in_use
        assert not open_to_all.pgconn.ssl_in_use


def test_direct_tls_without_the_protocol_s_name_is_refused(house: House) -> None:
    where = house.where("pg17-tls-tls")
    context = ssl.create_default_context(cafile=where.ca)
    with socket.create_connection((where.host, where.port), 5) as bare:
        bare.settimeout(5)
        with context.wrap_socket(bare, server_hostname="localhost") as secret:
            secret.sendall(b"\0\0\0\x08\x04\xd2\x16\x2f")
            assert b"ALPN" in secret.recv(4096)


def test_bytes_in_the_clear_behind_the_request_for_tls_are_refused(house: House) -> None:
    where = house.where("pg17-tls-tls")
    with socket.create_connection((where.host, where.port), 5) as bare:
        bare.settimeout(5)
        bare.sendall(b"\0\0\0\x08\x04\xd2\x16\x2f" + b"\0\0\0\x17\0\x03\0\0user\0mallory\0\0")
        said = bare.recv(4096)
    assert not said.startswith(b"S")
    assert b"unencrypted data was sent behind a request for encryption" in said


def test_a_request_for_gss_encryption_is_declined(house: House) -> None:
    where = house.where("pg17-plain-plain")
    with socket.create_connection((where.host, where.port), 5) as bare:
        bare.settimeout(5)
        bare.sendall(b"\0\0\0\x08\x04\xd2\x16\x30")
        assert bare.recv(1) == b"N"


@pytest.mark.parametrize("major", [15, 17, 18])
@pytest.mark.parametrize(("wanted", "version"), [("3.0", 30000), ("3.2", 30002), ("latest", 30002)])
def test_a_client_gets_the_protocol_it_asks_for(house: House, major: int, wanted: str, version: int) -> None:
    distribution(major)
    with connect(house.where(f"pg{major}-plain-plain"), max_protocol_version=wanted) as connection:
        assert connection.pgconn.full_protocol_version == version
        assert value(connection.execute("SELECT 42")) == 42


@pytest.mark.parametrize("major", [15, 17, 18])
def test_what_a_client_says_at_startup_reaches_the_server(house: House, major: int) -> None:
    distribution(major)
    words = {"options": "-c work_mem=1234kB", "application_name": "billing", "client_encoding": "LATIN1"}
    with connect(house.where(f"pg{major}-plain-plain"), **words) as connection:
        assert value(connection.execute("SHOW work_mem")) == "1234kB"
        assert value(connection.execute("SHOW application_name")) == "billing"
        assert connection.info.parameter_status("client_encoding") == "LATIN1"
        assert str(connection.info.parameter_status("server_version")).startswith(str(major))


def test_a_database_that_the_server_does_not_have_is_named_as_the_reason(house: House) -> None:
    error = refused(house.where("pg17-tls-tls").but(database="nowhere"))
    assert "the database does not exist" in str(error)


# Client certificates


def certified(house: House, listener: str, common_name: str, *uris: str) -> Where:
    """A client with a certificate of this run's CA."""
    where = house.where(listener)
    pair = house.authority.client(common_name, uris=uris)
    return Where(where.port, where.user, where.database, ca=where.ca, pair=pair)


@pytest.mark.parametrize("user", ["alice", "bob"])
@pytest.mark.parametrize(
    "driver",
    [*CLIENTS, Psql(distribution(17)), Psql(distribution(17), sslnegotiation="direct")],
    ids=lambda one: one.name,
)
def test_a_certificate_lets_a_client_in_as_its_rule_says(house: House, driver: Driver, user: str) -> None:
    assert driver.query(certified(house, "mtls", "billing").but(user=user)).user == "app"


def test_a_workload_s_uri_lets_it_in_as_anyone(house: House) -> None:
    where = certified(house, "mtls", "whoever", "spiffe://example.com/ns/shop/sa/orders").but(user="carol")
    assert Psycopg("psycopg").query(where).user == "app"


@pytest.mark.parametrize(
    ("name", "uri"),
    [("billing", ""), ("other", ""), ("other", "spiffe://example.com/ns/shop/sa/other")],
    ids=["wrong user", "wrong name", "wrong uri"],
)
def test_a_certificate_that_no_rule_names_is_refused(house: House, name: str, uri: str) -> None:
    where = certified(house, "mtls", name, *filter(None, [uri])).but(user="carol")
    assert 'access denied for user "carol" at this proxy' in str(refused(where))


def test_without_rules_a_certificate_s_common_name_is_the_user(house: House) -> None:
    where = certified(house, "mtls-cn", "dave").but(user="dave")
    assert Psycopg("psycopg").query(where).user == "app"
    assert "access denied" in str(refused(where.but(user="erin")))


def test_no_certificate_and_a_stranger_s_certificate_are_refused(house: House, tmp_path: Path) -> None:
    assert "access denied" in str(refused(house.where("mtls"), sslcertmode="disable"))
    stranger = Authority(tmp_path).client("billing")
    where = certified(house, "mtls", "billing").libpq(sslcert=str(stranger.cert), sslkey=str(stranger.key))
    with pytest.raises(psycopg.OperationalError, match=r"(?i)unknown ca|certificate|closed|reset"):
        psycopg.connect(**where)  # type: ignore[arg-type]  # every value is text


# Unix sockets


@pytest.mark.parametrize("driver", [Psycopg("psycopg"), Asyncpg("asyncpg"), Node("postgres")], ids=lambda one: one.name)
def test_the_kernel_vouches_for_a_process_at_a_unix_socket(house: House, driver: Driver) -> None:
    assert driver.query(house.where("peer")).user == "app"


def test_a_process_of_another_user_is_refused(house: House) -> None:
    assert "access denied" in str(refused(house.where("peer-other")))
    assert "access denied" in str(refused(house.where("peer").but(user="bob")))


def test_a_unix_socket_has_the_mode_that_was_asked_for(house: House) -> None:
    for listener, mode in (("peer", 0o600), ("peer-other", 0o660)):
        where = house.where(listener)
        found = Path(where.host, f".s.PGSQL.{where.port}").stat().st_mode
        assert stat.S_ISSOCK(found)
        assert stat.S_IMODE(found) == mode


# What remains of it


def test_what_was_counted_goes_by_how_it_ended(house: House) -> None:
    daemon, labels = house.daemon, {"listener": "scram-sha-256", "result": "auth_failed"}
    name = "ambassador_downstream_connections_total"
    before = daemon.metric(name, **labels)
    refused(house.where("scram-sha-256").but(password=canary("wrong")))
    wait_until("the refusal to be counted", lambda: daemon.metric(name, **labels) == before + 1)
    ended = daemon.log_contains("session ended", listener="scram-sha-256", reason="auth_failed")
    assert ended["level"] == "warning"
    assert CLIENT in ended["error"] or "nobody" in ended["error"]
