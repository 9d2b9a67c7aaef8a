"""Leaving under load: no transaction is cut before the deadline, and operators see everything until the end."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import psycopg
import pytest

from tests.e2e.clusters import DATABASE, Cluster
from tests.e2e.drivers.psycopg3 import connect, value
from tests.e2e.house import Plan
from tests.e2e.where import Where
from tests.support.certificates import Authority
from tests.support.daemon import Daemon
from tests.support.postgres import new_role
from tests.support.processes import wait_until

SHUTDOWN = "57P01"
DELAY = 2.5


@dataclass
class Worker:
    """A client that runs one transaction after another, connecting anew when it is told to go, until it cannot.

    Attributes:
        done: transactions it saw committed.
        told: how often it was told to go, or its connection was closed, between two transactions.
        cut: errors that hit it inside one.
    """

    where: Where
    pause: float
    done: int = 0
    told: int = 0
    cut: list[str] = field(default_factory=list)

    def run(self) -> None:
        """Work until nobody listens any more."""
        while not self.cut:
            try:
                connection = connect(self.where)
            except psycopg.OperationalError:
                return
            with connection:
                self._work(connection)

    def _work(self, connection: psycopg.Connection) -> None:
        inside = False
        try:
            while True:
                inside = False
                connection.execute("BEGIN")
                inside = True
                for _ in range(3):
                    connection.execute("INSERT INTO done VALUES (1)")
                    time.sleep(self.pause)
                connection.execute("COMMIT")
                self.done += 1
        except psycopg.OperationalError as error:
            if inside:
                self.cut.append(str(error))
            else:
                self.told += 1


class Watch:
    """Asks for readiness and metrics all the time until nobody answers.

    Attributes:
        codes: what /readyz answered, with when.
        last: when the metrics answered last.
        unreadable: answers of /metrics that were none.
    """

    def __init__(self, daemon: Daemon) -> None:
        self.codes: list[tuple[float, int]] = []
        self.last = 0.0
        self.unreadable: list[int] = []
        self._daemon = daemon
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._daemon.sigterm()
        self._thread.join(60)

    def _run(self) -> None:
        while self._daemon.child.exit_code is None:
            try:
                self.codes.append((time.monotonic(), self._daemon.ask("GET", "/readyz").code))
                answer = self._daemon.ask("GET", "/metrics", unix=False)
            except (OSError, http.client.HTTPException):
                time.sleep(0.01)
                continue
            self.last = time.monotonic()
            if answer.code != 200 or "ambassador_downstream_connections" not in answer.text:
                self.unreadable.append(answer.code)
            time.sleep(0.02)


class Drained:
    """A listener whose daemon is about to leave."""

    def __init__(self, cluster: Cluster, plan: Plan) -> None:
        self.cluster = cluster
        role = new_role(cluster.server)
        cluster.server.psql(f"CREATE TABLE done (n int); GRANT ALL ON done TO {role.name}", database=DATABASE)
        plan.role("app", role)
        plan.upstream("app", cluster, "app", tls=plan.tls())
        self.where = Where(plan.listener("app", "app"), "alice", DATABASE)
        self._plan = plan

    def config(self, *, delay: float, timeout: float) -> str:
        """The configuration."""
        return self._plan.text(drain={"delay": f"{delay * 1000:g}ms", "timeout": f"{timeout * 1000:g}ms"})

    def committed(self) -> int:
        """Transactions that the server knows of."""
        return int(self.cluster.server.psql("SELECT count(*) / 3 FROM done", database=DATABASE))


@pytest.fixture
def drained(clusters: Mapping[int, Cluster], authority: Authority, tmp_path: Path) -> Iterator[Drained]:
    """A listener to leave."""
    found = Drained(clusters[17], Plan(tmp_path, authority))
    yield found
    clusters[17].server.psql("DROP TABLE done", database=DATABASE)


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_no_transaction_is_cut_before_the_deadline(drained: Drained, long: bool, figure: Callable[[str], None]) -> None:
    timeout, before = (25.0, 20.0) if long else (8.0, 2.0)
    # From a few milliseconds to nearly the deadline, so that every moment of a transaction is met.
    pauses = [0.001, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8, timeout / 4]
    workers = [Worker(drained.where, pause) for pause in pauses * 2]
    with Daemon(drained.config(delay=DELAY, timeout=timeout)) as daemon:
        threads = [threading.Thread(target=worker.run) for worker in workers]
        with ExitStack() as stack, Watch(daemon) as watch:
            idle = stack.enter_context(connect(drained.where))
            for thread in threads:
                thread.start()
            time.sleep(before)
            told = time.monotonic()
            daemon.sigterm()
            wait_until("readiness to say no", lambda: watch.codes[-1][1] == 503, 1.0)
            # Load balancers have not noticed yet: who comes now is still served.
            with connect(drained.where) as late:
                assert value(late.execute("SELECT 42")) == 42
            assert time.monotonic() - told < DELAY
            assert value(idle.execute("SELECT 42")) == 42
            wait_until("new clients to be turned away", lambda: not answers(drained.where), DELAY + 1.0)
            with pytest.raises(psycopg.OperationalError) as caught:
                idle.execute("SELECT 42")
            assert caught.value.sqlstate == SHUTDOWN
            code = daemon.wait(DELAY + timeout + 5)
            ended = time.monotonic()
            for thread in threads:
                thread.join(10)
        assert code == 0
        assert ended - told < DELAY + timeout
        assert not daemon.logged("sessions cut")
        assert not [error for worker in workers for error in worker.cut]
        assert all(worker.told >= 1 for worker in workers)
        assert {code for when, code in watch.codes if when > told + 0.1} == {503}
        assert not watch.unreadable
        assert ended - watch.last < 0.5
    done = sum(worker.done for worker in workers)
    assert done == drained.committed()
    figure(f"{done} transactions of {len(workers)} clients, none cut; left {ended - told:.1f} s after SIGTERM")


@pytest.mark.timeout(60)
def test_at_the_deadline_what_is_left_is_cut_and_said_so(drained: Drained) -> None:
    with Daemon(drained.config(delay=0, timeout=1.5)) as daemon, connect(drained.where) as endless:
        endless.execute("BEGIN")
        told = time.monotonic()
        daemon.sigterm()
        assert daemon.wait(10) == 0
        assert 1.4 < time.monotonic() - told < 4.5
        with pytest.raises(psycopg.OperationalError) as caught:
            endless.execute("COMMIT")
        assert caught.value.sqlstate == SHUTDOWN
        assert daemon.logged("sessions cut", sessions=1)
        assert daemon.logged("session ended", reason="cut")


@pytest.mark.timeout(60)
@pytest.mark.parametrize("word", ["signal", "request"])
def test_asked_twice_it_goes_at_once(drained: Drained, word: str) -> None:
    with Daemon(drained.config(delay=20, timeout=20)) as daemon, connect(drained.where) as endless:
        endless.execute("BEGIN")
        for _ in range(2):
            if word == "signal":
                daemon.sigterm()
            else:
                assert daemon.ask("POST", "/drain").code < 300
            time.sleep(0.3)
        told = time.monotonic()
        assert daemon.wait(10) == 0
        assert time.monotonic() - told < 4
        with pytest.raises(psycopg.OperationalError, match="its deadline has passed"):
            endless.execute("COMMIT")


def answers(where: Where) -> bool:
    """Whether a client is let in."""
    try:
        with connect(where):
            return True
    except psycopg.OperationalError:
        return False
