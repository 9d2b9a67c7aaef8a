"""A real PostgreSQL server of our own: on a free port, and gone when we are."""

from __future__ import annotations

import signal
import socket
import subprocess
import tempfile
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from ambassador.demo.cluster import SUPERUSER, Certificates, Cluster, ServerFailed, environment
from ambassador.demo.distributions import Distribution
from ambassador.demo.sql import identifier, literal
from ambassador.demo.unprivileged import guise, mortal
from ambassador.kit.clock import SYSTEM

# What clients may do besides the superuser's own way in; everything with a password.
DEFAULT_HBA = (
    "local all         all              scram-sha-256",
    "host  all         all  127.0.0.1/32 scram-sha-256",
    "host  all         all  ::1/128      scram-sha-256",
    "host  replication all  127.0.0.1/32 scram-sha-256",
)

# A throw-away cluster need not survive a power cut, and passwords must not come back out of the server's log.
SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "listen_addresses": "127.0.0.1",
    "log_min_error_statement": "panic",
    "max_connections": "120",
    "shared_buffers": "32MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
}

SCRAM = "scram-sha-256"
POLL = 0.01
PORTS_TRIED = 5


_given: deque[int] = deque(maxlen=1000)


def free_port(host: str = "127.0.0.1") -> int:
    """A TCP port that was free a moment ago, and that nobody in this process was given lately."""
    while True:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.bind((host, 0))
            port = int(probe.getsockname()[1])
        if port not in _given:
            _given.append(port)
            return port


class PostgresServer:
    """One cluster and the server on it; a context manager that starts and removes both.

    Start it from a thread that outlives it: the kernel ends it with that thread (see `unprivileged.mortal`).

    Args:
        distribution: whose programs to run.
        port: TCP port; 0 means a free one.
        hba: lines of pg_hba.conf, after the superuser's own.
        settings: more of postgresql.conf, on top of `SETTINGS`.
        certificates: makes it speak TLS.

    Attributes:
        host, port: where it listens.
        directory: everything it owns, its unix socket too; short, since a socket's name ends at 107 bytes.
    """

    def __init__(
        self,
        distribution: Distribution,
        *,
        port: int = 0,
        hba: Sequence[str] = DEFAULT_HBA,
        settings: Mapping[str, str] | None = None,
        certificates: Certificates | None = None,
    ) -> None:
        self.distribution = distribution
        self.host = "127.0.0.1"
        self.port = port
        self.directory = Path(tempfile.mkdtemp(prefix="postgres-", dir="/tmp"))  # $TMPDIR may be too long
        self._guise = guise()
        self._cluster = Cluster(self.directory, distribution, self._guise)
        self._hba = tuple(hba)
        self._settings = SETTINGS | dict(settings or {})
        self._certificates = certificates
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # Its life

    def start(self, timeout: float = 30.0) -> None:
        """Make the cluster if there is none yet, start the server, wait until it takes connections.

        Raises:
            ServerFailed: with the end of its log.
        """
        if not self._cluster.exists:
            self._cluster.initialise()
            if self._certificates is not None:
                self._settings |= self._cluster.write_certificates(self._certificates)
            self._cluster.write_settings(self._settings)
            self._cluster.write_hba(self._hba)
        tries = PORTS_TRIED if self.port == 0 else 1
        for tries_left in reversed(range(tries)):
            self.port = free_port(self.host) if tries > 1 else self.port
            try:
                self._launch(timeout)
            except ServerFailed as error:
                # Someone may have taken the port between our look and the server's bind.
                if not tries_left or "could not bind" not in str(error):
                    raise
            else:
                return

    def stop(self, timeout: float = 10.0, *, how: signal.Signals = signal.SIGINT) -> None:
        """End the server: SIGINT is its fast shutdown, SIGTERM waits for sessions, SIGQUIT is a crash."""
        process, self._process = self._process, None
        if process is None:
            return
        for number in (how, signal.SIGQUIT, signal.SIGKILL):
            process.send_signal(number)
            try:
                process.wait(timeout)
            except subprocess.TimeoutExpired:
                continue
            return

    def restart(self) -> None:
        """Stop and start on the same port: every session ends."""
        self.stop()
        self._launch(30.0)

    def close(self) -> None:
        """End the server and remove everything it owned. Closing twice does nothing."""
        self.stop()
        self._cluster.remove()

    @property
    def pid(self) -> int:
        """The postmaster's process."""
        return self._running().pid

    @property
    def running(self) -> bool:
        """Whether the server was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def log(self) -> str:
        """What the server wrote so far."""
        path = self.directory / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    # What clients may do

    def set_hba(self, lines: Sequence[str]) -> None:
        """Replace the hba lines; a running server goes by them when this returns."""
        self._cluster.write_hba(lines)
        self._reload()

    def set_certificates(self, certificates: Certificates) -> None:
        """Replace the certificates of a server that was made with TLS; new handshakes use them when this returns."""
        self._cluster.write_certificates(certificates)
        self._reload()

    def create_role(
        self, name: str, password: str | None = None, *, kept: str = "scram-sha-256", more: str = ""
    ) -> None:
        """Make a role that may log in.

        Args:
            kept: how the server keeps the password, `scram-sha-256` or `md5`.
            more: further words of CREATE ROLE, for example `SUPERUSER` or `REPLICATION`.
        """
        secret = "" if password is None else f"PASSWORD {literal(password)}"
        self.psql(f"{_kept_as(kept)}; CREATE ROLE {identifier(name)} LOGIN {more} {secret}")

    def alter_password(self, name: str, password: str, *, kept: str = SCRAM) -> None:
        """Give a role a new password; its open sessions go on."""
        self.psql(f"{_kept_as(kept)}; ALTER ROLE {identifier(name)} PASSWORD {literal(password)}")

    def create_database(self, name: str, owner: str = SUPERUSER) -> None:
        """Make an empty database."""
        self.psql(f"CREATE DATABASE {identifier(name)} OWNER {identifier(owner)}")

    def psql(self, sql: str, *, database: str = "postgres", timeout: float = 30.0) -> str:
        """Run `sql` as the superuser over the unix socket; rows as lines, columns parted by `|`.

        The text goes through stdin: every process of the machine can read an argument list.

        Raises:
            ServerFailed: psql failed; the text is what it said.
        """
        where = ["-h", str(self.directory), "-p", str(self.port), "-U", SUPERUSER, "-d", database]
        done = subprocess.run(
            [str(self.tool("psql")), "-XAtq", "-v", "ON_ERROR_STOP=1", *where, "-f", "-"],
            input=sql,
            env=environment(self.directory) | {"PGPASSFILE": str(self._cluster.passfile)},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if done.returncode:
            raise ServerFailed(f"psql: {done.stderr.strip()}")
        return done.stdout.rstrip("\n")

    def tool(self, name: str) -> Path:
        """Path of one of its own version's programs: `psql`, `pgbench`, `pg_dump`, `pg_basebackup`, ..."""
        return self.distribution.tool(name)

    # Behind it

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise ServerFailed("the server is not running")
        return self._process

    def _launch(self, timeout: float) -> None:
        server = self._cluster.programs.tool("postgres")
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self._guise.command(
                    [*mortal(), server, "-D", self._cluster.data, "-p", str(self.port), "-k", self.directory]
                ),
                user=self._guise.uid,
                group=self._guise.uid,
                extra_groups=None if self._guise.uid is None else [],
                env=environment(self.directory),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=0,  # a Ctrl-C at the terminal is ours to answer, in our order
            )
        try:
            self._wait("take connections", self._takes_connections, timeout)
        except ServerFailed:
            self.stop()
            raise

    def _takes_connections(self) -> bool:
        if self._running().poll() is not None:
            raise ServerFailed(f"{self.distribution.origin} ended at once: {self.log()[-2000:]}")
        # The eighth line of postmaster.pid is the state the postmaster itself believes in (pidfile.h).
        path = self._cluster.data / "postmaster.pid"
        lines = path.read_text().splitlines() if path.exists() else []
        return len(lines) >= 8 and lines[0] == str(self.pid) and lines[7].strip() == "ready"

    def _reload(self) -> None:
        if self._process is None:
            return
        before = self.psql("SELECT pg_conf_load_time()")
        self._process.send_signal(signal.SIGHUP)
        self._wait("read its configuration", lambda: self.psql("SELECT pg_conf_load_time()") != before, 10.0)

    def _wait(self, what: str, done: Callable[[], bool], timeout: float) -> None:
        deadline = SYSTEM.now() + timeout
        while not done():
            if SYSTEM.now() > deadline:
                raise ServerFailed(f"{self.distribution.origin} did not {what} in {timeout:g} s: {self.log()[-2000:]}")
            time.sleep(POLL)


def _kept_as(method: str) -> str:
    return f"SET password_encryption = {literal(method)}"
