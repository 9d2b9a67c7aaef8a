"""A hot standby of a real server: a base backup of it that streams."""

from __future__ import annotations

import os

from tests.support.postgres import PostgresServer, Role, pgpass

PRIMARY = {"wal_level": "replica", "max_wal_senders": "4", "wal_keep_size": "64MB"}
"""Settings the server to be copied needs."""


class StandbyServer(PostgresServer):
    """Follows `primary`, which must run with `PRIMARY`, logged in as `role`, which must have REPLICATION.

    Its superuser is the primary's, and so is everything else; a context manager like every server.
    """

    def __init__(self, primary: PostgresServer, role: Role) -> None:
        super().__init__(primary.distribution)
        self._cluster.password = primary._cluster.password
        self._primary = primary
        self._role = role

    def start(self, timeout: float = 30.0) -> None:
        """Copy the primary, start, wait until it takes connections."""
        if not self._cluster.exists:
            self._copy()
        super().start(timeout)

    def _copy(self) -> None:
        cluster, primary = self._cluster, self._primary
        cluster.settle()
        cluster._write(cluster.passfile, primary._cluster.passfile.read_text(), theirs=False)
        # The standby goes on reading it: -R writes its name down, and no password.
        passfile = pgpass(self.directory, self._role)
        if self._guise.uid is not None:
            os.chown(passfile, self._guise.uid, self._guise.uid)
        source = f"host={primary.host} port={primary.port} user={self._role.name}"
        cluster.run("pg_basebackup", "-D", cluster.data, "-R", "-c", "fast", "-d", source, passfile=passfile)
