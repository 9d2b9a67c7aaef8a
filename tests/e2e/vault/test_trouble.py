"""The Vault is sealed, stopped, slow, or takes from us what it gave, and who connects does not notice."""

from __future__ import annotations

import functools
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
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

TTL, MOST, SLOW = 10, 20, 1.5
"""Seconds: a lease's, its maximum, and for which a slow answer is held up."""

LEAD = 1.0
"""Seconds before a renewal is due at which a trouble begins. It ends as soon as it has been felt: how long this machine
takes to seal or to start a Vault is no part of what is tested, and a third of a lease is all there is for it."""

CLIENTS = 8
"""So few that the machine is not busy: a Vault that takes long to start is another trouble than is meant here."""

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
        self.slow.cut()  # what is connected has seen the one before

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


@dataclass(frozen=True)
class Trouble:
    """What happens shortly before a renewal is due, or `now`; and what mends it once it was felt."""

    begin: Act
    end: Act
    now: bool = False


def nothing(_: Beset) -> None:
    """What mends itself."""


TROUBLES: Mapping[str, tuple[Trouble, ...]] = {
    "sealed, then without its policy": (
        Trouble(lambda it: it.bao.seal(), lambda it: it.bao.unseal()),
        Trouble(lambda it: it.bao.remove_policy(it.plan.policy()), Beset.give_policy),
    ),
    "stopped, then with another certificate": (
        Trouble(lambda it: it.bao.stop(), lambda it: it.bao.start()),
        Trouble(lambda it: it.another_certificate(it.plan.home / "other"), Beset.trust_it),
    ),
    "without our token, then slow": (
        Trouble(Beset.revoke_token, nothing, now=True),
        Trouble(lambda it: it.set_delay(SLOW * it.scale), lambda it: it.set_delay(0.0)),
    ),
}

LONGEST = 60.0
"""Seconds of load within which all of that must have happened: several leases."""


class Driver:
    """Brings the troubles about, a step whenever it is called."""

    def __init__(self, beset: Beset, daemon: Daemon, troubles: tuple[Trouble, ...]) -> None:
        self._beset, self._daemon = beset, daemon
        self._steps = self._run(troubles)
        self.done = False

    def step(self) -> bool:
        """Go on as far as can be gone now; whether all is over."""
        self.done = self.done or next(self._steps, True)
        return self.done

    def _run(self, troubles: tuple[Trouble, ...]) -> Iterator[bool]:
        for trouble in troubles:
            while not trouble.now and not 0 < self._due_in() < LEAD * self._beset.scale:
                yield False
            before = self._felt()
            trouble.begin(self._beset)
            while self._felt() == before:
                yield False
            trouble.end(self._beset)
            while self._daemon.status()["credentials"][0]["last_error"] is not None:
                yield False

    def _felt(self) -> tuple[bool, float]:
        """Something else once a request has failed, or was slow."""
        slow = self._daemon.metric("ambassador_vault_request_duration_seconds_sum") > SLOW * self._beset.scale
        return slow, self._daemon.metric(REQUESTS) - self._daemon.metric(REQUESTS, result="ok")

    def _due_in(self) -> float:
        status = self._daemon.status()
        due, now = status["credentials"][0]["next_renewal"], status["time"]
        return (datetime.fromisoformat(due) - datetime.fromisoformat(now)).total_seconds()


@pytest.mark.slow
@pytest.mark.timeout(330)
@pytest.mark.parametrize("name", TROUBLES)
def test_no_transaction_fails_while_the_vault_is(
    beset: Beset, postgres17: PostgresServer, name: str, figure: Callable[[str], None]
) -> None:
    longest, began = round(LONGEST * beset.scale), time.monotonic()
    with Daemon(beset.plan.text()) as daemon:
        driver = Driver(beset, daemon, TROUBLES[name])
        pgbench = Bench(
            postgres17.tool("pgbench"), beset.where, beset.plan.home, seconds=longest, reconnect=True, clients=CLIENTS
        )

        def go_on(_: int) -> None:
            if driver.step():
                pgbench.enough()

        with pgbench as bench:
            bench.during(go_on, every=0.1)
            done = bench.finished()
        seconds = time.monotonic() - began
        assert driver.done, "the load ended before all troubles were over"
        # It lives on without being started again: another lease, and one alone.
        asked = daemon.metric(REQUESTS)
        failed = asked - daemon.metric(REQUESTS, result="ok")
        version = functools.partial(daemon.metric, "ambassador_credential_version", credential="db")
        wait_until("another lease", lambda: version() >= 2, MOST * beset.scale)
        wait_until("one lease", lambda: len(beset.database.leases()) == len(beset.database.live_roles()) == 1, 15)
        assert daemon.ready
        # A login, and what it takes to keep a lease; besides that, a try in a while.
        assert 1 <= failed < asked <= 10 + 2 * seconds / beset.scale
    assert beset.database.live_roles() == []
    assert beset.database.leases() == []
    figure(f"{done} transactions in {seconds:.0f} s, none failed; {asked:g} requests, {failed:g} of them in vain")


SLOW_FROM, SLOW_FOR, SLOW_EACH_WAY = 5, 24, 2.5
"""Seconds: of that load, and for which requests and answers are held up then."""


@pytest.mark.slow
@pytest.mark.timeout(150)
def test_no_transaction_fails_while_answers_take_half_of_what_a_lease_is_for(
    postgres17: PostgresServer, plan: Plan, long: bool, figure: Callable[[str], None]
) -> None:
    scale = TIMES if long else 1.0
    with OpenBao() as bao, Slow(bao.port) as slow:
        database = bao.postgres_database(postgres17, default_ttl=10, max_ttl=25)
        rules = database.reading(f"creds/{database.role}")
        plan.vault(bao, rules, address=f"http://127.0.0.1:{slow.port}", token_ttl=600)
        plan.lent("db", "vault_database", mount=database.mount, role=database.role)
        where = plan.postgres("db", postgres17)

        def go_on(second: int) -> None:
            is_slow = SLOW_FROM <= second < SLOW_FROM + SLOW_FOR * scale
            slow.there = slow.delay = SLOW_EACH_WAY if is_slow else 0.0

        seconds = round(SLOW_FROM + SLOW_FOR * scale) + 6
        with Daemon(plan.text()) as daemon:
            asked = daemon.metric(REQUESTS)
            with Bench(
                postgres17.tool("pgbench"), where, plan.home, seconds=seconds, reconnect=True, clients=CLIENTS
            ) as bench:
                bench.during(go_on, every=1.0)
                done = bench.finished()
            versions = daemon.metric("ambassador_credential_version", credential="db")
            asked = daemon.metric(REQUESTS) - asked
            failed = daemon.metric(REQUESTS) - daemon.metric(REQUESTS, result="ok")
            # A renewal that has let wait may come to a lease that was given back meanwhile.
            assert failed <= daemon.metric(REQUESTS, operation="renew_lease") / 3
            assert 2 <= versions < asked <= seconds
            wait_until("one lease", lambda: len(database.leases()) == len(database.live_roles()) == 1, 15)
        assert [*database.live_roles(), *database.leases()] == []
    figure(f"{done} transactions in {seconds} s, none failed; {versions:g} leases, {asked:g} requests")


@pytest.mark.timeout(60)
def test_when_our_token_is_about_to_end_without_another_that_is_said_before(
    openbao: OpenBao, postgres17: PostgresServer, plan: Plan
) -> None:
    database = openbao.postgres_database(postgres17, default_ttl=3600)
    role = plan.vault(openbao, database.reading(f"creds/{database.role}"), token_ttl=6, token_max_ttl=9)
    plan.lent("db", "vault_database", mount=database.mount, role=database.role)
    where = plan.postgres("db", postgres17)
    secret = plan.home / "main-secret-id"
    good = secret.read_text()
    with Daemon(plan.text()) as daemon:
        secret.write_text("of another application")
        line = daemon.log_contains("vault token not renewed", vault="main", timeout=15)
        assert "refused the login" in line["error"]
        wait_until("it not to be ready", lambda: not daemon.ready, 2)
        assert "credential db expires soon" in daemon.ask("GET", "/readyz").text
        status = daemon.status()
        (shown,) = status["credentials"]
        assert "refused the login" in shown["last_error"]
        now, end = (datetime.fromisoformat(moment) for moment in (status["time"], shown["expires"]))
        assert 0 < (end - now).total_seconds() < 9, "not the hour that the lease was for"
        with connect(where) as connection:  # it is good until then
            assert value(connection.execute("SELECT current_user")) in database.live_roles()
        secret.write_text(good)
        daemon.wait_ready(35)  # nobody connects: the file is looked at when the next try is due
        wait_until("the next lease", lambda: daemon.metric("ambassador_credential_version", credential="db") == 2, 5)
        assert daemon.status()["credentials"][0]["last_error"] is None
    assert [*database.live_roles(), *database.leases()] == []
    wait_until("the first token's end", lambda: logins(role) == [])


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
