"""A real PostgreSQL server of our own."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from ambassador.demo.cluster import SUPERUSER, Cluster
from ambassador.demo.distributions import Distribution
from ambassador.demo.servers import Certificates, Server, ServerFailed, environment
from ambassador.demo.sql import identifier, literal
from ambassador.demo.unprivileged import guise

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


class PostgresServer(Server):
    """One cluster and the server on it.

    Args:
        distribution: whose programs to run.
        port: TCP port; 0 means a free one.
        hba: lines of pg_hba.conf, after the superuser's own.
        settings: more of postgresql.conf, on top of `SETTINGS`.
        certificates: makes it speak TLS.
    """

    port_taken = "could not bind"

    def __init__(
        self,
        distribution: Distribution,
        *,
        port: int = 0,
        hba: Sequence[str] = DEFAULT_HBA,
        settings: Mapping[str, str] | None = None,
        certificates: Certificates | None = None,
    ) -> None:
        super().__init__("postgres", distribution.origin, port=port, guise=guise())
        self.distribution = distribution
        self._cluster = Cluster(self.directory, distribution, self._guise)
        self._hba = tuple(hba)
        self._settings = SETTINGS | dict(settings or {})
        self._certificates = certificates

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

    def _prepare(self) -> None:
        if self._cluster.exists:
            return
        self._cluster.initialise()
        if self._certificates is not None:
            self._settings |= self._cluster.write_certificates(self._certificates)
        self._cluster.write_settings(self._settings)
        self._cluster.write_hba(self._hba)

    def _words(self) -> Sequence[str | Path]:
        # Asked of the cluster, whose programs the server's user can reach.
        server = self._cluster.programs.tool("postgres")
        return [server, "-D", self._cluster.data, "-p", str(self.port), "-k", self.directory]

    def _takes_connections(self) -> bool:
        # The eighth line of postmaster.pid is the state the postmaster itself believes in (pidfile.h).
        path = self._cluster.data / "postmaster.pid"
        lines = path.read_text().splitlines() if path.exists() else []
        return len(lines) >= 8 and lines[0] == str(self.pid) and lines[7].strip() == "ready"

    def _remove(self) -> None:
        self._cluster.remove()

    def _reload(self) -> None:
        if self._process is None:
            return
        before = self.psql("SELECT pg_conf_load_time()")
        self._process.send_signal(signal.SIGHUP)
        self._wait("read its configuration", lambda: self.psql("SELECT pg_conf_load_time()") != before, 10.0)


def _kept_as(method: str) -> str:
    return f"SET password_encryption = {literal(method)}"
