"""psycopg 3: blocking and on asyncio, both with its pipeline mode."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import psycopg

from tests.e2e.drivers.base import CHANNEL, PAYLOAD, QUOTED, SLEEP, Driver, Seen, pieces
from tests.e2e.where import Where

T = TypeVar("T")

TABLE = "CREATE TEMP TABLE copied (id int, line text)"
COUNTED = "CREATE TEMP TABLE counted (n int)"


class Psycopg(Driver):
    """Blocking.

    Args:
        more: further connection parameters.
    """

    def __init__(self, name: str, **more: str) -> None:
        super().__init__("-".join([name, *more.values()]))
        self._more = more

    def _connect(self, where: Where) -> psycopg.Connection:
        return connect(where, **self._more)

    def query(self, where: Where) -> Seen:
        with self._connect(where) as connection:
            user = value(connection.execute("SELECT current_user"))
            echo = value(connection.execute("SELECT %s::text", [QUOTED]))
            error = ""
            try:
                connection.execute("SELECT 1 / 0")
            except psycopg.Error as failure:
                error = failure.sqlstate or ""
            return Seen(user, echo, error, value(connection.execute("SELECT 42")))

    def prepared(self, where: Where) -> list[int]:
        with self._connect(where) as connection:
            found = [value(connection.execute("SELECT %s::int * 2", [n], prepare=True)) for n in range(5)]
            assert value(connection.execute("SELECT count(*) FROM pg_prepared_statements")) == 1
            return found

    def copy(self, where: Where, source: Path, target: Path) -> None:
        with self._connect(where) as connection, connection.cursor() as cursor:
            cursor.execute(TABLE)
            with cursor.copy("COPY copied FROM STDIN") as copy:
                for piece in pieces(source):
                    copy.write(piece)
            with target.open("wb") as file, cursor.copy("COPY copied TO STDOUT") as copy:
                for line in copy:
                    file.write(line)

    def notify(self, where: Where) -> str:
        with self._connect(where) as listener, self._connect(where) as speaker:
            listener.execute(f"LISTEN {CHANNEL}")
            speaker.execute("SELECT pg_notify(%s, %s)", [CHANNEL, PAYLOAD])
            return next(told.payload for told in listener.notifies(timeout=5, stop_after=1))

    def cancel(self, where: Where, asleep: Callable[[], None]) -> list[str]:
        found = []
        with self._connect(where) as connection:
            for way in (connection.cancel, connection.cancel_safe):
                found.append(_cancelled(connection, way, asleep))
                assert value(connection.execute("SELECT 42")) == 42
        return found

    def large(self, where: Where, size: int) -> tuple[int, int]:
        with self._connect(where) as connection:
            came = value(connection.execute("SELECT repeat('x', %s)", [size]))
            return len(came), value(connection.execute("SELECT length(%s::text)", [came]))

    def pipeline(self, where: Where, count: int) -> int:
        with self._connect(where) as connection:
            connection.execute(COUNTED)
            with connection.pipeline(), connection.cursor() as cursor:
                for n in range(count):
                    cursor.execute("INSERT INTO counted VALUES (%s)", [n])
            return int(value(connection.execute("SELECT count(DISTINCT n) FROM counted")))


class AsyncPsycopg(Driver):
    """On asyncio."""

    def query(self, where: Where) -> Seen:
        async def run(connection: psycopg.AsyncConnection) -> Seen:
            user = await avalue(connection, "SELECT current_user")
            echo = await avalue(connection, "SELECT %s::text", QUOTED)
            error = ""
            try:
                await connection.execute("SELECT 1 / 0")
            except psycopg.Error as failure:
                error = failure.sqlstate or ""
            return Seen(user, echo, error, await avalue(connection, "SELECT 42"))

        return _with(where, run)

    def prepared(self, where: Where) -> list[int]:
        async def run(connection: psycopg.AsyncConnection) -> list[int]:
            connection.prepare_threshold = 0
            return [await avalue(connection, "SELECT %s::int * 2", n) for n in range(5)]

        return _with(where, run)

    def copy(self, where: Where, source: Path, target: Path) -> None:
        async def run(connection: psycopg.AsyncConnection) -> None:
            await connection.execute(TABLE)
            cursor = connection.cursor()
            async with cursor.copy("COPY copied FROM STDIN") as copy:
                for piece in pieces(source):
                    await copy.write(piece)
            with target.open("wb") as file:
                async with cursor.copy("COPY copied TO STDOUT") as copy:
                    async for line in copy:
                        file.write(line)

        _with(where, run)

    def notify(self, where: Where) -> str:
        async def run(connection: psycopg.AsyncConnection) -> str:
            await connection.execute(f"LISTEN {CHANNEL}")
            await connection.execute("SELECT pg_notify(%s, %s)", [CHANNEL, PAYLOAD])
            async for told in connection.notifies(timeout=5, stop_after=1):
                return told.payload
            return ""

        return _with(where, run)

    def cancel(self, where: Where, asleep: Callable[[], None]) -> list[str]:
        async def run(connection: psycopg.AsyncConnection) -> list[str]:
            async with asyncio.TaskGroup() as group:
                # A cancelled task makes psycopg cancel at the server, and wait for it to have happened.
                task = group.create_task(connection.execute(SLEEP))
                await asyncio.to_thread(asleep)
                task.cancel()
            assert await avalue(connection, "SELECT 42") == 42
            return ["57014"] if task.cancelled() else []

        return _with(where, run)

    def large(self, where: Where, size: int) -> tuple[int, int]:
        async def run(connection: psycopg.AsyncConnection) -> tuple[int, int]:
            came = await avalue(connection, "SELECT repeat('x', %s)", size)
            return len(came), await avalue(connection, "SELECT length(%s::text)", came)

        return _with(where, run)

    def pipeline(self, where: Where, count: int) -> int:
        async def run(connection: psycopg.AsyncConnection) -> int:
            await connection.execute(COUNTED)
            async with connection.pipeline(), connection.cursor() as cursor:
                for n in range(count):
                    await cursor.execute("INSERT INTO counted VALUES (%s)", [n])
            return int(await avalue(connection, "SELECT count(DISTINCT n) FROM counted"))

        return _with(where, run)


def connect(where: Where, **more: str) -> psycopg.Connection:
    """A connection that commits by itself."""
    return psycopg.connect(where.conninfo(**more), password=where.password, autocommit=True)


def value(cursor: psycopg.Cursor) -> Any:
    """The one value of the one row."""
    row = cursor.fetchone()
    assert row is not None
    return row[0]


async def avalue(connection: psycopg.AsyncConnection, sql: str, *parameters: object) -> Any:
    """The one value of the one row that a statement gives."""
    row = await (await connection.execute(sql.encode(), parameters)).fetchone()
    assert row is not None
    return row[0]


def _with(where: Where, run: Callable[[psycopg.AsyncConnection], Coroutine[Any, Any, T]]) -> T:
    async def main() -> T:
        connection = await psycopg.AsyncConnection.connect(where.conninfo(), password=where.password, autocommit=True)
        async with connection:
            return await run(connection)

    return asyncio.run(main())


def _cancelled(connection: psycopg.Connection, way: Callable[[], None], asleep: Callable[[], None]) -> str:
    found: list[str] = []

    def sleep() -> None:
        try:
            connection.execute(SLEEP)
        except psycopg.Error as failure:
            found.append(failure.sqlstate or "")

    thread = threading.Thread(target=sleep)
    thread.start()
    asleep()
    way()
    thread.join(10)
    return "".join(found)
