"""PostgreSQL servers that know every way of logging in, and replicate."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass

from ambassador.demo.distributions import NotInstalled, find
from tests.support.certificates import Authority
from tests.support.postgres import SCRAM, TLS_VERSIONS, VERSIONS, Certificates, PostgresServer, Role, distribution
from tests.support.secrets import canary

DATABASE = "orders"
SETTINGS = {"wal_level": "logical", "log_connections": "on", "max_wal_senders": "10"}

# By role, since one address has to do for all. The host column would be matched before any password is asked for.
HBA = (
    "host all             by_trust    127.0.0.1/32 trust",
    "host all             by_password 127.0.0.1/32 password",
    "host all             by_md5      127.0.0.1/32 md5",
    "host all,replication all         127.0.0.1/32 scram-sha-256",
)
HBA_TLS = (
    "hostnossl all        by_password 127.0.0.1/32 reject",
    "hostssl   all        by_cert     127.0.0.1/32 cert",
)


@dataclass(frozen=True)
class Cluster:
    """One server and the roles on it, by the way they log in; `app` owns the database `orders` and may replicate."""

    server: PostgresServer
    roles: Mapping[str, Role]

    @property
    def major(self) -> int:
        """Its version."""
        return self.server.distribution.major

    @property
    def tls(self) -> bool:
        """Whether it speaks TLS."""
        return self.server.distribution.tls

    def sleeping(self) -> bool:
        """Whether somebody is in pg_sleep there."""
        return self.server.psql("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'") != "0"


def installed() -> tuple[int, ...]:
    """The versions that are on this machine."""

    def here(major: int) -> bool:
        try:
            find(major)
        except NotInstalled:
            return False
        return True

    return tuple(major for major in VERSIONS if here(major))


def make(major: int, authority: Authority) -> PostgresServer:
    """A server that is not started yet. Skips the test where only apt could bring it and has not."""
    found = distribution(major)
    certificates = None
    if major in TLS_VERSIONS:
        pair = authority.server("localhost", "127.0.0.1")
        certificates = Certificates(pair.cert, pair.key, client_ca=authority.file)
    hba = (*HBA_TLS, *HBA) if found.tls else HBA
    return PostgresServer(found, hba=hba, settings=SETTINGS, certificates=certificates)


def fill(server: PostgresServer) -> Cluster:
    """Make the roles and the database of a server that runs."""
    roles = {"app": Role("app", canary("app"))}
    for kind in ("trust", "password", "md5", "cert"):
        roles[kind] = Role(f"by_{kind}", canary(kind))
    # Tokens of cloud providers are that long, and longer than what many a buffer was made for.
    roles["token"] = Role("by_token", canary("token", size=450))
    # SASLprep forbids the first (a control character) and rewrites the second (a Roman numeral).
    roles["unprepared"] = Role("by_unprepared", f"\x07{secrets.token_hex(12)}")
    roles["prepared"] = Role("by_prepared", f"Ⅳ\N{NO-BREAK SPACE}ª{secrets.token_hex(12)}")
    for kind, role in roles.items():
        more = "REPLICATION CREATEDB" if kind == "app" else ""
        server.create_role(role.name, role.password, kept="md5" if kind == "md5" else SCRAM, more=more)
    server.create_database(DATABASE, "app")
    return Cluster(server, roles)
