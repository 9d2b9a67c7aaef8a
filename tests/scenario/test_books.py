"""However clients and servers behave, the books balance: what was opened was closed, and what was counted up, down."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from ambassador.errors import UpstreamError
from ambassador.wire.postgres import messages
from tests.scenario.plan import Plan
from tests.support.fake_postgres import FakePostgres
from tests.support.house import House, until
from tests.support.pgclient import PgClient

Behaviour = Callable[[PgClient, random.Random], Awaitable[None]]

BIG = 4_000_000


async def says_nothing(client: PgClient, rng: random.Random) -> None:
    client.stream.write_eof()


async def begins_and_vanishes(client: PgClient, rng: random.Random) -> None:
    startup = messages.startup_message({"user": "app", "database": "orders"})
    client.send(startup[: rng.randrange(len(startup))])
    await asyncio.sleep(rng.random() / 50)


async def says_nonsense(client: PgClient, rng: random.Random) -> None:
    client.send(rng.randbytes(rng.randrange(1, 300)))
    client.stream.write_eof()
    await client.rest()


async def asks_for_tls_and_goes(client: PgClient, rng: random.Random) -> None:
    assert await client.ask_for_tls() == b"N"


async def cancels_somebody_else_s(client: PgClient, rng: random.Random) -> None:
    client.send(messages.cancel_request(rng.randrange(1 << 31), rng.randbytes(4)))
    assert await client.rest() == b""


async def works_and_says_goodbye(client: PgClient, rng: random.Random) -> None:
    await client.log_in()
    assert (await client.query("select 1")).rows == ["1"]
    client.send(messages.TERMINATE)
    await client.rest()


async def asks_and_vanishes(client: PgClient, rng: random.Random) -> None:
    await client.log_in()
    client.send(messages.query("begin") + messages.query("select repeat('x', 300000)"))
    await asyncio.sleep(rng.random() / 20)


async def logs_in_and_closes(client: PgClient, rng: random.Random) -> None:
    await client.log_in()
    client.stream.write_eof()
    await client.rest()


async def breaks_the_protocol_later(client: PgClient, rng: random.Random) -> None:
    await client.log_in()
    client.send(b"Q\0\0\0\1")
    await client.rest()


async def makes_the_server_reset(client: PgClient, rng: random.Random) -> None:
    await client.log_in()
    client.send(messages.query("reset"))
    await client.rest()


async def cancels_its_own(client: PgClient, rng: random.Random) -> None:
    await client.log_in()
    client.send(messages.query("select pg_sleep(5)"))
    await asyncio.sleep(0.05)
    await client.cancel()
    assert (await client.result()).code == "57014"


BEHAVIOURS: tuple[Behaviour, ...] = (
    says_nothing,
    begins_and_vanishes,
    says_nonsense,
    asks_for_tls_and_goes,
    cancels_somebody_else_s,
    works_and_says_goodbye,
    asks_and_vanishes,
    logs_in_and_closes,
    breaks_the_protocol_later,
    makes_the_server_reset,
    cancels_its_own,
)


async def behave(at: str, behaviour: Behaviour, rng: random.Random) -> None:
    async with PgClient(at) as client:
        try:
            await behaviour(client, rng)
        except (UpstreamError, EOFError, ConnectionError):
            assert behaviour is not works_and_says_goodbye, "a client that behaves is served"


def gauges(page: str) -> dict[str, float]:
    """The gauges that must be nought when nobody is there."""
    name = r"ambassador_(?:downstream_connections|upstream_connections|credential_connections)\{[^}]*\}"
    return {found[1]: float(found[2]) for found in re.finditer(rf"^({name}) (\S+)$", page, re.MULTILINE)}


@pytest.mark.parametrize("seed", [1, 2])
async def test_a_crowd_of_every_kind_leaves_nothing_behind(plan: Plan, seed: int) -> None:
    rng = random.Random(seed)
    crowd = [behaviour for behaviour in BEHAVIOURS for _ in range(6)]
    rng.shuffle(crowd)
    password = plan.secret("db")
    with FakePostgres().user("orders_rw", password).on("reset", b"", "reset") as server:
        async with House(plan.text(server)) as house:
            front = house.daemon.running.listeners["front"]
            async with asyncio.timeout(20):
                await asyncio.gather(*(behave(plan.at, one, random.Random(rng.random())) for one in crowd))
            await until("the last session to end", lambda: not front.sessions)
            await until("the last server connection to end", lambda: not server.connections)
            found = gauges(house.metrics())
            assert found
            assert not any(found.values()), found
            assert len(front.plan.protocol.shared) == 0, "a cancel key outlived its session"
            assert front.plan.drain.members == 0
            assert front._admitted == 0
            ends = sum(front.plan.metrics.results.values())
            assert ends == len(crowd) + crowd.count(cancels_its_own)
            async with PgClient(plan.at) as client:
                await works_and_says_goodbye(client, rng)


async def test_logins_that_fail_upstream_leave_nothing_behind(plan: Plan) -> None:
    password = plan.secret("db")
    with FakePostgres().user("orders_rw", password) as server:
        async with House(plan.text(server)) as house:
            front = house.daemon.running.listeners["front"]
            for spoil in (server.close_at, server.reset_at):
                for moment in ("connect", "startup", "challenge", "proof", "settings"):
                    spoil(moment, times=3)
                    await asyncio.gather(*(behave(plan.at, logs_in_and_closes, random.Random(1)) for _ in range(3)))
            await until("the last session to end", lambda: not front.sessions)
            assert not any(gauges(house.metrics()).values())
            assert (front._admitted, front.plan.drain.members) == (0, 0)
            async with PgClient(plan.at) as client:
                await works_and_says_goodbye(client, random.Random(1))


async def test_a_client_that_does_not_read_makes_the_server_wait_and_not_the_memory_grow(
    plan: Plan, tmp_path: Path
) -> None:
    row = messages.message(b"D", b"\0\1" + BIG.to_bytes(4) + b"x" * BIG)
    # Unix sockets, because what the kernel keeps of them is little and known.
    with FakePostgres(unix=tmp_path / "s").on("big", row + messages.message(b"C", b"SELECT 1\0")) as server:
        async with (
            House(plan.text(server, listener={"listen": "unix:DIR/front"})) as house,
            PgClient(f"unix:{house.directory}/front") as client,
        ):
            await client.log_in()
            client.stream.pause_reading()
            client.send(messages.query("big"))
            (session,) = house.daemon.running.listeners["front"].sessions
            link = session.link
            assert link is not None
            await until("the answer to begin", lambda: link.bytes_out > 0)
            passed = 0
            while passed != link.bytes_out:
                passed = link.bytes_out
                await asyncio.sleep(0.1)
            assert passed < BIG // 4
            client.stream.resume_reading()
            assert [len(text) for text in (await client.result()).rows] == [BIG]
