"""What the tour stands on: two databases with passwords nobody knows, Secrets, an ambassador between them and you."""

from __future__ import annotations

import http.client
import json
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import trustme

from ambassador.demo.distributions import find
from ambassador.demo.mounted import MountedSecret
from ambassador.demo.postgres import PostgresServer
from ambassador.demo.servers import Certificates, free_port
from ambassador.demo.unprivileged import mortal
from ambassador.demo.valkey import ValkeyServer, packaged
from ambassador.kit.clock import SYSTEM

MAJOR = 17
USER = "orders"
DATABASE = "orders"
CACHE_USER = "cache"
LISTENER_PORT = 5432
CACHE_PORT = 6379
ADMIN_PORT = 9901
PATIENCE = 20.0

TABLE = """\
SET ROLE orders;
CREATE TABLE item AS SELECT n AS id, 'item ' || n AS name FROM generate_series(1, 3) n;
"""

CONFIGURATION = """\
# What `ambassador demo` runs. Everything here is explained in the README.
admin: {{listen: ["unix:{directory}/admin.sock", "127.0.0.1:{admin_port}"]}}
drain: {{delay: 0s, timeout: 3s}}
credentials:
  orders-db:
    file: {{path: {directory}/secret}}
  cache:
    file: {{path: {directory}/cache-secret}}
upstreams:
  orders:
    endpoints: ["{server_host}:{server_port}"]
    credential: orders-db
    tls: {{mode: verify-full, ca: {directory}/ca.pem}}
  cache:
    endpoints: ["{cache_server_host}:{cache_server_port}"]
    credential: cache
    redis: {{mode: multiplex}}
listeners:
  orders:
    listen: 127.0.0.1:{port}
    postgres: {{upstream: orders}}
  cache:
    listen: 127.0.0.1:{cache_port}
    redis: {{upstream: cache}}
"""


class StageFailed(Exception):
    """Something on the stage did not come up or fell; the text says what, and what it said."""


def usual_or_free(port: int) -> int:
    """`port` if nobody listens there, else a free one."""
    with socket.socket() as probe:
        # As servers do: what lingers of an earlier run's closed connections is no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return free_port()
    return port


class Stage:
    """Everything the tour needs, running; a context manager that ends and removes it all.

    Attributes:
        directory: all its files.
        server: the PostgreSQL.
        cache: the Valkey.
        secret, cache_secret: the logins to them.
        port: where the ambassador listens for PostgreSQL's clients, on 127.0.0.1; 5432 if that was free then.
        cache_port: where it listens for Valkey's, 6379 if that was free.
        admin_port: its admin's, 9901 if that was free.
        psql: the database's own client.
        config: its configuration file.
        log: the file with its log.
    """

    def __init__(self) -> None:
        distribution, program = find(MAJOR), packaged()
        self._stack = ExitStack()
        self.directory = Path(tempfile.mkdtemp(prefix="ambassador-demo-", dir="/tmp"))  # short, for the socket's name
        self._stack.callback(shutil.rmtree, self.directory, ignore_errors=True)
        self.server = PostgresServer(distribution, certificates=self._certificates())
        self._stack.callback(self.server.close)
        self.cache = ValkeyServer(program)
        self._stack.callback(self.cache.close)
        self.secret = MountedSecret(self.directory / "secret", _new_login(USER))
        self.cache_secret = MountedSecret(self.directory / "cache-secret", _new_login(CACHE_USER))
        # Where a person has no psql: the server's own, under a name short enough to be typed.
        self.psql = self.directory / "psql"
        self.psql.symlink_to(self.server.tool("psql"))
        self.config = self.directory / "ambassador.yaml"
        self.log = self.directory / "ambassador.log"
        self.port = LISTENER_PORT
        self.cache_port = CACHE_PORT
        self.admin_port = ADMIN_PORT
        self._servers_started = False
        self._ambassador: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._stack.close()

    # Bringing it up

    def start_servers(self) -> None:
        """Start the databases, each with a user that has its Secret's password, and a table worth a query."""
        self.server.start()
        self.cache.start()
        self._servers_started = True
        self.server.create_role(USER, (self.secret.path / "password").read_text())
        self.server.create_database(DATABASE, USER)
        self.server.psql(TABLE, database=DATABASE)
        self.cache.set_user(CACHE_USER, (self.cache_secret.path / "password").read_text())

    def start_ambassador(self) -> None:
        """Start the real `ambassador run` and wait until it is ready.

        Raises:
            StageFailed: with the end of its log.
        """
        self.port = usual_or_free(LISTENER_PORT)
        self.cache_port = usual_or_free(CACHE_PORT)
        self.admin_port = usual_or_free(ADMIN_PORT)
        self.config.write_text(
            CONFIGURATION.format(
                directory=self.directory,
                admin_port=self.admin_port,
                server_host=self.server.host,
                server_port=self.server.port,
                cache_server_host=self.cache.host,
                cache_server_port=self.cache.port,
                port=self.port,
                cache_port=self.cache_port,
            )
        )
        with self.log.open("wb") as log:
            self._ambassador = subprocess.Popen(
                [*mortal(), sys.executable, "-m", "ambassador", "run", "-c", str(self.config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=0,  # a Ctrl-C at the terminal is ours to answer, in our order
            )
        self._stack.callback(self._stop_ambassador)
        self._wait("the ambassador to be ready", self._ready)

    def rotate(self) -> None:
        """Give each user a new random password, in its database and then in its Secret; wait until they are current."""
        before = self.credential_versions()
        login, cache_login = _new_login(USER), _new_login(CACHE_USER)
        self.server.alter_password(USER, login["password"])
        self.secret.swap(login)
        self.cache.set_password(CACHE_USER, cache_login["password"])
        self.cache_secret.swap(cache_login)
        self._wait("the new passwords to be current", lambda: self._newer_than(before))

    # Looking at it

    def credential_versions(self) -> dict[str, int]:
        """How many values each of the ambassador's credentials has had."""
        _, body = self._ask("/status")
        return {one["name"]: int(one["version"] or 0) for one in json.loads(body)["credentials"]}

    def check(self) -> None:
        """See whether all that was started is still up.

        Raises:
            StageFailed: it is not.
        """
        if self._ambassador is not None and self._ambassador.poll() is not None:
            raise StageFailed(f"the ambassador ended with {self._ambassador.returncode}:\n{self._log_end()}")
        for name, server in (("PostgreSQL", self.server), ("Valkey", self.cache)):
            if self._servers_started and not server.running:
                raise StageFailed(f"{name} ended:\n{server.log()[-2000:]}")

    # Behind it

    def _newer_than(self, before: dict[str, int]) -> bool:
        now = self.credential_versions()
        return all(now[name] > version for name, version in before.items())

    def _certificates(self) -> Certificates:
        authority = trustme.CA(organization_name="ambassador demo")
        authority.cert_pem.write_to_path(self.directory / "ca.pem")
        leaf = authority.issue_cert("127.0.0.1", "localhost", common_name="localhost")
        certificates = Certificates(self.directory / "server.crt", self.directory / "server.key")
        certificates.cert.write_bytes(b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
        certificates.key.touch(mode=0o600)
        leaf.private_key_pem.write_to_path(certificates.key)
        return certificates

    def _ask(self, path: str) -> tuple[int, bytes]:
        # Over the unix socket: a port might by now be someone else's, and the machine's HTTP proxy is not meant.
        connection = http.client.HTTPConnection("localhost")
        connection.sock = socket.socket(socket.AF_UNIX)
        try:
            connection.sock.settimeout(5)
            connection.sock.connect(str(self.directory / "admin.sock"))
            connection.request("GET", path, headers={"Accept": "application/json"})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def _ready(self) -> bool:
        try:
            return self._ask("/readyz")[0] == 200
        except (OSError, http.client.HTTPException):  # not listening yet
            return False

    def _wait(self, what: str, done: Callable[[], bool]) -> None:
        deadline = SYSTEM.now() + PATIENCE
        while not done():
            self.check()
            if SYSTEM.now() > deadline:
                raise StageFailed(f"waited {PATIENCE:g} s for {what}:\n{self._log_end()}")
            time.sleep(0.02)

    def _log_end(self) -> str:
        return self.log.read_text(errors="replace")[-2000:] if self.log.exists() else ""

    def _stop_ambassador(self) -> None:
        process = self._ambassador
        if process is None:
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            process.send_signal(number)
            try:
                process.wait(6.0)
            except subprocess.TimeoutExpired:
                continue
            return


def _new_login(user: str) -> dict[str, str]:
    return {"username": user, "password": secrets.token_urlsafe(24)}
