"""Users that stay while their passwords change: by hand in a key/value store, or by the Vault itself."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.e2e.load import Bench
from tests.e2e.vault.plan import Plan
from tests.support.daemon import Daemon
from tests.support.openbao import OpenBao
from tests.support.openbao_engines import KeyValue, PostgresDatabase
from tests.support.postgres import PostgresServer, new_role
from tests.support.processes import wait_until
from tests.support.secrets import canary

EVERY = 2.0
"""Seconds between two changes."""

APART = 0.7
"""Seconds between the change in one place and that in the other: less than `refused_wait`, as long as clients of the
old password are patient."""

CLIENTS = 6


class Changing(ABC):
    """One user, and a listener that logs in as it.

    Attributes:
        path: where the Vault is asked for its password.
    """

    path: str

    def __init__(self, name: str, server: PostgresServer, plan: Plan) -> None:
        self.name = name
        self.server = server
        self.role = new_role(server)
        self.where = plan.postgres(name, server)
        self.home = plan.home / name
        self.home.mkdir()

    @abstractmethod
    def change(self, count: int) -> None:
        """Give the user another password."""

    def load(self, seconds: int) -> tuple[int, int]:
        """Change it for so long under clients that connect all the time; how often, and what they got done."""
        program = self.server.tool("pgbench")
        with Bench(program, self.where, self.home, seconds=seconds, reconnect=True, clients=CLIENTS) as bench:
            changes = bench.during(self.change, every=EVERY)
            return changes, bench.finished()


class Written(Changing):
    """Its password is written down in a key/value store, where it is looked up now and then."""

    def __init__(self, name: str, server: PostgresServer, plan: Plan, store: KeyValue, poll: str) -> None:
        super().__init__(name, server, plan)
        self.store = store
        self.path = store.path(name)
        self.write(self.role.password)
        plan.lent(name, "vault_kv", mount=store.mount, path=name, settings={"poll": poll})

    def write(self, password: str) -> None:
        """A new version of the secret."""
        self.store.put(self.name, {"username": self.role.name, "password": password})


class DatabaseFirst(Written):
    """For a moment nobody has the right password; those who are refused make us look."""

    def change(self, count: int) -> None:
        password = canary("changed")
        self.server.alter_password(self.role.name, password)
        time.sleep(APART)
        self.write(password)


class SecretFirst(Written):
    """For a moment the store holds one that does not work yet, and that we see."""

    def change(self, count: int) -> None:
        password = canary("changed")
        self.write(password)
        time.sleep(APART)
        self.server.alter_password(self.role.name, password)


class ByTheVault(Changing):
    """The Vault changes it when it is told to, and every so many seconds."""

    def __init__(self, name: str, plan: Plan, database: PostgresDatabase, *, period: int, asked: bool) -> None:
        super().__init__(name, database.postgres, plan)
        self.database, self._asked = database, asked
        self.path = f"{database.mount}/static-creds/{name}"
        database.set_static_role(name, self.role.name, rotation_period=period)
        plan.lent(name, "vault_database", mount=database.mount, static_role=name)

    def change(self, count: int) -> None:
        if self._asked:
            self.database.rotate(self.name)


@pytest.mark.slow
@pytest.mark.timeout(150)
def test_no_transaction_fails_while_passwords_change(
    openbao: OpenBao, postgres17: PostgresServer, plan: Plan, long: bool, figure: Callable[[str], None]
) -> None:
    seconds = 60 if long else 8
    store, database = openbao.key_value(), openbao.postgres_database(postgres17)
    plan.vault(openbao, store.reading(), database.reading("static-creds/*"))
    everyone = [
        DatabaseFirst("database-first", postgres17, plan, store, "30s"),
        SecretFirst("secret-first", postgres17, plan, store, "500ms"),
        ByTheVault("rotated", plan, database, period=3600, asked=True),
        ByTheVault("periodic", plan, database, period=5, asked=False),
    ]
    with Daemon(plan.text()) as daemon, ThreadPoolExecutor(len(everyone)) as threads:
        found = [life.result() for life in [threads.submit(one.load, seconds) for one in everyone]]
        assert not daemon.logged("session ended", reason="upstream_login_refused")
        for one, (changes, done) in zip(everyone, found, strict=True):
            wanted = seconds // 6 if one.name == "periodic" else changes - 1
            wait_until(
                f"the last password of {one.name}",
                lambda one=one, wanted=wanted: (  # type: ignore[misc]  # it cannot tell the types of defaults
                    daemon.metric("ambassador_credential_version", credential=one.name) > wanted - 1
                ),
            )
            rotations = len(daemon.logged("credential rotated", credential=one.name))
            reads = len(openbao.requests(one.path))
            # Looked up for each change, by whoever is refused first, and as often as was asked for; never in a loop.
            looks = seconds * 2 if one.name == "secret-first" else 0
            assert rotations <= reads <= 6 * (rotations + 1) + looks
            figure(f"{one.name}: {rotations} changes in {seconds} s, {done} connections, none failed; {reads} reads")
