"""Several endpoints: which one serves, and when the next is tried."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from ambassador.wire.postgres import messages
from tests.scenario.plan import Plan, place
from tests.support.clock import ManualClock
from tests.support.fake_postgres import FakePostgres
from tests.support.house import House, until
from tests.support.pgclient import PgClient

NAME = "fake.name"


@pytest.fixture
def three() -> Iterator[dict[str, FakePostgres]]:
    """A primary, a primary that only reads, and a hot standby."""
    with ExitStack() as stack:
        yield {
            "standby": stack.enter_context(FakePostgres().standby().setting(NAME, "standby")),
            "reader": stack.enter_context(FakePostgres().read_only().setting(NAME, "reader")),
            "primary": stack.enter_context(FakePostgres().setting(NAME, "primary")),
        }


def wishing(attributes: str) -> dict[str, Any]:
    return {"postgres": {"target_session_attrs": attributes}}


async def who_serves(plan: Plan) -> str:
    async with PgClient(plan.at) as client:
        await client.log_in()
        return client.settings[NAME]


async def refusal(plan: Plan) -> messages.ErrorFields:
    async with PgClient(plan.at) as client:
        client.start()
        error = await client.last_words()
        assert error is not None
        return error


@pytest.mark.parametrize(
    ("attributes", "order", "serves"),
    [
        ("any", "standby reader primary", "standby"),
        ("any", "primary standby", "primary"),
        ("read-write", "standby reader primary", "primary"),
        ("read-only", "primary standby", "standby"),
        ("read-only", "primary reader", "reader"),
        ("primary", "standby reader primary", "reader"),
        ("standby", "primary reader standby", "standby"),
        ("prefer-standby", "primary standby", "standby"),
        ("prefer-standby", "primary reader", "primary"),
    ],
)
async def test_the_first_server_of_the_wanted_kind_serves(
    plan: Plan, three: dict[str, FakePostgres], attributes: str, order: str, serves: str
) -> None:
    servers = [three[name] for name in order.split()]
    async with House(plan.text(*servers, upstream=wishing(attributes))):
        assert await who_serves(plan) == serves


@pytest.mark.parametrize(
    ("attributes", "order"),
    [("read-write", "standby reader"), ("read-only", "primary"), ("primary", "standby"), ("standby", "primary reader")],
)
async def test_when_no_server_is_of_the_wanted_kind_nobody_is_let_in(
    plan: Plan, three: dict[str, FakePostgres], attributes: str, order: str
) -> None:
    servers = [three[name] for name in order.split()]
    async with House(plan.text(*servers, upstream=wishing(attributes))) as house:
        assert (await refusal(plan)).code == "08001"
        await until("the session to end", lambda: bool(house.ends()))
        (end,) = house.ends()
        assert end["reason"] == "wrong_role"
        assert all(server.address in end["error"] for server in servers)


async def test_a_server_of_the_wrong_kind_is_healthy_all_the_same(plan: Plan, three: dict[str, FakePostgres]) -> None:
    async with House(plan.text(three["standby"], three["primary"], upstream=wishing("primary"))) as house:
        assert await who_serves(plan) == "primary"
        endpoints = house.status()["upstreams"][0]["endpoints"]
        assert [one["healthy"] for one in endpoints] == [True, True]


async def test_a_server_that_does_not_tell_its_role_is_not_taken_for_a_primary(plan: Plan) -> None:
    with FakePostgres().setting("in_hot_standby", None) as old:
        async with House(plan.text(old, upstream=wishing("primary"))) as house:
            assert (await refusal(plan)).code == "0A000"
            assert "PostgreSQL 14" in house.ends()[0]["error"]


async def test_after_a_switchover_the_next_session_goes_to_the_new_primary(
    plan: Plan, three: dict[str, FakePostgres]
) -> None:
    old, new = three["primary"], three["standby"]
    async with House(plan.text(old, new, upstream=wishing("read-write"))):
        assert await who_serves(plan) == "primary"
        old.standby()
        new.setting("in_hot_standby", "off")
        assert await who_serves(plan) == "standby"


# ---- servers that do not answer


FAULTS: dict[str, Any] = {
    "refuses connections": FakePostgres.refuse_connections,
    "closes": lambda server: server.close_at("connect"),
    "resets": lambda server: server.reset_at("startup"),
    "closes during login": lambda server: server.close_at("settings"),
    "hangs": lambda server: server.hang_at("startup"),
    "starts up": lambda server: server.refuse("57P03", at="startup"),
    "is full": lambda server: server.refuse("53300", at="startup"),
    "talks nonsense": lambda server: server.say_at("startup", b"HTTP/1.1 400 Bad Request\r\n\r\n", "close"),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
async def test_the_next_endpoint_is_tried_when_one(plan: Plan, fault: Any) -> None:
    with FakePostgres() as bad, FakePostgres().setting(NAME, "good") as good:
        fault(bad)
        async with House(plan.text(bad, good, upstream={"login_timeout": "1s"})):
            assert await who_serves(plan) == "good"


async def test_an_address_where_nobody_listens_is_passed_over(plan: Plan) -> None:
    with FakePostgres().setting(NAME, "good") as good:
        async with House(plan.text(place(), good)):
            assert await who_serves(plan) == "good"


async def test_a_refused_login_is_not_taken_elsewhere(plan: Plan) -> None:
    """The credential is wrong, and would be there too: repeating it everywhere may lock the account."""
    plan.secret("db")
    with FakePostgres().user("orders_rw", b"another") as first, FakePostgres() as second:
        async with House(plan.text(first, second, credential={"refused_wait": "100ms"})):
            assert (await refusal(plan)).code == "08006"
        assert second.accepted == 0


async def test_a_database_that_does_not_exist_is_not_looked_for_elsewhere(plan: Plan) -> None:
    with FakePostgres().database("orders") as first, FakePostgres() as second:
        async with House(plan.text(first, second)):
            assert (await refusal(plan)).code == "3D000"
        assert second.accepted == 0


async def test_an_endpoint_that_failed_again_and_again_is_tried_last_and_then_comes_back(plan: Plan) -> None:
    clock = ManualClock()
    with FakePostgres().setting(NAME, "first") as first, FakePostgres().setting(NAME, "second") as second:
        first.close_at("startup", times=3)
        async with House(plan.text(first, second), clock=clock) as house:
            for _ in range(3):
                assert await who_serves(plan) == "second"
            tried = first.accepted
            assert await who_serves(plan) == "second"
            assert first.accepted == tried, "it was tried although it is ejected"
            assert f'upstream_healthy{{endpoint="{first.address}",upstream="behind"}} 0.0' in house.metrics()
            await clock.advance(60)
            assert await who_serves(plan) == "first"


async def test_at_random_every_endpoint_serves(plan: Plan) -> None:
    with FakePostgres().setting(NAME, "a") as a, FakePostgres().setting(NAME, "b") as b:
        async with House(plan.text(a, b, upstream={"balance": "random"})):
            assert {await who_serves(plan) for _ in range(30)} == {"a", "b"}


async def test_when_all_are_down_the_log_names_each_and_the_client_is_told_none(plan: Plan) -> None:
    with FakePostgres() as first, FakePostgres() as second:
        first.refuse_connections()
        second.refuse_connections()
        async with House(plan.text(first, second)) as house:
            error = await refusal(plan)
            assert error.code == "08001"
            assert "127.0.0.1" not in error.message
            await until("the session to end", lambda: bool(house.ends()))
            assert all(server.address in house.ends()[0]["error"] for server in (first, second))
            assert house.daemon.held() == (), "a database that is down makes no proxy unready"
