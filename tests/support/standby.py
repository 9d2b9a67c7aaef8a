"""A hot standby of a real server: a base backup of it that streams."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from ambassador.demo.cluster import environment
from tests.support.postgres import PostgresServer, Role

PRIMARY = {"wal_level": "replica", "max_wal_senders": "4", "wal_keep_size": "64MB"}
"""Settings the server to be copied needs."""


class StandbyServer(PostgresServer):
    """Follows `primary`, which must run with `PRIMARY`, logged in as `role`, which must have REPLICATION.

    Its superuser is the primary's, and so is everything else; a context manager like every server.
    """

    def __init__(self, primary: PostgresServer, role: Role) -> None:
        super().__init__(primary.distribution)
        self._cluster.programs = primary._cluster.programs
        self._cluster.password = primary._cluster.password
        self._primary = primary
        self._role = role

    def start(self, timeout: float = 30.0) -> None:
        """Copy the primary, start, wait until it takes connections."""
        if not self._cluster.exists:
            self._copy()
        super().start(timeout)

    def _copy(self) -> None:
        source = f"host={self._primary.host} port={self._primary.port} user={self._role.name}"
        source += f" password={self._role.password}"
        words = [self._primary.tool("pg_basebackup"), "-D", self._cluster.data, "-R", "-c", "fast", "-d", source]
        done = subprocess.run(
            [str(word) for word in words],
            env=environment(self.directory),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        self._cluster._write(self._cluster.passfile, self._primary._cluster.passfile.read_text(), theirs=False)
        if self._guise.uid is not None:
            for path in (self.directory, self._cluster.data, *self._cluster.data.rglob("*")):
                os.chown(Path(path), self._guise.uid, self._guise.uid, follow_symlinks=False)
