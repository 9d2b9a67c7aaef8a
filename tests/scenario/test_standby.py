"""Which of a real primary and its real hot standby serves, before and after the standby is promoted."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator

import pytest

from tests.support.house import House
from tests.support.pgclient import PgClient
from tests.support.postgres import PostgresServer, Role, distribution, new_role
from tests.support.standby import PRIMARY, StandbyServer

pytestmark = pytest.mark.timeout(90)

WISHES = ("any", "read-write", "read-only", "primary", "standby", "prefer-standby")


@pytest.fixture
def pair() -> Iterator[tuple[PostgresServer, PostgresServer, Role]]:
    """A primary, its standby, and a login."""
    with PostgresServer(distribution(17), settings=PRIMARY) as primary:
        role = new_role(primary, more="REPLICATION")
        with StandbyServer(primary, role) as standby:
            yield primary, standby, role


def configuration(role: Role, *servers: PostgresServer) -> str:
    """A listener at a unix socket for each wish; the servers in this order."""
    places = ", ".join(f'"{server.host}:{server.port}"' for server in servers)
    upstreams = "".join(
        f"  {wish}: {{endpoints: [{places}], credential: db, tls: {{mode: disable}},"
        f" postgres: {{target_session_attrs: {wish}}}}}\n"
        for wish in WISHES
    )
    listeners = "".join(f"  {wish}: {{listen: 'unix:DIR/{wish}', postgres: {{upstream: {wish}}}}}\n" for wish in WISHES)
    credential = "{env: {username: STANDBY_USER, password: STANDBY_PASSWORD}}"
    return f"credentials:\n  db: {credential}\nupstreams:\n{upstreams}listeners:\n{listeners}"


async def in_recovery(house: House, wish: str) -> bool:
    async with PgClient(f"unix:{house.directory}/{wish}") as client:
        await client.log_in(database="postgres")
        result = await client.query("SELECT pg_is_in_recovery()")
        return result.rows == ["t"]


async def serving(house: House) -> dict[str, str]:
    """Who serves each wish."""
    return {wish: "standby" if await in_recovery(house, wish) else "primary" for wish in WISHES}


async def test_each_wish_finds_its_server_and_follows_a_promotion(
    pair: tuple[PostgresServer, PostgresServer, Role], monkeypatch: pytest.MonkeyPatch
) -> None:
    primary, standby, role = pair
    monkeypatch.setenv("STANDBY_USER", role.name)
    monkeypatch.setenv("STANDBY_PASSWORD", role.password)
    fixed = {"read-write": "primary", "primary": "primary", "read-only": "standby", "standby": "standby"}
    async with House(configuration(role, standby, primary)) as house:
        assert await serving(house) == {**fixed, "any": "standby", "prefer-standby": "standby"}
    async with House(configuration(role, primary, standby)) as house:
        assert await serving(house) == {**fixed, "any": "primary", "prefer-standby": "standby"}
        await asyncio.to_thread(primary.stop, how=signal.SIGQUIT)
        assert await in_recovery(house, "any"), "the standby serves reads while there is no primary"
        await asyncio.to_thread(standby.psql, "SELECT pg_promote()")
        assert not await in_recovery(house, "read-write")
        assert not await in_recovery(house, "prefer-standby")
