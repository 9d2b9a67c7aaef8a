"""The daemon in the test's own process: it starts, is watched, and ends, whatever happens."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from ambassador.errors import ConfigError
from ambassador.runtime.daemon import State
from ambassador.telemetry import logs
from tests.support import secrets
from tests.support.fake_postgres import FakePostgres
from tests.support.house import House, until
from tests.support.pgclient import PgClient
from tests.support.secrets import canary
from tests.support.threaded import ThreadedServer, echo

_log = logs.logger(__name__)


def config(server: FakePostgres | ThreadedServer, kind: str = "postgres") -> str:
    return f"""
upstreams: {{behind: {{endpoints: '{server.address}'}}}}
listeners: {{front: {{listen: 'unix:DIR/front', {kind}: {{upstream: behind}}}}}}
"""


async def test_it_serves_and_is_gone_afterwards() -> None:
    with FakePostgres() as server:
        async with House(config(server)) as house, PgClient(f"unix:{house.directory}/front") as client:
            await client.log_in()
            assert (await client.query("select 1")).rows == ["1"]
            assert house.status()["sessions"][0]["listener"] == "front"
        assert house.daemon.state is State.STOPPED
        assert not house.directory.exists()
        assert 'ambassador_downstream_connections_total{listener="front"' in house.metrics()


async def test_its_log_is_told_by_event_and_fields() -> None:
    with FakePostgres() as server:
        async with House(config(server)) as house:
            async with PgClient(f"unix:{house.directory}/front") as client:
                await client.log_in()
            await until("the session to end", lambda: bool(house.ends()))
            assert house.lines("session ended", listener="front") == house.ends()
            assert house.lines("session ended", listener="back") == []
            assert len(house.lines()) > len(house.ends())


async def test_a_configuration_is_replaced_and_applied() -> None:
    with ThreadedServer(echo) as server:
        async with House(config(server, "tcp")) as house:
            assert (await house.reload(config(server, "tcp").replace("front", "other"))).applied
            assert list(house.daemon.running.listeners) == ["other"]
            assert not (await house.reload("listeners: 5")).applied


async def test_a_configuration_that_cannot_be_is_told_and_nothing_is_left() -> None:
    house = House("listeners: 5")
    with pytest.raises(ConfigError):
        async with house:
            raise AssertionError("it cannot have started")
    assert not house.directory.exists()


async def test_it_may_be_entered_before_it_is_ready(tmp_path: Path) -> None:
    waiting = f"""
credentials: {{missing: {{file: {{path: {tmp_path}/nothing}}}}}}
upstreams: {{behind: {{endpoints: '127.0.0.1:1', credential: missing}}}}
listeners: {{front: {{listen: 'unix:DIR/front', postgres: {{upstream: behind}}}}}}
"""
    async with House(waiting, ready=False) as house:
        assert house.daemon.held() == ("credential missing",)


async def test_a_secret_that_was_told_fails_the_test() -> None:
    secret = canary()
    with ThreadedServer(echo) as server, pytest.raises(AssertionError, match="a secret of this test was told"):
        async with House(config(server, "tcp")):
            _log.info("a slip", error=secret)
    secrets.MINTED.discard(secret)


async def test_a_fault_of_the_program_fails_the_test() -> None:
    with ThreadedServer(echo) as server, pytest.raises(AssertionError, match="task failed"):
        async with House(config(server, "tcp")):
            _log.error("task failed", task="one")


async def test_a_fault_that_the_test_is_about_does_not() -> None:
    with ThreadedServer(echo) as server:
        async with House(config(server, "tcp"), faults=True) as house:
            _log.error("task failed", task="one")
        assert house.lines("task failed")


async def test_what_a_failing_test_raises_comes_out_with_what_the_daemon_said() -> None:
    with ThreadedServer(echo) as server, pytest.raises(ZeroDivisionError) as caught:
        async with House(config(server, "tcp")):
            raise ZeroDivisionError
    assert any("the daemon said" in note for note in caught.value.__notes__)


async def test_waiting_ends_with_a_failure_that_names_what_was_waited_for() -> None:
    with pytest.raises(AssertionError, match="a miracle"):
        await until("a miracle", lambda: False, timeout=0.02)
    happened = asyncio.Event()
    asyncio.get_running_loop().call_soon(happened.set)
    await until("it to happen", happened.is_set)
