"""Real PostgreSQL servers for tests: 15 from Debian, 17 and 18 from Python packages.

17 and 18 come with the development dependencies, so that their absence is a failure; 15 only apt can bring, so that
its absence skips the test and says so.
"""

from __future__ import annotations

import secrets
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from ambassador.demo.distributions import Distribution, NotInstalled, find
from ambassador.demo.postgres import DEFAULT_HBA, PostgresServer
from ambassador.demo.servers import Certificates, ServerFailed
from tests.support.certificates import Authority
from tests.support.leaks import SHARED_CHILDREN
from tests.support.secrets import canary

__all__ = ["DEFAULT_HBA", "Certificates", "PostgresServer", "ServerFailed"]

SCRAM = "scram-sha-256"

VERSIONS = (15, 17, 18)
TLS_VERSIONS = (15, 17)
FROM_APT = 15


def distribution(major: int) -> Distribution:
    """The PostgreSQL of that version; skips the test where only apt could bring it and has not."""
    try:
        return find(major)
    except NotInstalled as error:
        if major == FROM_APT:
            pytest.skip(f"{error} (`make apt`)")
        raise


@dataclass(frozen=True)
class Role:
    """A login of a server: its name and password."""

    name: str
    password: str


def new_role(server: PostgresServer, password: str | None = None, *, kept: str = SCRAM, more: str = "") -> Role:
    """A role of this test's own, so that tests sharing a server do not meet. Its password is a canary."""
    role = Role(f"role_{secrets.token_hex(4)}", canary("password") if password is None else password)
    server.create_role(role.name, role.password, kept=kept, more=more)
    return role


class Servers:
    """Servers shared by a whole run, each started when first asked for.

    Args:
        authority: signs the certificate of those that speak TLS, for `localhost` and 127.0.0.1, and is the CA they
            take client certificates from.
    """

    def __init__(self, authority: Authority) -> None:
        self._authority = authority
        self._started: dict[tuple[int, bool], PostgresServer] = {}
        self._stack = ExitStack()

    def get(self, major: int, *, tls: bool = False) -> PostgresServer:
        """The shared server of a version, with or without TLS. Do not stop it or change its hba lines."""
        key = (major, tls)
        if key not in self._started:
            server = PostgresServer(distribution(major), certificates=self.certificates() if tls else None)
            self._started[key] = self._stack.enter_context(server)
            SHARED_CHILDREN.add(server.pid)
        return self._started[key]

    def certificates(self) -> Certificates:
        """A server certificate as the shared servers show it."""
        pair = self._authority.server("localhost", "127.0.0.1")
        return Certificates(pair.cert, pair.key, client_ca=self._authority.file)

    def close(self) -> None:
        """Stop and remove all of them."""
        self._stack.close()
        self._started.clear()


def pgpass(directory: Path, role: Role) -> Path:
    """A libpq password file for one role; a password on a command line or in an environment can be read by others."""
    path = directory / f"pgpass-{role.name}"
    path.touch(mode=0o600)
    escaped = role.password.replace("\\", "\\\\").replace(":", "\\:")
    path.write_text(f"*:*:*:{role.name}:{escaped}\n")
    return path
