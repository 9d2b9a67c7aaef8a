"""An address as a client of the tests is told of it, and what it shows there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from ambassador.demo.servers import environment
from tests.support.certificates import Pair
from tests.support.postgres import Role, pgpass


@dataclass(frozen=True)
class Where:
    """Where to connect, and as whom.

    Args:
        host: an address, or the directory of a unix socket.
        password: None where no password is asked for.
        ca: TLS is spoken, and the server verified in full, where this is given; else none is spoken.
        pair: client certificate.
    """

    port: int
    user: str
    database: str
    password: str | None = None
    ca: Path | None = None
    pair: Pair | None = None
    host: str = "127.0.0.1"

    def but(self, *, user: str | None = None, password: str | None = None, database: str | None = None) -> Self:
        """The same with something else in its place."""
        return replace(
            self,
            user=user or self.user,
            password=password or self.password,
            database=database or self.database,
        )

    def libpq(self, **more: str) -> dict[str, str]:
        """Connection parameters of libpq, without the password; `more` wins."""
        words = {"host": self.host, "port": str(self.port), "user": self.user, "dbname": self.database}
        words["connect_timeout"] = "10"
        if self.ca is not None:
            words |= {"sslmode": "verify-full", "sslrootcert": str(self.ca)}
        if self.pair is not None:
            words |= {"sslcert": str(self.pair.cert), "sslkey": str(self.pair.key)}
        return words | more

    def conninfo(self, **more: str) -> str:
        """The same as one string. Nothing in it needs more than plain quoting."""
        return " ".join(f"{key}='{value}'" for key, value in self.libpq(**more).items())

    def env(self, home: Path) -> dict[str, str]:
        """A whole environment for a program that uses libpq; the password lies in a file below `home`."""
        found = environment(home)
        if self.password is not None:
            found["PGPASSFILE"] = str(pgpass(home, Role(self.user, self.password)))
        return found

    def as_json(self) -> Mapping[str, object]:
        """What the scripts of Node.js read. Passed through stdin: everybody can read an argument list."""
        tls = None
        if self.ca is not None:
            tls = {"ca": self.ca.read_text()}
            if self.pair is not None:
                tls |= {"cert": self.pair.cert.read_text(), "key": self.pair.key.read_text()}
        return {
            "host": self.host,
            "port": self.port,
            "user": self.user,
            "password": self.password,
            "database": self.database,
            "tls": tls,
        }
