"""The files of a PostgreSQL cluster: made by initdb, then written by us."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

from ambassador.demo.distributions import Distribution
from ambassador.demo.servers import Certificates, ServerFailed, environment, write_private
from ambassador.demo.sql import literal
from ambassador.demo.unprivileged import Guise

SUPERUSER = "postgres"


class Cluster:
    """One cluster's files.

    Args:
        directory: an empty directory for everything it owns.
        distribution: whose programs make it.
        guise: who those programs and the server will appear to be.

    Attributes:
        password: the superuser's, drawn at random.
        passfile: a libpq password file with it.
        programs: the distribution as the server's user can reach it.
    """

    def __init__(self, directory: Path, distribution: Distribution, guise: Guise) -> None:
        self.directory = directory
        self.password = secrets.token_urlsafe(24)
        self.passfile = directory / "pgpass"
        self.programs = distribution
        self._guise = guise

    @property
    def data(self) -> Path:
        """The server's data directory."""
        return self.directory / "data"

    @property
    def exists(self) -> bool:
        """Whether initdb has run."""
        return self.data.exists()

    def initialise(self) -> None:
        """Run initdb.

        Raises:
            ServerFailed: with what initdb said.
        """
        self.settle()
        self._write(self.passfile, f"*:*:*:{SUPERUSER}:{self.password}\n", theirs=False)
        secret = self.directory / "superuser"
        self._write(secret, self.password)
        options = ["--auth=scram-sha-256", "--no-sync", "--locale=C", "--encoding=UTF8"]
        try:
            self.run("initdb", "-D", self.data, "-U", SUPERUSER, "--pwfile", secret, *options)
        finally:
            secret.unlink()

    def settle(self) -> None:
        """Let the server's user have the directory, and programs that it can reach."""
        if self._guise.uid is not None:
            os.chown(self.directory, self._guise.uid, self._guise.uid)
            if not self.programs.open_to_all:
                self.programs = self.programs.copied_to(self.directory / "programs")

    def run(self, program: str, *words: str | Path, passfile: Path | None = None) -> None:
        """Run one of its programs as the server's user, perhaps with passwords from a libpq password file.

        Raises:
            ServerFailed: with what the program said.
        """
        more = {} if passfile is None else {"PGPASSFILE": str(passfile)}
        done = subprocess.run(
            self._guise.command([self.programs.tool(program), *words]),
            user=self._guise.uid,
            group=self._guise.uid,
            extra_groups=None if self._guise.uid is None else [],
            env=environment(self.directory) | more,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if done.returncode:
            raise ServerFailed(f"{program}: {done.stderr.strip()}")

    def write_settings(self, settings: Mapping[str, str]) -> None:
        """Replace the settings laid over initdb's postgresql.conf."""
        lines = (f"{name} = {literal(value)}\n" for name, value in settings.items())
        self._write(self.data / "postgresql.auto.conf", "".join(lines))

    def write_hba(self, lines: Iterable[str]) -> None:
        """Replace pg_hba.conf. The superuser's own way in, SCRAM at the unix socket, always comes first."""
        self._write(self.data / "pg_hba.conf", "\n".join([f"local all {SUPERUSER} scram-sha-256", *lines, ""]))

    def write_certificates(self, certificates: Certificates) -> dict[str, str]:
        """Copy PEM files in, under names that stay; returns the settings that turn TLS on with them."""
        self._write(self.data / "server.crt", certificates.cert.read_text())
        self._write(self.data / "server.key", certificates.key.read_text())
        settings = {"ssl": "on", "ssl_cert_file": "server.crt", "ssl_key_file": "server.key"}
        if certificates.client_ca is not None:
            self._write(self.data / "client-ca.crt", certificates.client_ca.read_text())
            settings["ssl_ca_file"] = "client-ca.crt"
        return settings

    def remove(self) -> None:
        """Delete everything it owns."""
        shutil.rmtree(self.directory, ignore_errors=True)

    def _write(self, path: Path, text: str, *, theirs: bool = True) -> None:
        write_private(path, text, uid=self._guise.uid if theirs else None)
