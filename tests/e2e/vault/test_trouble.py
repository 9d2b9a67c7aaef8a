"""The Vault is sealed, stopped, slow, or takes from us what it gave, and who connects does not notice."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import psycopg
import pytest

from tests.e2e.drivers.psycopg3 import connect, value
from tests.e2e.load import Bench
from tests.e2e.vault.plan import GIVING_BACK, Plan, logins
from tests.e2e.vault.slow import Slow
from tests.support.certificates import Authority
from tests.support.daemon import Daemon
from tests.support.openbao import Certificates, OpenBao
from tests.support.openbao_engines import PostgresDatabase
from tests.support.postgres import PostgresServer, Role, new_role
from tests.support.processes import wait_until
from tests.support.secrets import SecretDir

REQUESTS = "ambassador_vault_requests_total"

TTL, MOST, SLOW = 7, 14, 1.5
"""Seconds: a lease's, its maximum, and for which a slow answer is held up."""

CLIENTS = 8
"""So few that the machine is not busy: a Vault that takes long to start is another trouble than is meant here."""

AFTERWARDS = 3.0
"""Seconds of load after the last of a trouble."""

TIMES = 3.4
"""How many times as long all of that is where there is time: answers take five seconds then."""


class Beset:
    """A Vault of the test's own behind a way that can be slow, and a listener that lives on its leases."""

    def __init__(self, bao: OpenBao, slow: Slow, postgres: PostgresServer, plan: Plan, scale: float) -> None:
        self.bao, self.slow, self.plan, self.scale = bao, slow, plan, scale
        self.ca = plan.home / "vault-ca.pem"
        self.database: PostgresDatabase = bao.postgres_database(
            postgres, default_ttl=round(TTL * scale), max_ttl=round(MOST * scale)
        )
        self.rules = self.database.reading(f"creds/{self.database.role}")
        address = f"https://127.0.0.1:{slow.port}"
        self.role = plan.vault(bao, self.rules, address=address, tls={"ca": str(self.ca)}, token_ttl=600)
        plan.lent("db", "vault_database", mount=self.database.mount, role=self.database.role)
        self.where = plan.postgres("db", postgres)

    def give_policy(self) -> None:
        """As it was."""
        self.bao.policy(self.plan.policy(), f"{self.rules}\n{GIVING_BACK}")

    def revoke_token(self) -> None:
        """All tokens that were given for our role, and so their leases."""
        for accessor in logins(self.role):
            self.bao.api("POST", "auth/token/revoke-accessor", {"accessor": accessor})

    def another_certificate(self, directory: Path) -> None:
        """One of an authority that we do not trust yet."""
        directory.mkdir()
        self.other = Authority(directory)
        self.bao.replace_certificate(certificates(self.other))

    def trust_it(self) -> None:
        """Write its authority where we look for it."""
        shutil.copy(self.other.file, self.ca.with_suffix(".new"))
        self.ca.with_suffix(".new").rename(self.ca)

    def set_delay(self, seconds: float) -> None:
        """Of each answer from now on."""
        self.slow.delay = seconds


def certificates(authority: Authority) -> Certificates:
    """For 127.0.0.1."""
    pair = authority.server("127.0.0.1")
    return Certificates(pair.cert, pair.key)


@pytest.fixture
def beset(authority: Authority, postgres17: PostgresServer, plan: Plan, long: bool) -> Iterator[Beset]:
    """One of the test's own, that remembers everything."""
    shutil.copy(authority.file, plan.home / "vault-ca.pem")
    with OpenBao(storage="raft", certificates=certificates(authority)) as bao, Slow(bao.port) as slow:
        yield Beset(bao, slow, postgres17, plan, TIMES if long else 1.0)


Act = Callable[[Beset], None]

TROUBLES: Mapping[str, Mapping[float, Act]] = {
    "sealed, then without its policy": {
        3.5: lambda it: it.bao.seal(),
        4.5: lambda it: it.bao.unseal(),
        9.0: lambda it: it.bao.remove_policy(it.plan.policy()),
        10.5: Beset.give_policy,
    },
    "stopped, then with another certificate": {
        3.5: lambda it: it.bao.stop(),
        4.5: lambda it: it.bao.start(),
        9.0: lambda it: it.another_certificate(it.plan.home / "other"),
        10.5: Beset.trust_it,
    },
    "without our token, then slow": {
        1.0: Beset.revoke_token,
        2.0: lambda it: it.set_delay(SLOW * it.scale),
        7.0: lambda it: it.set_delay(0.0),
    },
}
"""What happens at which second: a lease is to be renewed at the fourth, and replaced at the tenth."""


@pytest.mark.slow
@pytest.mark.timeout(150)
@pytest.mark.parametrize("name", TROUBLES)
def test_no_transaction_fails_while_the_vault_is(
    beset: Beset, postgres17: PostgresServer, name: str, figure: Callable[[str], None]
) -> None:
    acts = TROUBLES[name]
    seconds = round((max(acts) + AFTERWARDS) * beset.scale)
    with Daemon(beset.plan.text()) as daemon:

        def act(tick: int) -> None:
            if tick / 2 in acts:
                acts[tick / 2](beset)

        pgbench = Bench(
            postgres17.tool("pgbench"), beset.where, beset.plan.home, seconds=seconds, reconnect=True, clients=CLIENTS
        )
        with pgbench as bench:
            bench.during(act, every=beset.scale / 2)
            done = bench.finished()
        # It lives on without being started again: another lease, and one alone.
        asked = daemon.metric(REQUESTS)
        failed = asked - daemon.metric(REQUESTS, result="ok")
        wait_until("another lease", lambda: daemon.metric("ambassador_credential_version", credential="db") >= 2, 15)
        if "slow" in name:
            assert daemon.metric("ambassador_vault_request_duration_seconds_sum") > SLOW * beset.scale
        wait_until("one lease", lambda: len(beset.database.leases()) == len(beset.database.live_roles()) == 1, 15)
        assert daemon.ready
        # A login, and what it takes to keep a lease; besides that, a try in a while.
        assert 1 <= failed < asked <= 10 + 2 * seconds / beset.scale
    assert beset.database.live_roles() == []
    assert beset.database.leases() == []
    figure(f"{done} transactions in {seconds} s, none failed; {asked:g} requests, {failed:g} of them in vain")


def test_sealed_at_the_start_it_is_waited_for_and_others_work(postgres17: PostgresServer, plan: Plan) -> None:
    with OpenBao() as bao:
        database = bao.postgres_database(postgres17)
        plan.vault(bao, database.reading(f"creds/{database.role}"))
        plan.lent("lent", "vault_database", mount=database.mount, role=database.role)
        lent = plan.postgres("lent", postgres17)
        own: Role = new_role(postgres17)
        SecretDir(plan.home / "own", {"username": own.name, "password": own.password})
        plan.credentials["own"] = {"file": {"path": str(plan.home / "own")}}
        other = plan.postgres("own", postgres17)
        bao.seal()
        with Daemon(plan.text(), ready=False) as daemon:
            line = daemon.log_contains("vault login failed", vault="main", reason="sealed")
            assert "sealed" in line["error"]
            answer = daemon.ask("GET", "/readyz")
            assert (answer.code, "credential lent" in answer.text) == (503, True)
            assert "own" not in answer.text
            with connect(other) as connection:
                assert value(connection.execute("SELECT current_user")) == own.name
            with pytest.raises(psycopg.OperationalError, match="credential"):
                connect(lent)
            status = daemon.status()
            assert "sealed" in status["vaults"][0]["last_error"]
            found = next(one for one in status["credentials"] if one["name"] == "lent")
            assert "sealed" in found["last_error"]
            assert daemon.metric(REQUESTS, vault="main", operation="login", result="sealed") >= 1
            bao.unseal()
            daemon.wait_ready(20)
            with connect(lent) as connection:
                assert value(connection.execute("SELECT current_user")) in database.live_roles()
            assert len(bao.served(f"auth/{plan.vaults['main']['auth']['approle']['mount']}")) <= 15
        assert database.live_roles() == []
