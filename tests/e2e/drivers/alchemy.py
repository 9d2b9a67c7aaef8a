"""SQLAlchemy with its connection pool: blocking over psycopg, on asyncio over asyncpg."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import sqlalchemy
from sqlalchemy import URL, Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine

from tests.e2e.drivers.asyncpg import context
from tests.e2e.drivers.base import QUOTED, Driver, Seen
from tests.e2e.where import Where

T = TypeVar("T")

COUNTED = sqlalchemy.Table(
    "counted", sqlalchemy.MetaData(), sqlalchemy.Column("n", sqlalchemy.Integer), prefixes=["TEMP"]
)


class Alchemy(Driver):
    """Blocking, and the base of the other."""

    def query(self, where: Where) -> Seen:
        def run(connection: Connection) -> Seen:
            user = connection.scalar(text("SELECT current_user::text"))
            echo = connection.scalar(text("SELECT CAST(:words AS text)"), {"words": QUOTED})
            error = ""
            try:
                connection.scalar(text("SELECT 1 / 0"))
            except DBAPIError as failure:
                error = str(getattr(failure.orig, "sqlstate", ""))
            connection.rollback()
            return Seen(str(user), str(echo), error, connection.scalar(text("SELECT 42")) or 0)

        return self.call(where, run)

    def prepared(self, where: Where) -> list[int]:
        def run(connection: Connection) -> list[int]:
            doubled = text("SELECT CAST(:n AS int) * 2")
            return [connection.scalar(doubled, {"n": n}) or 0 for n in range(5)]

        return self.call(where, run)

    def large(self, where: Where, size: int) -> tuple[int, int]:
        def run(connection: Connection) -> tuple[int, int]:
            came = connection.scalar(text("SELECT repeat('x', :size)"), {"size": size}) or ""
            return len(came), connection.scalar(text("SELECT length(CAST(:came AS text))"), {"came": came}) or 0

        return self.call(where, run)

    def pipeline(self, where: Where, count: int) -> int:
        def run(connection: Connection) -> int:
            COUNTED.create(connection)
            connection.execute(COUNTED.insert(), [{"n": n} for n in range(count)])
            return connection.scalar(text("SELECT count(DISTINCT n) FROM counted")) or 0

        return self.call(where, run)

    def call(self, where: Where, run: Callable[[Connection], T]) -> T:
        """Run something on a connection of the pool, after the pool has seen one used and returned."""
        engine = sqlalchemy.create_engine(
            URL.create("postgresql+psycopg", where.user, where.password, where.host, where.port, where.database),
            connect_args={key: found for key, found in where.libpq().items() if key.startswith("ssl")},
            pool_pre_ping=True,
        )
        try:
            with engine.connect() as connection:
                connection.exec_driver_sql("SELECT 1")
            with engine.connect() as connection:
                return run(connection)
        finally:
            engine.dispose()


class AsyncAlchemy(Alchemy):
    """On asyncio."""

    def call(self, where: Where, run: Callable[[Connection], T]) -> T:
        async def main() -> T:
            engine = create_async_engine(
                URL.create("postgresql+asyncpg", where.user, where.password, where.host, where.port, where.database),
                connect_args={"ssl": context(where) or False},
                pool_pre_ping=True,
            )
            try:
                async with engine.connect() as connection:
                    await connection.exec_driver_sql("SELECT 1")
                async with engine.connect() as connection:
                    return await connection.run_sync(run)
            finally:
                await engine.dispose()

        work: Coroutine[Any, Any, T] = main()
        return asyncio.run(work)
