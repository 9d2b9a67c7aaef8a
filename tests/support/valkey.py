"""Real servers for tests of the Redis protocol: Valkey 9 from a Python package, Redis 7 from Debian.

Valkey comes with the development dependencies, so that its absence is a failure; it was built without TLS. Redis only
apt can bring, so that its absence skips the test and says so.
"""

from __future__ import annotations

import secrets
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from ambassador.demo.servers import Certificates, ServerFailed
from ambassador.demo.valkey import EVERYTHING, Program, ValkeyServer, packaged
from tests.support.certificates import Authority
from tests.support.leaks import SHARED_CHILDREN
from tests.support.secrets import canary

__all__ = ["EVERYTHING", "Certificates", "Program", "ServerFailed", "ValkeyServer"]

Kind = Literal["valkey9", "redis7"]

DEBIAN = Path("/usr/bin/redis-server")


def program(kind: Kind) -> Program:
    """The server's program; skips the test where only apt could bring it and has not."""
    if kind == "valkey9":
        return packaged()
    if not DEBIAN.is_file():
        pytest.skip(f"no {DEBIAN}; Debian's package redis-server brings it (`make apt`)")
    return Program("Debian's redis-server", DEBIAN, tls=True)


@dataclass(frozen=True)
class Account:
    """A login of a server: its user's name and password."""

    name: str
    password: str


def new_account(*servers: ValkeyServer, rules: str = EVERYTHING, password: str | None = None) -> Account:
    """A user of this test's own, the same on all these servers. Its password is a canary."""
    account = Account(f"user_{secrets.token_hex(4)}", canary("password") if password is None else password)
    for server in servers:
        server.set_user(account.name, account.password, rules)
    return account


class ValkeyServers:
    """Servers shared by a whole run, each started when first asked for. Their user `default` is off.

    Args:
        authority: signs the certificate of those that speak TLS, for `localhost` and 127.0.0.1, and is the CA they
            take client certificates from.
    """

    def __init__(self, authority: Authority) -> None:
        self._authority = authority
        self._started: dict[tuple[Kind, bool], ValkeyServer] = {}
        self._stack = ExitStack()

    def get(self, kind: Kind, *, tls: bool = False) -> ValkeyServer:
        """The shared server of a kind. Do not stop it or change its settings; use keys of your own."""
        key = (kind, tls)
        if key not in self._started:
            server = ValkeyServer(program(kind), certificates=certificates(self._authority) if tls else None)
            self._started[key] = self._stack.enter_context(server)
            SHARED_CHILDREN.add(server.pid)
        return self._started[key]

    def close(self) -> None:
        """Stop and remove all of them."""
        self._stack.close()
        self._started.clear()


def certificates(authority: Authority) -> Certificates:
    """A server certificate as the shared servers show it."""
    pair = authority.server("localhost", "127.0.0.1")
    return Certificates(pair.cert, pair.key, client_ca=authority.file)
