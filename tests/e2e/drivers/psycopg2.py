"""psycopg2: no server-side preparing and no pipelines of its own."""

from __future__ import annotations

import contextlib
import select
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg2

from tests.e2e.drivers.base import CHANNEL, PAYLOAD, QUOTED, SLEEP, Driver, Seen
from tests.e2e.where import Where


class Psycopg2(Driver):
    """Blocking."""

    def query(self, where: Where) -> Seen:
        with _connect(where) as connection:
            user = _value(connection, "SELECT current_user")
            echo = _value(connection, "SELECT %s::text", QUOTED)
            error = ""
            try:
                _value(connection, "SELECT 1 / 0")
            except psycopg2.Error as failure:
                error = failure.pgcode or ""
            return Seen(user, echo, error, _value(connection, "SELECT 42"))

    def copy(self, where: Where, source: Path, target: Path) -> None:
        with _connect(where) as connection, connection.cursor() as cursor:
            cursor.execute("CREATE TEMP TABLE copied (id int, line text)")
            with source.open("rb") as file:
                cursor.copy_expert("COPY copied FROM STDIN", file)
            with target.open("wb") as file:
                cursor.copy_expert("COPY copied TO STDOUT", file)

    def notify(self, where: Where) -> str:
        with _connect(where) as listener, _connect(where) as speaker:
            listener.cursor().execute(f"LISTEN {CHANNEL}")
            speaker.cursor().execute("SELECT pg_notify(%s, %s)", [CHANNEL, PAYLOAD])
            assert select.select([listener], [], [], 5)[0]
            listener.poll()
            return str(listener.notifies[0].payload)

    def cancel(self, where: Where, asleep: Callable[[], None]) -> list[str]:
        found: list[str] = []
        with _connect(where) as connection:

            def sleep() -> None:
                try:
                    _value(connection, SLEEP)
                except psycopg2.Error as failure:
                    found.append(failure.pgcode or "")

            thread = threading.Thread(target=sleep)
            thread.start()
            asleep()
            connection.cancel()
            thread.join(10)
            assert _value(connection, "SELECT 42") == 42
        return found

    def large(self, where: Where, size: int) -> tuple[int, int]:
        with _connect(where) as connection:
            came = _value(connection, "SELECT repeat('x', %s)", size)
            return len(came), _value(connection, "SELECT length(%s)", came)


@contextlib.contextmanager
def _connect(where: Where) -> Iterator[Any]:
    connection = psycopg2.connect(where.conninfo(), password=where.password)
    connection.autocommit = True
    try:
        yield connection
    finally:
        connection.close()


def _value(connection: Any, sql: str, *parameters: object) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters or None)
        return cursor.fetchone()[0]
