"""asyncpg: every statement is prepared, every value binary."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import asyncpg

from tests.e2e.drivers.base import CHANNEL, PAYLOAD, QUOTED, SLEEP, Driver, Seen, pieces
from tests.e2e.where import Where

T = TypeVar("T")


class Asyncpg(Driver):
    """On asyncio.

    Args:
        direct: begin TLS without asking first.
    """

    def __init__(self, name: str, *, direct: bool = False) -> None:
        super().__init__(name)
        self._direct = direct

    def query(self, where: Where) -> Seen:
        async def run(connection: Any) -> Seen:
            user = await connection.fetchval("SELECT current_user::text")
            echo = await connection.fetchval("SELECT $1::text", QUOTED)
            error = ""
            try:
                await connection.fetchval("SELECT 1 / 0")
            except asyncpg.PostgresError as failure:
                error = failure.sqlstate
            return Seen(user, echo, error, await connection.fetchval("SELECT 42"))

        return self._with(where, run)

    def prepared(self, where: Where) -> list[int]:
        async def run(connection: Any) -> list[int]:
            statement = await connection.prepare("SELECT $1::int * 2")
            return [await statement.fetchval(n) for n in range(5)]

        return self._with(where, run)

    def copy(self, where: Where, source: Path, target: Path) -> None:
        async def run(connection: Any) -> None:
            await connection.execute("CREATE TEMP TABLE copied (id int, line text)")
            await connection.copy_to_table("copied", source=_async_pieces(source))
            await connection.copy_from_query("SELECT * FROM copied", output=target)

        self._with(where, run)

    def notify(self, where: Where) -> str:
        async def run(connection: Any) -> str:
            told: asyncio.Future[str] = asyncio.get_running_loop().create_future()
            await connection.add_listener(CHANNEL, lambda *words: told.set_result(words[3]))
            await connection.execute(f"NOTIFY {CHANNEL}, '{PAYLOAD}'")
            payload = await asyncio.wait_for(told, 5)
            await connection.reset()
            return payload

        return self._with(where, run)

    def cancel(self, where: Where, asleep: Callable[[], None]) -> list[str]:
        async def run(connection: Any) -> list[str]:
            found = []
            async with asyncio.TaskGroup() as group:
                task = group.create_task(connection.fetchval(SLEEP))
                await asyncio.to_thread(asleep)
                task.cancel()
            found.append("57014" if task.cancelled() else "")
            # The server's own word on it: asyncpg waits for the cancel before it lets the next statement go.
            assert await connection.fetchval("SELECT 42") == 42
            try:
                await connection.fetchval(SLEEP, timeout=0.5)
            except TimeoutError:
                found.append("57014")
            assert await connection.fetchval("SELECT 42") == 42
            return found

        return self._with(where, run)

    def large(self, where: Where, size: int) -> tuple[int, int]:
        async def run(connection: Any) -> tuple[int, int]:
            came = await connection.fetchval("SELECT repeat('x', $1)", size)
            return len(came), await connection.fetchval("SELECT length($1::text)", came)

        return self._with(where, run)

    def pipeline(self, where: Where, count: int) -> int:
        async def run(connection: Any) -> int:
            await connection.execute("CREATE TEMP TABLE counted (n int)")
            await connection.executemany("INSERT INTO counted VALUES ($1)", [(n,) for n in range(count)])
            return int(await connection.fetchval("SELECT count(DISTINCT n) FROM counted"))

        return self._with(where, run)

    def _with(self, where: Where, run: Callable[[Any], Coroutine[Any, Any, T]]) -> T:
        async def main() -> T:
            tls = context(where)
            if self._direct and tls is not None:
                tls.set_alpn_protocols(["postgresql"])  # asyncpg leaves that to its users
            connection = await asyncpg.connect(
                host=where.host,
                port=where.port,
                user=where.user,
                password=where.password,
                database=where.database,
                ssl=tls or False,
                direct_tls=self._direct and tls is not None,
                timeout=10,
            )
            try:
                return await run(connection)
            finally:
                await connection.close()

        return asyncio.run(main())


def context(where: Where) -> ssl.SSLContext | None:
    """A client's TLS context for `where`; None where TLS is not spoken."""
    if where.ca is None:
        return None
    found = ssl.create_default_context(cafile=where.ca)
    if where.pair is not None:
        found.load_cert_chain(where.pair.cert, where.pair.key)
    return found


async def _async_pieces(path: Path) -> AsyncIterator[bytes]:
    for piece in pieces(path):
        yield piece
