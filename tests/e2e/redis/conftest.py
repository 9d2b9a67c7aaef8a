"""One daemon for each real server, shared by the tests that only use it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.redis.plan import MODES, Plan
from tests.e2e.where import Where
from tests.support import secrets
from tests.support.certificates import Authority
from tests.support.daemon import Daemon
from tests.support.leaks import SHARED_CHILDREN
from tests.support.secrets import canary
from tests.support.valkey import Account, Kind, ValkeyServers, new_account


class House:
    """A daemon before one server: a listener of each mode with a password, and one without.

    Attributes:
        places: where they are by name: `multiplex`, `dedicated`, and the same with `-open`.
        account: the login at the server, which is nobody's business.
    """

    def __init__(self, kind: Kind, valkeys: ValkeyServers, authority: Authority, home: Path) -> None:
        tls = kind == "redis7"
        self.server = valkeys.get(kind, tls=tls)
        self.account = new_account(self.server)
        client = Account("alice", canary("client"))
        plan = Plan(home, authority)
        plan.secret("cache", self.account)
        plan.secret("clients", client)
        self.places: dict[str, Where] = {}
        for mode in MODES:
            plan.upstream(mode, self.server, "cache", redis={"mode": mode}, tls=plan.tls() if tls else None)
            port = plan.listener(mode, mode, access={"password": {"credential": "clients"}})
            self.places[mode] = Where(port, client.name, "0", client.password)
            self.places[f"{mode}-open"] = Where(plan.listener(f"{mode}-open", mode), "default", "0")
        self.daemon = Daemon(plan.text(log={"level": "debug"}), secrets=[self.account.password, client.password])


class Houses:
    """Those of the run, each made when first asked for."""

    def __init__(self, valkeys: ValkeyServers, authority: Authority, home: Path) -> None:
        self._makings = valkeys, authority
        self._home = home
        self._made: dict[str, House] = {}
        self.stack = ExitStack()

    def get(self, kind: Kind) -> House:
        """The one before a server; skips the test where the server is not to be had."""
        if kind not in self._made:
            house = House(kind, *self._makings, self._home / kind)
            daemon = self.stack.enter_context(house.daemon)
            SHARED_CHILDREN.add(daemon.child.pid)
            self._made[kind] = house
        return self._made[kind]


@pytest.fixture(scope="session")
def houses(valkeys: ValkeyServers, authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Houses]:
    """Daemons for the whole run."""
    found = Houses(valkeys, authority, tmp_path_factory.mktemp("redis"))
    with found.stack:
        yield found
        secrets.LASTING.update(secrets.MINTED)


@pytest.fixture(scope="session", params=["valkey9", pytest.param("redis7", marks=pytest.mark.apt)])
def house(request: pytest.FixtureRequest, houses: Houses) -> House:
    """A daemon before Valkey 9, and one before Redis 7 that speaks TLS."""
    return houses.get(request.param)
