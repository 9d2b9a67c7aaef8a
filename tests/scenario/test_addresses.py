"""Where clients come in and where servers are: every kind of address, and names in every encoding."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ambassador.wire.postgres import messages
from tests.scenario.plan import Plan
from tests.support.fake_postgres import FakePostgres
from tests.support.house import House, until
from tests.support.pgclient import PgClient


@pytest.fixture
def ipv6_port() -> int:
    """A port of ::1 that was free a moment ago."""
    with socket.socket(socket.AF_INET6) as probe:
        probe.bind(("::1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def short() -> Iterator[Path]:
    """A directory whose name leaves room for a socket's."""
    with tempfile.TemporaryDirectory(prefix="s-", dir="/tmp") as name:
        yield Path(name)


async def test_one_listener_takes_clients_at_all_its_addresses(plan: Plan, ipv6_port: int) -> None:
    listen = [plan.at, f"[::1]:{ipv6_port}", "unix:DIR/front"]
    with FakePostgres() as server:
        async with House(plan.text(server, listener={"listen": listen})) as house:
            for place in listen:
                async with PgClient(place.replace("DIR", str(house.directory))) as client:
                    await client.log_in()
                    assert (await client.query("select 1")).rows == ["1"]
            await until("the sessions to end", lambda: len(house.ends()) == len(listen))
            clients = [line["client"] for line in house.ends()]
            assert [client.rpartition(":")[0] for client in clients] == ["127.0.0.1", "[::1]", "unix"]


async def test_an_upstream_may_be_a_unix_socket_and_a_password_may_be_said_aloud_there(plan: Plan, short: Path) -> None:
    password = plan.secret("db")
    with FakePostgres(unix=short / "s").user("orders_rw", password, "cleartext") as server:
        async with House(plan.text(server)) as house, PgClient(plan.at) as client:
            await client.log_in()
            assert (await client.query("select current_user")).rows == ["orders_rw"]
            (session,) = house.status()["sessions"]
            assert session["endpoint"] == f"unix:{short / 's'}"
            assert f'endpoint="unix:{short / "s"}"' in house.metrics()


async def test_a_name_of_this_machine_is_resolved(plan: Plan) -> None:
    with FakePostgres() as server:
        async with House(plan.text(f"localhost:{server.port}")) as house, PgClient(plan.at) as client:
            await client.log_in()
            assert house.status()["sessions"][0]["endpoint"] == f"localhost:{server.port}"


async def test_a_name_that_nobody_knows_is_the_upstream_s_fault_and_not_told(plan: Plan) -> None:
    async with House(plan.text("no-such-host.invalid:5432")) as house, PgClient(plan.at) as client:
        client.start()
        error = await client.last_words()
        assert error is not None
        assert error.code == "08001"
        assert "invalid" not in error.message
        await until("the session to end", lambda: bool(house.ends()))
        assert "no-such-host.invalid" in house.ends()[0]["error"]


@pytest.mark.parametrize("user", ["b\udcfcro", "an\nother\t", '"quoted" \\', "名前", "x" * 9000])
async def test_names_pass_in_whatever_encoding_and_are_shown_safely(plan: Plan, user: str) -> None:
    with FakePostgres() as server:
        async with House(plan.text(server)) as house, PgClient(plan.at) as client:
            await client.log_in(user, database="d\udcfe")
            assert (server.logins[0].user, server.logins[0].database) == (user, "d\udcfe")
            house.look()
            client.send(messages.TERMINATE)
            await client.rest()
            await until("the session to end", lambda: bool(house.ends()))
            assert len(house.lines()) == len(house.said.splitlines())
