"""Clients that stay, longer than what they were logged in with lasts, and know where they were told to go."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import threading
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

from ambassador.wire.postgres import messages
from tests.e2e.where import Where
from tests.support.pgclient import PgClient
from tests.support.postgres import PostgresServer

TOLD_TO_GO = "57P01"


class Told(Exception):
    """The session has ended as it should: with the right words, at a place where nothing is lost."""


class Table:
    """A table that every role may fill, whoever owns it."""

    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        self.name = f"kept_{secrets.token_hex(4)}"
        server.psql(f"CREATE TABLE {self.name} (kind text); GRANT ALL ON {self.name} TO PUBLIC")

    def rows(self, kind: str) -> int:
        """How many there are."""
        return int(self._server.psql(f"SELECT count(*) FROM {self.name} WHERE kind = '{kind}'"))

    def drop(self) -> None:
        """Remove it."""
        self._server.psql(f"DROP TABLE {self.name}")


class Stayers:
    """One client that rests, one that works without transactions, and one that works with them; a context manager.

    Each comes back when it is told to go, and fails the test if it hears anything else, or hears it within a
    transaction.

    Attributes:
        told: how often each was.
        done: how many rows each knows to be in the table.
    """

    def __init__(self, where: Where, server: PostgresServer) -> None:
        self.told = {"rest": 0, "work": 0, "transact": 0}
        self.done = {"work": 0, "transact": 0}
        self._where = where
        self._table = Table(server)
        self._stopping = False
        self._errors: list[BaseException] = []
        self._thread = threading.Thread(target=self._run, name="stayers")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping = True
        self._thread.join()
        found = {kind: self._table.rows(kind) for kind in self.done}
        self._table.drop()
        if error is None:
            for failure in self._errors:
                raise failure
            assert found == self.done, f"in the table are {found}, and {self.done} were told to be"

    def _run(self) -> None:
        try:
            asyncio.run(self._live())
        except BaseException as error:  # noqa: BLE001 - raised where the test hears of it
            self._errors.append(error)

    async def _live(self) -> None:
        async with asyncio.TaskGroup() as group:
            for kind, act in (("rest", self._rest), ("work", self._work), ("transact", self._transact)):
                group.create_task(self._come_and_go(kind, act))

    async def _come_and_go(self, kind: str, act: Callable[[PgClient], Awaitable[None]]) -> None:
        while not self._stopping:
            async with PgClient(f"{self._where.host}:{self._where.port}") as client:
                await client.log_in(self._where.user, database=self._where.database)
                try:
                    await act(client)
                except Told:
                    assert await client.rest() == b"", "something follows the last words"
                    self.told[kind] += 1

    async def _rest(self, client: PgClient) -> None:
        """Ask once, then only listen."""
        assert await _ask(client, messages.query("SELECT 42")) == (["SELECT 1"], b"I")
        while not self._stopping:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.1):
                    _heed(await client.message())

    async def _work(self, client: PgClient) -> None:
        """Each statement by itself, by the extended protocol."""
        while not self._stopping:
            assert await _ask(client, _extended(self._fill("work"))) == (["INSERT 0 1"], b"I")
            self.done["work"] += 1

    async def _transact(self, client: PgClient) -> None:
        while not self._stopping:
            assert await _ask(client, messages.query("BEGIN")) == (["BEGIN"], b"T")
            try:
                for _ in range(3):
                    assert await _ask(client, messages.query(self._fill("transact"))) == (["INSERT 0 1"], b"T")
                    await _ask(client, messages.query("SELECT pg_sleep(0.05)"))
                assert await _ask(client, messages.query("COMMIT")) == (["COMMIT"], b"I")
            except Told as told:
                raise AssertionError("told to go within a transaction") from told
            self.done["transact"] += 3

    def _fill(self, kind: str) -> str:
        return f"INSERT INTO {self._table.name} VALUES ('{kind}')"


async def _ask(client: PgClient, words: bytes) -> tuple[list[str], bytes]:
    """The tags of what was done, and the status behind it.

    Raises:
        Told: the answer is the session's end.
    """
    client.send(words)
    tags = []
    while True:
        tag, payload = await client.message()
        _heed((tag, payload))
        if tag == b"C":
            tags.append(payload[:-1].decode())
        elif tag == b"Z":
            return tags, payload


def _heed(message: tuple[bytes, bytes]) -> None:
    tag, payload = message
    if tag == b"E":
        code = messages.parse_error(payload).code
        assert code == TOLD_TO_GO, code
        raise Told


def _extended(sql: str) -> bytes:
    """Parse, Bind, Execute, Sync."""
    parse = messages.message(b"P", b"\0" + sql.encode() + b"\0\0\0")
    return parse + messages.message(b"B", b"\0" * 8) + messages.message(b"E", b"\0" * 5) + messages.SYNC
