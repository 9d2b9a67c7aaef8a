"""Reloads under load: however the daemon is told, nobody who is connected or connecting notices."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.e2e.clusters import DATABASE, Cluster
from tests.e2e.drivers.psycopg3 import connect, value
from tests.e2e.house import Plan
from tests.e2e.load import Bench
from tests.e2e.where import Where
from tests.support.certificates import Authority, Pair
from tests.support.daemon import Daemon
from tests.support.postgres import new_role
from tests.support.processes import wait_until
from tests.support.secrets import SecretDir

RELOADED = "configuration reloaded"


class Reloaded:
    """A listener, and ever new configurations of it that mean the same to its clients."""

    def __init__(self, cluster: Cluster, plan: Plan) -> None:
        self.cluster = cluster
        self.role = new_role(cluster.server)
        self._plan = plan
        plan.role("app", self.role)
        plan.upstream("app", cluster, "app", tls=plan.tls())
        self.where = Where(plan.listener("app", "app"), "alice", DATABASE)
        self._more: dict[str, Any] = {}

    @property
    def text(self) -> str:
        """The configuration."""
        return self._plan.text(**self._more)

    def secure(self, pair: Pair) -> int:
        """Add a listener that shows this certificate; returns its port."""
        return self._plan.listener("secure", "app", tls={"cert": str(pair.cert), "key": str(pair.key)})

    @property
    def added(self) -> Where:
        """The listener that change 6 adds."""
        name = next(name for name in self._plan.listeners if name != "app")
        _, _, port = self._plan.listeners[name]["listen"].rpartition(":")
        return Where(int(port), "alice", DATABASE)

    def change(self, number: int) -> str:
        """The next configuration: another change each time, to each section in turn."""
        plan = self._plan
        changes: list[Callable[[], Any]] = [
            lambda: self._more.update(log={"level": "debug" if number % 2 else "info"}),
            lambda: plan.listeners["app"].update(limits={"connections": 500 + number, "idle_timeout": "1h"}),
            lambda: plan.upstreams["app"].update(connect_timeout=f"{4 + number}s"),
            lambda: plan.credentials["app"].update(poll=f"{30 + number}s"),
            lambda: self._more.update(drain={"delay": "0s", "timeout": f"{5 + number}s"}),
            lambda: plan.listener(f"more-{number}", "app"),
            lambda: plan.listeners.pop(next(name for name in plan.listeners if name != "app")),
            lambda: plan.upstreams["app"].update(tls=plan.tls(min_version="1.3" if number % 2 else "1.2")),
            lambda: plan.listeners["app"].update(access={"trust": {}}, keepalive={"idle": f"{60 + number}s"}),
        ]
        changes[(number - 1) % len(changes)]()
        return self.text


@pytest.fixture
def reloaded(clusters: Mapping[int, Cluster], authority: Authority, tmp_path: Path) -> Reloaded:
    """A listener to be reloaded."""
    return Reloaded(clusters[17], Plan(tmp_path, authority))


@pytest.mark.slow
@pytest.mark.timeout(150)
@pytest.mark.parametrize("changing", [False, True], ids=["unchanged", "changing"])
def test_no_transaction_fails_while_the_configuration_is_reloaded(
    reloaded: Reloaded, tmp_path: Path, changing: bool, long: bool, figure: Callable[[str], None]
) -> None:
    seconds = 60 if long else 10
    program = reloaded.cluster.server.tool("pgbench")
    with Daemon(reloaded.text) as daemon, ExitStack() as stack:

        def reload(number: int) -> None:
            if changing:
                daemon.rewrite(reloaded.change(number))
            if number % 2:
                daemon.sighup()
            else:
                assert daemon.ask("POST", "/reload").code == 200

        benches = []
        for reconnect in (True, False):
            home = tmp_path / f"reconnect-{reconnect}"
            home.mkdir()
            # Those that stay show that no session is closed, the others that none is turned away.
            benches.append(
                stack.enter_context(
                    Bench(program, reloaded.where, home, seconds=seconds, reconnect=reconnect, clients=10)
                )
            )
        count = benches[0].during(reload, every=1.0)
        done = [bench.finished() for bench in benches]
        assert count >= seconds - 2
        wait_until("the last reload too", lambda: len(daemon.logged(RELOADED)) >= count)
        assert not daemon.logged("configuration refused")
        assert {line["reason"] for line in daemon.logged("session ended")} <= {"client_closed"}
    figure(f"{count} reloads in {seconds} s, {done[0]} transactions reconnecting and {done[1]} staying, none failed")


@pytest.mark.parametrize("way", ["signal", "request", "file"])
def test_a_new_listener_is_there_after_a_reload_and_a_session_stays(reloaded: Reloaded, way: str) -> None:
    with Daemon(reloaded.text) as daemon, connect(reloaded.where) as before:
        pid = value(before.execute("SELECT pg_backend_pid()"))
        changed = reloaded.change(6)
        daemon.rewrite(changed)
        if way == "signal":
            daemon.sighup()
        elif way == "request":
            assert daemon.ask("POST", "/reload").code == 200
        daemon.log_contains(RELOADED)
        with connect(reloaded.added) as connection:
            assert value(connection.execute("SELECT current_user::text")) == reloaded.role.name
        assert value(before.execute("SELECT pg_backend_pid()")) == pid


def test_a_changed_config_map_is_taken(reloaded: Reloaded) -> None:
    daemon = Daemon(reloaded.text)
    mount = SecretDir(daemon.directory / "config", {"ambassador.yaml": daemon.file.read_text()})
    plain, daemon.file = daemon.file, mount.path / "ambassador.yaml"
    with daemon, connect(reloaded.where) as before:
        daemon.file = plain
        for done, number in enumerate((6, 2), 1):
            daemon.rewrite(reloaded.change(number))
            mount.swap({"ambassador.yaml": plain.read_text()})
            wait_until("the reload", partial(lambda done: len(daemon.logged(RELOADED)) == done, done))
        assert value(before.execute("SELECT 42")) == 42


def test_a_file_with_faults_changes_nothing_and_says_all_of_them(reloaded: Reloaded) -> None:
    with Daemon(reloaded.text) as daemon, connect(reloaded.where) as before:
        daemon.rewrite(reloaded.text.replace("endpoints", "endpoint").replace("credential:", "credentail:"))
        answer = daemon.ask("POST", "/reload")
        assert answer.code >= 400
        assert "endpoint" in answer.text
        assert "credentail" in answer.text
        assert daemon.metric("ambassador_config_last_reload_successful") == 0
        assert daemon.ready
        assert value(before.execute("SELECT 42")) == 42
        with connect(reloaded.where) as connection:
            assert value(connection.execute("SELECT 42")) == 42
        daemon.rewrite(reloaded.text)
        assert daemon.ask("POST", "/reload").code == 200
        assert daemon.metric("ambassador_config_last_reload_successful") == 1


def test_a_listener_taken_out_lets_its_sessions_finish_their_transaction(reloaded: Reloaded) -> None:
    reloaded.change(6)
    leaving = reloaded.added
    with Daemon(reloaded.text) as daemon, connect(leaving) as idle, connect(leaving) as busy:
        busy.execute("BEGIN")
        reloaded.change(7)
        daemon.rewrite(reloaded.text)
        assert daemon.ask("POST", "/reload").code == 200
        with pytest.raises(psycopg.OperationalError, match="refused"):
            connect(leaving)
        with pytest.raises(psycopg.OperationalError) as caught:
            idle.execute("SELECT 1")
        assert caught.value.sqlstate in {"57P01", None}
        assert value(busy.execute("SELECT 42")) == 42
        busy.execute("COMMIT")
        wait_until("the last session to go", lambda: not daemon.status()["sessions"])


def test_a_new_certificate_is_shown_to_who_comes_next(reloaded: Reloaded, authority: Authority) -> None:
    shown, fresh = authority.server("127.0.0.1"), authority.server("127.0.0.1")
    port = reloaded.secure(shown)
    where = Where(port, "alice", DATABASE, ca=authority.file)
    with Daemon(reloaded.text) as daemon, connect(where) as before:
        old = certificate(port)
        for source, target in ((fresh.key, shown.key), (fresh.cert, shown.cert)):
            source.replace(target)
        daemon.log_contains("certificate replaced", where="listener secure")
        assert certificate(port) != old
        with connect(where) as connection:
            assert value(connection.execute("SELECT 42")) == 42
        assert value(before.execute("SELECT 42")) == 42


def certificate(port: int) -> bytes:
    """What a listener shows to a client that begins with TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["postgresql"])
    with (
        socket.create_connection(("127.0.0.1", port), 5) as bare,
        context.wrap_socket(bare, server_hostname="localhost") as secret,
    ):
        return secret.getpeercert(binary_form=True) or b""
