"""pg8000: all in Python; it has no way to cancel and no pipelines."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pg8000.native

from tests.e2e.drivers.asyncpg import context
from tests.e2e.drivers.base import CHANNEL, PAYLOAD, QUOTED, Driver, Seen
from tests.e2e.where import Where


class Pg8000(Driver):
    """Blocking."""

    def query(self, where: Where) -> Seen:
        with _connect(where) as connection:
            user = _value(connection, "SELECT current_user")
            echo = _value(connection, "SELECT CAST(:words AS text)", words=QUOTED)
            error = ""
            try:
                connection.run("SELECT 1 / 0")
            except pg8000.native.DatabaseError as failure:
                error = failure.args[0]["C"]
            return Seen(user, echo, error, _value(connection, "SELECT 42"))

    def prepared(self, where: Where) -> list[int]:
        with _connect(where) as connection:
            statement = connection.prepare("SELECT CAST(:n AS int) * 2")
            return [statement.run(n=n)[0][0] for n in range(5)]

    def copy(self, where: Where, source: Path, target: Path) -> None:
        with _connect(where) as connection:
            connection.run("CREATE TEMP TABLE copied (id int, line text)")
            with source.open("rb") as file:
                connection.run("COPY copied FROM STDIN", stream=file)
            with target.open("wb") as file:
                connection.run("COPY copied TO STDOUT", stream=file)

    def notify(self, where: Where) -> str:
        with _connect(where) as listener, _connect(where) as speaker:
            listener.run(f"LISTEN {CHANNEL}")
            speaker.run(f"NOTIFY {CHANNEL}, '{PAYLOAD}'")
            # It reads notifications only along with an answer, and the server sends them when it likes.
            while not listener.notifications:
                listener.run("SELECT pg_sleep(0.05)")
            return str(listener.notifications[0][2])

    def large(self, where: Where, size: int) -> tuple[int, int]:
        with _connect(where) as connection:
            came = _value(connection, "SELECT repeat('x', :size)", size=size)
            return len(came), _value(connection, "SELECT length(CAST(:came AS text))", came=came)


@contextlib.contextmanager
def _connect(where: Where) -> Iterator[Any]:
    connection = pg8000.native.Connection(
        where.user,
        host=where.host,
        port=where.port,
        password=where.password,
        database=where.database,
        ssl_context=context(where) or False,
        timeout=20,
    )
    try:
        yield connection
    finally:
        connection.close()


def _value(connection: Any, sql: str, **parameters: object) -> Any:
    return connection.run(sql, **parameters)[0][0]
