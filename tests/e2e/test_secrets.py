"""What the daemon knows, nobody else gets to see: not in what it says, and not by looking into it."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import psycopg
import pytest

from ambassador.demo.unprivileged import NAMESPACE, guise
from tests.e2e import intruder
from tests.e2e.clusters import DATABASE, Cluster
from tests.e2e.drivers.psycopg3 import connect
from tests.e2e.house import Plan
from tests.e2e.where import Where
from tests.support import secrets
from tests.support.certificates import Authority
from tests.support.daemon import COMMAND, Daemon
from tests.support.postgres import PostgresServer, Role, new_role
from tests.support.processes import descendants, wait_until
from tests.support.secrets import canary


def spellings(key: bytes) -> Iterator[bytes]:
    """How a key may come to be written somewhere."""
    yield from (key, key.hex().encode(), base64.b64encode(key).rstrip(b"="), repr(key)[2:-1].encode())


def keys_of(server: PostgresServer, role: Role) -> Iterator[bytes]:
    """Every key of SCRAM that a password gives with the salt the server keeps (RFC 5802, section 3)."""
    kept = server.psql(f"SELECT rolpassword FROM pg_authid WHERE rolname = '{role.name}'")
    found = re.fullmatch(r"SCRAM-SHA-256\$(\d+):(.+)\$(.+):(.+)", kept)
    assert found is not None
    salted = hashlib.pbkdf2_hmac("sha256", role.password.encode(), base64.b64decode(found[2]), int(found[1]))
    client_key, server_key = (hmac.digest(salted, word, "sha256") for word in (b"Client Key", b"Server Key"))
    assert base64.b64decode(found[4]) == server_key
    for key in (salted, client_key, hashlib.sha256(client_key).digest(), server_key):
        yield from spellings(key)


def refused(where: Where) -> str:
    """How the client is refused; it is told no secret either."""
    with pytest.raises(psycopg.OperationalError) as caught:
        connect(where)
    said = str(caught.value)
    assert not [secret for secret in secrets.MINTED if secret in said]
    return said


class Told:
    """A daemon with secrets of every kind, and what is to be looked for."""

    def __init__(self, cluster: Cluster, plan: Plan, home: Path) -> None:
        self.server, self.plan, self.home = cluster.server, plan, home
        self.roles = {kind: new_role(cluster.server) for kind in ("file", "env", "exec")}
        self.clients = Role("alice", canary("client"))
        self.files = plan.role("file", self.roles["file"])
        self.guests = plan.role("clients", self.clients)
        self.output = home / "output"
        self.program = home / "program"
        self.program.touch(mode=0o700)
        self.program.write_text(f"#!/bin/sh\ncat '{self.output}'\nexec 0</dev/null\n. '{home}/then'\n")
        (home / "then").write_text("")
        self.print(self.answer("exec"))
        plan.credentials["env"] = {"env": {"username": "DB_USER", "password": "DB_PASSWORD"}}
        plan.credentials["exec"] = {"exec": {"command": [str(self.program)], "timeout": "3s"}, "poll": "200ms"}
        self.where: dict[str, Where] = {}
        for kind in self.roles:
            plan.upstream(kind, cluster, kind, tls=plan.tls(), reveal_errors=True)
            access = {"password": {"credential": "clients"}}
            port = plan.listener(kind, kind, access=access, tls=plan.server_tls())
            self.where[kind] = Where(port, "alice", DATABASE, self.clients.password, plan.authority.file)

    def answer(self, kind: str, password: str | None = None) -> str:
        """What the program prints for a role."""
        role = self.roles[kind]
        return json.dumps({"username": role.name, "password": password or role.password})

    def print(self, text: str) -> None:
        """What the program prints from now on."""
        fresh = self.home / "fresh"
        fresh.write_text(text)
        fresh.rename(self.output)

    def until_looked_at(self, daemon: Daemon) -> None:
        """Wait until the program has run again, from its beginning to its end."""

        def looks() -> float:
            return daemon.metric("ambassador_credential_refreshes_total", credential="exec")

        wanted = looks() + 2
        wait_until("two more looks", lambda: looks() >= wanted)

    def daemon(self) -> Daemon:
        """The daemon, telling all it ever tells."""
        role = self.roles["env"]
        keys = [key for role in self.roles.values() for key in keys_of(self.server, role)]
        found = Daemon(
            self.plan.text(log={"level": "debug"}),
            env={"DB_USER": role.name, "DB_PASSWORD": role.password},
            secrets=[key for key in keys if len(key) > 6],
        )
        token = self.home / "admin-token"
        token.write_text(canary("admin"))
        found.file.write_text(found.file.read_text().replace("admin: {", f"admin: {{token_file: '{token}', ", 1))
        return found


@pytest.fixture
def told(clusters: Mapping[int, Cluster], authority: Authority, tmp_path: Path) -> Told:
    """Everything there is to tell."""
    return Told(clusters[17], Plan(tmp_path, authority), tmp_path)


@pytest.mark.timeout(60)
def test_no_secret_is_told_whatever_happens(told: Told) -> None:
    with told.daemon() as daemon:
        for where in told.where.values():
            with connect(where) as connection:
                # Nor is the text of a query, or what a client sends along.
                connection.execute("SELECT %s::text", [canary("parameter")])
                connection.execute(f"SELECT '{canary('query')}'".encode())
        assert "password authentication failed" in refused(told.where["file"].but(password=canary("wrong")))
        assert daemon.ask("POST", "/reload", unix=False).code in {401, 403}
        wrong = f"Bearer {canary('wrong')}"
        assert daemon.ask("POST", "/reload", unix=False, Authorization=wrong).code in {401, 403}
        # The database changes and nobody tells us: every login is refused.
        for kind in ("file", "env"):
            told.server.alter_password(told.roles[kind].name, canary("changed"))
            refused(told.where[kind])
        # Sources that show what they should not: half a Secret, a wrong one, and output that nobody understands.
        told.files.swap_half({"username": "half", "password": canary("half")}, lost="password")
        daemon.log_contains("credential not read", credential="file")
        told.files.swap({"username": told.roles["file"].name, "password": canary("unknown")})
        daemon.log_contains("credential not rotated", credential="file")
        told.guests.swap({"username": "alice", "password": canary("next")})
        daemon.log_contains("credential rotated", credential="clients")
        for output in (
            '{"username": "x", "password": ' + canary("broken"),
            json.dumps({"password": canary("odd"), canary("key"): 1}),
            json.dumps({"password": {"nested": canary("nested")}}),
            told.answer("exec", canary("unknown")),
        ):
            told.print(output)
            told.until_looked_at(daemon)
            daemon.look()
            # What works again ends the back-off, which would make this a long test.
            told.print(told.answer("exec"))
            told.until_looked_at(daemon)
        told.program.write_text(f"#!/bin/sh\necho {canary('stdout')}\necho {canary('stderr')} >&2\nexit 3\n")
        wait_until("its failure", lambda: "3" in daemon.logged("credential not read", credential="exec")[-1]["error"])
        # Words in the wrong place.
        daemon.rewrite(told.plan.text() + f"\npassword: {canary('misplaced')}\n")
        answer = daemon.ask("POST", "/reload")
        assert answer.code >= 400
        assert "misplaced" not in answer.text


def test_a_program_for_a_credential_inherits_nothing(told: Told) -> None:
    (told.home / "then").write_text("sleep 2\n")
    with told.daemon() as daemon:

        def named() -> list[str]:
            found = []
            for child in descendants(daemon.child.pid):
                with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
                    found.append(Path(f"/proc/{child}/comm").read_text().strip())
            return found

        wait_until("the program to get to its rest", lambda: "sleep" in named())
        children = descendants(daemon.child.pid)
        assert len(children) == 2
        daemon.look()
        for child in children:
            environ = Path(f"/proc/{child}/environ").read_bytes()
            assert b"DB_" not in environ
            assert {item.partition(b"=")[0] for item in environ.split(b"\0") if item} <= {
                b"PATH", b"HOME", b"LANG", b"PWD", b"OLDPWD", b"SHLVL", b"_",
            }  # fmt: skip
            # The shell keeps files of its own open; what it got from us would be a socket or something without a name.
            held = {int(link.name): str(link.readlink()) for link in Path(f"/proc/{child}/fd").iterdir()}
            assert all(what.startswith(str(told.home)) for number, what in held.items() if number > 2), held
            status = Path(f"/proc/{child}/status").read_text()
            assert "NoNewPrivs:\t1" in status


def test_no_core_is_dumped(told: Told) -> None:
    with told.daemon() as daemon:
        limits = Path(f"/proc/{daemon.child.pid}/limits").read_text()
        assert re.search(r"^Max core file size +0 +0 ", limits, re.MULTILINE)
        status = Path(f"/proc/{daemon.child.pid}/status").read_text()
        assert "NoNewPrivs:\t1" in status


@pytest.mark.timeout(60)
def test_a_process_of_the_same_user_cannot_look_inside(told: Told) -> None:
    prefix: tuple[str, ...] = ()
    if os.geteuid() == 0:
        if guise().prefix != NAMESPACE:
            pytest.skip(
                "root may look into everything, and this kernel allows no user namespace in which we are not root"
            )
        prefix = NAMESPACE
    daemon = Daemon(told.plan.text())
    role = told.roles["env"]
    words = [sys.executable, intruder.__file__, str(daemon.socket), str(COMMAND), "run", "-c", str(daemon.file)]
    try:
        done = subprocess.run(
            [*prefix, *words],
            env={"PATH": "/usr/bin:/bin", "DB_USER": role.name, "DB_PASSWORD": role.password},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=40, check=False,
        )  # fmt: skip
    finally:
        daemon.__exit__(None, None, None)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    if found["victim"]["mem"] != "read":
        pytest.skip(f"here nobody may look into any process: {found['victim']}")
    assert found["victim"] == dict.fromkeys(intruder.WAYS, "read")
    assert found["daemon"] == dict.fromkeys(intruder.WAYS, "denied")
    assert found["code"] == 0
