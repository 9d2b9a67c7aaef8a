"""What a Vault lent is given back: when we leave, and when the configuration no longer wants it."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

import pytest

from tests.e2e.drivers.psycopg3 import connect, value
from tests.e2e.load import Bench
from tests.e2e.vault.plan import Plan, logins
from tests.e2e.vault.slow import Slow
from tests.e2e.where import Where
from tests.support.daemon import Daemon
from tests.support.openbao import OpenBao
from tests.support.openbao_auth import AppRole
from tests.support.openbao_engines import POSTGRES_ROLE, PostgresDatabase
from tests.support.postgres import PostgresServer, new_role
from tests.support.processes import wait_until
from tests.support.secrets import SecretDir

Figure = Callable[[str], None]


class Lent:
    """A listener that lives on leases of a Vault."""

    def __init__(self, bao: OpenBao, postgres: PostgresServer, plan: Plan, *, ttl: int = 3600) -> None:
        self.postgres, self.plan = postgres, plan
        self.database: PostgresDatabase = bao.postgres_database(postgres, default_ttl=ttl)
        self.database.set_role("other", [POSTGRES_ROLE], default_ttl=3600, max_ttl=86400)
        self.role: AppRole = plan.vault(bao, self.database.reading("creds/*"))
        self.lend("db", self.database.role)
        self.where: Where = plan.postgres("db", postgres)

    def lend(self, name: str, role: str) -> None:
        """A credential that is a user of this role."""
        self.plan.lent(name, "vault_database", mount=self.database.mount, role=role)

    def held(self) -> tuple[int, int, int]:
        """Users in the database, leases, tokens."""
        return (
            len(self.database.live_roles()),
            len(self.database.server.leases(self.database.mount)),
            len(logins(self.role)),
        )

    def clean_up(self) -> None:
        """Take back what was left behind."""
        self.database.server.revoke_leases(self.database.mount)
        wait_until("all to be gone", lambda: not self.database.live_roles())


@pytest.fixture
def lent(openbao: OpenBao, postgres17: PostgresServer, plan: Plan) -> Lent:
    """Leases of an hour."""
    return Lent(openbao, postgres17, plan)


def test_sigterm_gives_back_leases_and_token(lent: Lent) -> None:
    with Daemon(lent.plan.text()) as daemon:
        with connect(lent.where) as connection:
            assert value(connection.execute("SELECT current_user")) in lent.database.live_roles()
        assert lent.held() == (1, 1, 1)
        daemon.sigterm()
        assert daemon.wait() == 0
        assert lent.held() == (0, 0, 0)
        assert len(daemon.logged("lease revoked", credential="db")) == 1


def test_what_is_lent_is_kept_until_the_last_session_has_drained(lent: Lent) -> None:
    with Daemon(lent.plan.text(drain={"delay": "0s", "timeout": "10s"})) as daemon:
        with connect(lent.where) as connection:
            connection.execute("BEGIN")
            daemon.sigterm()
            daemon.log_contains("daemon", phase="draining")
            time.sleep(0.5)
            assert lent.held() == (1, 1, 1)
            assert value(connection.execute("SELECT 42")) == 42
            connection.execute("COMMIT")
        assert daemon.wait() == 0
    assert lent.held() == (0, 0, 0)


def test_where_revoke_is_false_it_is_left_to_its_end(lent: Lent) -> None:
    lent.plan.vaults["main"]["revoke"] = False
    with Daemon(lent.plan.text()) as daemon:
        daemon.sigterm()
        assert daemon.wait() == 0
        assert not daemon.logged("lease revoked")
    assert lent.held() == (1, 1, 1)
    lent.clean_up()


def test_a_vault_that_is_away_does_not_keep_us(postgres17: PostgresServer, plan: Plan) -> None:
    with OpenBao() as bao:
        lent = Lent(bao, postgres17, plan)
        with Daemon(plan.text()) as daemon:
            bao.seal()
            began = time.monotonic()
            daemon.sigterm()
            assert daemon.wait(15) == 0
            assert time.monotonic() - began < 9
            daemon.log_contains("leases left to their end", leases=1)
        bao.unseal()
        assert lent.held() == (1, 1, 1)
        lent.clean_up()


@pytest.mark.parametrize("busy", [True, False])
def test_a_vault_that_hangs_keeps_us_no_longer_than_the_drain_s_deadline(
    postgres17: PostgresServer, plan: Plan, busy: bool
) -> None:
    with OpenBao() as bao, Slow(bao.port) as slow:
        lent = Lent(bao, postgres17, plan)
        plan.vaults["main"]["address"] = f"http://127.0.0.1:{slow.port}"
        with Daemon(plan.text(drain={"delay": "0s", "timeout": "8s"})) as daemon:
            connection = connect(lent.where)
            slow.delay = 60.0
            if busy:
                connection.execute("BEGIN")
            else:
                connection.close()
            began = time.monotonic()
            daemon.sigterm()
            assert daemon.wait(15) == 0
            taken = time.monotonic() - began
            connection.close()
            assert bool(daemon.logged("sessions cut")) is busy
            daemon.log_contains("leases left to their end", leases=1)
        # All of it is waited for: a Vault that answers late has still taken back what it could.
        assert 7.0 < taken < 8.5
        slow.delay = 0.0
        lent.clean_up()


def test_killed_it_starts_again_and_what_was_lent_ends_by_itself(
    openbao: OpenBao, postgres17: PostgresServer, plan: Plan, figure: Figure
) -> None:
    lent = Lent(openbao, postgres17, plan, ttl=3)
    kills = 2
    for _ in range(kills):
        with Daemon(plan.text(), expect=-signal.SIGKILL) as daemon:
            bench = Bench(postgres17.tool("pgbench"), lent.where, plan.home, seconds=30, reconnect=True, clients=5)
            with bench:
                wait_until("clients at work", lambda: len(daemon.logged("session ended")) > 5)
                daemon.child.signal(signal.SIGKILL)
                daemon.wait()
    left = lent.held()[0]
    assert left == kills
    with Daemon(plan.text()):
        with connect(lent.where) as connection:
            assert value(connection.execute("SELECT 42")) == 42
        wait_until("only one user", lambda: lent.held()[:2] == (1, 1), 15)
    assert lent.held()[:2] == (0, 0)
    figure(f"killed {kills} times, started again at once; what was left behind lapsed")


# Reloads


def reload(daemon: Daemon, plan: Plan) -> None:
    """Have another configuration applied."""
    daemon.rewrite(plan.text())
    answer = daemon.ask("POST", "/reload")
    assert answer.code == 200, answer.text


def rename(lent: Lent) -> None:
    """The same by another name."""
    del lent.plan.credentials["db"]
    lent.lend("renamed", lent.database.role)
    lent.plan.upstreams["db"]["credential"] = "renamed"


def take_another_role(lent: Lent) -> None:
    """Of the same engine."""
    lent.lend("db", "other")


def leave_the_vault(lent: Lent) -> None:
    """The login is in a mounted Secret from now on."""
    own = new_role(lent.postgres)
    SecretDir(lent.plan.home / "own", {"username": own.name, "password": own.password})
    lent.plan.credentials["db"] = {"file": {"path": str(lent.plan.home / "own")}}
    lent.plan.vaults.clear()


@pytest.mark.parametrize(
    ("change", "remaining"), [(rename, (1, 1, 1)), (take_another_role, (1, 1, 1)), (leave_the_vault, (0, 0, 0))]
)
def test_a_reload_gives_back_what_is_no_longer_wanted_once_nobody_uses_it(
    lent: Lent, change: Callable[[Lent], None], remaining: tuple[int, int, int]
) -> None:
    with Daemon(lent.plan.text()) as daemon:
        with connect(lent.where) as connection:
            before = value(connection.execute("SELECT current_user"))
            change(lent)
            reload(daemon, lent.plan)

            def moved() -> bool:
                with connect(lent.where) as another:
                    return bool(value(another.execute("SELECT current_user")) != before)

            wait_until("new sessions to log in as somebody else", moved)
            time.sleep(0.5)
            assert before in lent.database.live_roles()
            assert value(connection.execute("SELECT current_user")) == before
        wait_until("it to be given back", lambda: lent.held() == remaining)
        assert before not in lent.database.live_roles()
        # The token goes with the Vault, and not before what came with it.
        assert len(daemon.logged("lease revoked", version=1)) == 1
    assert lent.held() == (0, 0, 0)


def test_another_way_into_the_same_vault_gives_back_what_the_one_before_was_lent(lent: Lent, openbao: OpenBao) -> None:
    with Daemon(lent.plan.text()) as daemon:
        before = lent.database.live_roles()
        former = lent.role
        lent.role = lent.plan.vault(openbao, lent.database.reading("creds/*"))
        reload(daemon, lent.plan)
        wait_until("another user", lambda: lent.held() == (1, 1, 1) and lent.database.live_roles() != before)
        wait_until("the token to be gone", lambda: not logins(former))
        with connect(lent.where) as connection:
            assert [value(connection.execute("SELECT current_user"))] == lent.database.live_roles()
    assert lent.held() == (0, 0, 0)
