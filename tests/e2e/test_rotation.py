"""A password that changes every two seconds under load, and not one transaction that fails."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.e2e.clusters import DATABASE, Cluster
from tests.e2e.drivers.psycopg3 import connect, value
from tests.e2e.house import Plan
from tests.e2e.load import Bench
from tests.e2e.where import Where
from tests.support.certificates import Authority
from tests.support.daemon import Daemon
from tests.support.postgres import new_role
from tests.support.processes import wait_until
from tests.support.secrets import canary

EVERY = 2.0
"""Seconds between two rotations."""

APART = 0.7
"""Seconds between the change of the database and that of the Secret: less than `refused_wait`, as long as clients of
the old password are patient."""


class Rotated:
    """One role, its Secret, and a listener that logs in with it."""

    def __init__(self, cluster: Cluster, plan: Plan, *, tls: bool) -> None:
        self._server = cluster.server
        self.pgbench = cluster.server.tool("pgbench")
        self._role = new_role(cluster.server)
        self._secret = plan.role("rotated", self._role)
        plan.upstream("rotated", cluster, "rotated", tls=plan.tls() if tls else None)
        self.where = Where(plan.listener("rotated", "rotated"), "alice", DATABASE)
        self.config = plan.text()

    def change_database(self, password: str) -> None:
        """Give the role another password."""
        self._server.alter_password(self._role.name, password)

    def change_secret(self, password: str) -> None:
        """Write it into the Secret, as the kubelet does."""
        self._secret.swap({"username": self._role.name, "password": password})

    def database_first(self, _: int) -> None:
        """The usual order: for a moment nobody has the right password."""
        password = canary("rotated")
        self.change_database(password)
        time.sleep(APART)
        self.change_secret(password)

    def secret_first(self, _: int) -> None:
        """The other order: for a moment the Secret holds a password that does not work yet."""
        password = canary("rotated")
        self.change_secret(password)
        time.sleep(APART)
        self.change_database(password)


@pytest.fixture(params=[False, True], ids=["plain", "tls"])
def rotated(
    clusters: Mapping[int, Cluster], authority: Authority, tmp_path: Path, request: pytest.FixtureRequest
) -> Rotated:
    """A role to rotate, with and without TLS to its server."""
    return Rotated(clusters[17], Plan(tmp_path, authority), tls=request.param)


@pytest.mark.slow
@pytest.mark.timeout(150)
@pytest.mark.parametrize("order", ["database_first", "secret_first"])
def test_no_transaction_fails_while_the_password_changes(
    rotated: Rotated, tmp_path: Path, order: str, long: bool, figure: Callable[[str], None]
) -> None:
    seconds = 60 if long else 8
    with Daemon(rotated.config) as daemon:
        with Bench(rotated.pgbench, rotated.where, tmp_path, seconds=seconds, reconnect=True) as bench:
            rotations = bench.during(getattr(rotated, order), every=EVERY)
            done = bench.finished()
        assert rotations >= seconds / EVERY - 2
        wait_until(
            "the last value", lambda: len(daemon.logged("credential rotated", credential="rotated")) == rotations
        )
        assert not daemon.logged("session ended", reason="upstream_login_refused")
    figure(f"{rotations} rotations in {seconds} s, {done} transactions, none failed")


def test_a_session_outlives_the_password_it_logged_in_with(rotated: Rotated) -> None:
    with Daemon(rotated.config) as daemon, connect(rotated.where) as before:
        rotated.database_first(1)
        wait_until("version 2", lambda: daemon.metric("ambassador_credential_version", credential="rotated") == 2)
        with connect(rotated.where):
            for version in ("1", "2"):
                open_ones = daemon.metric("ambassador_credential_connections", credential="rotated", version=version)
                assert open_ones == 1
        assert value(before.execute("SELECT 42")) == 42


def test_a_password_that_does_not_work_does_not_become_current(rotated: Rotated) -> None:
    with Daemon(rotated.config) as daemon:
        rotated.change_secret(canary("wrong"))
        daemon.log_contains("credential not rotated", credential="rotated", reason="refused")
        assert daemon.metric("ambassador_credential_version", credential="rotated") == 1
        assert daemon.metric("ambassador_credential_refreshes_total", credential="rotated", result="refused") >= 1
        with connect(rotated.where) as connection:
            assert value(connection.execute("SELECT 42")) == 42
