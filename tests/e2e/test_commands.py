"""The words that people type, each as a program of its own."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import psycopg
import pytest

from ambassador.demo.servers import free_port
from tests.e2e.clusters import DATABASE, Cluster
from tests.e2e.drivers.psycopg3 import connect, value
from tests.e2e.house import Plan
from tests.e2e.where import Where
from tests.support.certificates import Authority
from tests.support.daemon import COMMAND, Daemon
from tests.support.postgres import Role, new_role
from tests.support.processes import Child, wait_until
from tests.support.secrets import SecretDir, canary

ENV = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}


def ambassador(*words: object, code: int = 0, env: Mapping[str, str] | None = None) -> str:
    """Run the command to its end; returns what it printed, complaints included."""
    done = subprocess.run(
        [str(COMMAND), *map(str, words)],
        env={**ENV, **(env or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=25,
        check=False,
    )
    assert done.returncode == code, done.stdout
    assert "Traceback" not in done.stdout
    return done.stdout


class Commanded:
    """A configuration with one listener, and the role behind it."""

    def __init__(self, cluster: Cluster, plan: Plan) -> None:
        self.cluster = cluster
        self.plan = plan
        self.role = new_role(cluster.server)
        self.secret = plan.role("app", self.role)
        plan.upstream("app", cluster, "app", tls=plan.tls())
        self.where = Where(plan.listener("app", "app"), "alice", DATABASE)


@pytest.fixture
def commanded(clusters: Mapping[int, Cluster], authority: Authority, tmp_path: Path) -> Commanded:
    """A listener to be commanded."""
    return Commanded(clusters[17], Plan(tmp_path, authority))


@pytest.fixture
def daemon(commanded: Commanded) -> Iterator[Daemon]:
    """Its daemon."""
    with Daemon(commanded.plan.text()) as found:
        yield found


def test_status_tells_what_it_does(daemon: Daemon, commanded: Commanded) -> None:
    with connect(commanded.where):
        said = ambassador("status", "--admin", f"unix:{daemon.socket}")
        assert "ready" in said
        assert f"127.0.0.1:{commanded.where.port}" in said
        assert f"127.0.0.1:{commanded.cluster.server.port}" in said
        assert "credential app" in said
        assert "version 1" in said
        data = json.loads(ambassador("status", "--json", "--admin", f"127.0.0.1:{daemon.port}"))
        assert data["listeners"][0]["active"] == 1


def test_reload_says_whether_it_was_done_and_why_not(daemon: Daemon, commanded: Commanded) -> None:
    where = ("--admin", f"unix:{daemon.socket}")
    assert "applied" in ambassador("reload", *where)
    daemon.rewrite(commanded.plan.text().replace("endpoints", "endpoint"))
    said = ambassador("reload", *where, code=1)
    assert f"{daemon.file}:" in said
    assert "endpoints" in said


def test_verbs_are_refused_over_tcp_without_the_token(commanded: Commanded, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(canary("token"))
    wrong = tmp_path / "wrong"
    wrong.write_text(canary("token"))
    daemon = Daemon(commanded.plan.text())
    text = daemon.file.read_text()
    daemon.file.write_text(text.replace("admin: {", f"admin: {{token_file: '{token}', ", 1))
    with daemon:
        where = ("--admin", f"127.0.0.1:{daemon.port}")
        for verb in ("reload", "drain", "quit"):
            assert "token" in ambassador(verb, *where, code=1).lower()
            ambassador(verb, *where, "--token-file", wrong, code=1)
        assert daemon.ready
        assert "applied" in ambassador("reload", *where, "--token-file", token)


def test_drain_and_quit_end_it(commanded: Commanded) -> None:
    for verb in ("drain", "quit"):
        delay = "0s" if verb == "drain" else "20s"
        with Daemon(commanded.plan.text(drain={"delay": delay, "timeout": "5s"})) as daemon:
            ambassador(verb, env={"AMBASSADOR_ADMIN": f"unix:{daemon.socket}"})
            assert daemon.wait(5) == 0


def test_nobody_at_the_admin_address_is_said_plainly(tmp_path: Path) -> None:
    for verb in ("status", "reload", "drain", "quit"):
        assert "no daemon answers" in ambassador(verb, "--admin", f"unix:{tmp_path}/none.sock", code=1)


def test_wait_waits_until_it_is_ready(commanded: Commanded, tmp_path: Path) -> None:
    commanded.secret.empty()
    daemon = Daemon(commanded.plan.text(), ready=False)
    # Asked before anything runs: an application's container may start first.
    words = ["wait", "--admin", f"unix:{daemon.socket}"]
    with Child([COMMAND, *words], directory=tmp_path, env=ENV, name="wait") as wait, daemon:
        wait_until("the daemon to answer", daemon.socket.exists)
        assert "credential app" in ambassador(*words, "--timeout", "1s", code=1)
        assert wait.exit_code is None
        commanded.secret.swap({"username": commanded.role.name, "password": commanded.role.password})
        assert wait.wait(10) == 0
        with connect(commanded.where) as connection:
            assert value(connection.execute("SELECT current_user::text")) == commanded.role.name


def test_check_names_every_fault(commanded: Commanded, tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(commanded.plan.text())
    assert "no faults" in ambassador("check", "-c", file)
    file.write_text(commanded.plan.text().replace("endpoints", "endpoint").replace("upstream: app", "upstream: ap"))
    said = ambassador("check", "-c", file, code=2)
    assert "endpoints" in said
    assert "there is no such upstream; did you mean" in said
    assert said.count(f"{file}:") >= 2


def test_check_connect_logs_in_everywhere(commanded: Commanded, tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(commanded.plan.text())
    said = ambassador("check", "-c", file, "--connect")
    assert "ok   credential app" in said
    assert "ok   upstream app" in said
    commanded.plan.upstreams["app"]["postgres"] = {"database": "nowhere"}
    file.write_text(commanded.plan.text())
    assert "FAIL upstream app: upstream_rejected" in ambassador("check", "-c", file, "--connect", code=1)
    commanded.secret.swap({"username": commanded.role.name, "password": canary("wrong")})
    assert "FAIL upstream app: upstream_login_refused" in ambassador("check", "-c", file, "--connect", code=1)
    commanded.secret.empty()
    said = ambassador("check", "-c", file, "--connect", code=1)
    assert "FAIL credential app" in said


SOURCES: dict[str, Callable[[Path, Role], tuple[str, dict[str, str]]]] = {
    "file": lambda home, role: (f"file:{home}/mounted", {}),
    "env": lambda home, role: ("env:DB_USER,DB_PASSWORD", {"DB_USER": role.name, "DB_PASSWORD": role.password}),
    "exec": lambda home, role: (f"exec:{home}/token", {}),
}


@pytest.mark.parametrize("source", SOURCES)
def test_proxy_needs_no_file(commanded: Commanded, source: str, tmp_path: Path) -> None:
    role = commanded.role
    SecretDir(tmp_path / "mounted", {"username": role.name, "password": role.password})
    program = tmp_path / "token"
    program.touch(mode=0o700)
    answer = json.dumps({"username": role.name, "password": role.password})
    program.write_text(f"#!/bin/sh\ncat <<'.'\n{answer}\n.\n")
    words, env = SOURCES[source](tmp_path, role)
    port, admin = free_port(), f"127.0.0.1:{free_port()}"
    url = f"postgres://127.0.0.1:{commanded.cluster.server.port}/{DATABASE}"
    with Child(
        [COMMAND, "proxy", url, "--listen", f"127.0.0.1:{port}", "--credential", words, "--admin", admin,
         "--tls", "verify-full", "--ca", commanded.plan.authority.file],
        directory=tmp_path, env={**ENV, **env}, name="proxy",
    ) as proxy:  # fmt: skip
        ambassador("wait", "--timeout", "10s", "--admin", admin)
        with connect(Where(port, "whoever", "whatever")) as connection:
            assert (
                value(connection.execute("SELECT current_user || '@' || current_database()")) == f"{role.name}@orders"
            )
            assert value(connection.execute("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")) is True
        for _ in range(2):  # the second spares us the delay
            proxy.signal(signal.SIGTERM)
            time.sleep(0.2)
        assert proxy.wait(10) == 0
        assert role.password not in proxy.out + proxy.err


def test_proxy_takes_no_password_in_its_url() -> None:
    said = ambassador("proxy", "postgres://app:hidden@db.example.com/orders", code=2)
    assert "hidden" not in said
    assert "--credential" in said


def test_a_program_brings_the_credential_and_its_next_value(commanded: Commanded, tmp_path: Path) -> None:
    role, value_file = commanded.role, tmp_path / "value"

    def write(password: str) -> None:
        value_file.write_text(json.dumps({"username": role.name, "password": password}))

    write(role.password)
    commanded.plan.credentials["app"] = {"exec": {"command": ["/bin/cat", str(value_file)]}, "poll": "1h"}
    with Daemon(commanded.plan.text()) as daemon:
        with connect(commanded.where):
            pass
        fresh = canary("fresh")
        commanded.cluster.server.alter_password(role.name, fresh)
        write(fresh)
        # Nothing tells of the change but the server's refusal: the program is run again, and the login tried again.
        with connect(commanded.where) as connection:
            assert value(connection.execute("SELECT 42")) == 42
        wait_until("version 2", lambda: daemon.metric("ambassador_credential_version", credential="app") == 2)


def test_an_address_in_use_is_named(commanded: Commanded, daemon: Daemon) -> None:
    other = Daemon(commanded.plan.text(), ready=False, expect=1)
    with other:
        assert other.wait(10) == 1
        assert f"127.0.0.1:{commanded.where.port}" in other.logged("cannot start")[0]["error"]


def test_tcp_carries_any_bytes(commanded: Commanded) -> None:
    commanded.plan.upstreams["raw"] = {"endpoints": [f"127.0.0.1:{commanded.cluster.server.port}"]}
    port = free_port()
    commanded.plan.listeners["raw"] = {"listen": f"127.0.0.1:{port}", "tcp": {"upstream": "raw"}}
    with Daemon(commanded.plan.text()):
        # Nothing is done for the client here: it logs in by itself, over its own TLS.
        where = Where(port, commanded.role.name, DATABASE, commanded.role.password, commanded.plan.authority.file)
        with connect(where, channel_binding="require") as connection:
            assert value(connection.execute("SELECT current_user::text")) == commanded.role.name
        with pytest.raises(psycopg.OperationalError, match=r"no password supplied|authentication failed"):
            connect(Where(port, commanded.role.name, DATABASE, ca=commanded.plan.authority.file))
