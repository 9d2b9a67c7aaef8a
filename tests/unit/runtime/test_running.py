"""The swap of one world for another under what runs. Sessions under load and at boundaries are in tests/scenario."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from ambassador.config.load import load_data
from ambassador.credentials.store import Store
from ambassador.demo.servers import free_port
from ambassador.errors import ConfigError
from ambassador.kit.clock import SYSTEM
from ambassador.kit.latch import Latches
from ambassador.protocols.tcp import Tcp
from ambassador.runtime.running import Running
from ambassador.runtime.world import Commons, World, build
from ambassador.telemetry.metrics import Metrics
from tests.support.fake_sentinel import FakeSentinel
from tests.support.house import until
from tests.support.threaded import ThreadedServer, echo


class Stage:
    """A `Running` and what it needs; `show` puts a configuration into force."""

    def __init__(self, directory: Path, server: ThreadedServer) -> None:
        self.directory = directory
        self.port = server.port
        self.commons = Commons(SYSTEM, Metrics(), Store(SYSTEM))
        self.latches = Latches()
        self.running = Running(self.commons, self.latches, SYSTEM)

    def world(self, listeners: dict[str, str], **more: Any) -> World:
        """Listeners by name, each at the unix socket named."""
        data: dict[str, Any] = {
            "drain": {"timeout": "200ms"},
            "upstreams": {"echo": {"endpoints": [f"127.0.0.1:{self.port}"]}},
            "listeners": {
                name: {"listen": f"unix:{self.directory}/{place}", "tcp": {"upstream": "echo"}}
                for name, place in listeners.items()
            },
        }
        return build(self.commons, load_data(data | more).config, self.commons.current)

    async def show(self, listeners: dict[str, str], **more: Any) -> None:
        """Swap."""
        await self.running.swap(self.world(listeners, **more))

    async def session(self, place: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A client that has been answered once."""
        reader, writer = await asyncio.open_unix_connection(self.directory / place)
        writer.write(b"x")
        assert await reader.readexactly(1) == b"x"
        return reader, writer


@pytest.fixture
def server() -> Iterator[ThreadedServer]:
    with ThreadedServer(echo) as running:
        yield running


@pytest.fixture
async def stage(tmp_path: Path, server: ThreadedServer) -> AsyncIterator[Stage]:
    stage = Stage(tmp_path, server)
    yield stage
    for listener in stage.running.everyone:
        listener.cut()
    await stage.running.stop()


async def test_a_session_of_a_listener_that_stays_goes_on(stage: Stage) -> None:
    await stage.show({"a": "one"})
    reader, writer = await stage.session("one")
    await stage.show({"a": "one", "b": "two"})
    writer.write(b"y")
    assert await reader.readexactly(1) == b"y"
    writer.close()


async def test_an_address_passes_from_one_listener_to_another_without_being_bound_anew(stage: Stage) -> None:
    await stage.show({"a": "one", "b": "two"})
    before = (stage.directory / "one").stat().st_ino
    await stage.show({"a": "two", "b": "one"})
    assert (stage.directory / "one").stat().st_ino == before
    _, writer = await stage.session("one")
    assert len(stage.running.listeners["b"].sessions) == 1
    writer.close()


async def test_a_listener_that_is_taken_out_is_drained_and_then_cut(stage: Stage) -> None:
    await stage.show({"a": "one", "b": "two"})
    reader, writer = await stage.session("two")
    await stage.show({"a": "one"})
    assert not (stage.directory / "two").exists()
    assert [listener.plan.name for listener in stage.running.retired] == ["b"]
    assert await reader.read() == b""  # a tcp session has no safe point but its end, so that the deadline ends it
    await until("the listener to be gone", lambda: not stage.running.retired)
    writer.close()


async def test_sessions_at_an_endpoint_that_was_taken_out_leave(stage: Stage) -> None:
    await stage.show({"a": "one"})
    reader, writer = await stage.session("one")
    await stage.show({"a": "one"}, upstreams={"echo": {"endpoints": ["127.0.0.1:1"]}})
    async with asyncio.timeout(5):
        assert await reader.read() == b""
    writer.close()


async def test_what_cannot_be_bound_changes_nothing(stage: Stage) -> None:
    await stage.show({"a": "one"})
    in_force = stage.commons.current
    with pytest.raises(ConfigError, match="missing"):
        await stage.show({"a": "one", "b": "fresh", "c": "missing/three"})
    assert stage.commons.current is in_force
    assert not (stage.directory / "fresh").exists()
    _, writer = await stage.session("one")
    writer.close()


async def test_a_credential_that_is_named_no_more_is_forgotten(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAME", "orders")
    monkeypatch.setenv("WORD", "a password of nobody")
    named = {"db": {"env": {"username": "NAME", "password": "WORD"}}}
    upstreams = {"echo": {"endpoints": [f"127.0.0.1:{stage.port}"], "tls": {"credential": "db"}}}
    await stage.show({"a": "one"}, credentials=named, upstreams=upstreams)
    assert list(stage.latches.held) == ["credential db"]
    await until("a first value", lambda: stage.commons.store.current("db") is not None)
    assert not stage.latches.held
    await stage.show({"a": "one"})
    assert stage.commons.store.current("db") is None
    assert not stage.latches.held


async def test_a_drain_waits_for_sessions_and_says_how_many_it_cut(stage: Stage) -> None:
    await stage.show({"a": "one"})
    reader, writer = await stage.session("one")
    draining = asyncio.create_task(stage.running.drain(0.2, asyncio.Event()))
    assert await reader.read() == b""
    writer.close()
    assert await draining == 1


async def test_of_a_drain_s_time_some_is_kept_for_what_vaults_have_granted(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stage.show({"a": "one"})
    assert stage.running.kept_back(60.0) == 0.0
    monkeypatch.setenv("TOKEN", "s.token")
    vaults = {"main": {"address": "http://127.0.0.1:1", "auth": {"token": {"env": "TOKEN"}}}}
    await stage.show({"a": "one"}, vaults=vaults)
    assert [stage.running.kept_back(timeout) for timeout in (60.0, 8.0, 2.0, 0.0)] == [2.0, 2.0, 0.5, 0.0]


async def test_a_hurried_drain_does_not_wait(stage: Stage) -> None:
    await stage.show({"a": "one"})
    _, writer = await stage.session("one")
    hurry = asyncio.Event()
    hurry.set()
    async with asyncio.timeout(5):
        assert await stage.running.drain(3600, hurry) == 1
    writer.close()


async def test_a_drain_of_nobody_ends_at_once(stage: Stage) -> None:
    await stage.show({"a": "one"})
    async with asyncio.timeout(5):
        assert await stage.running.drain(3600, asyncio.Event()) == 0


async def test_an_address_that_this_daemon_itself_holds_is_refused_in_words_that_say_so(stage: Stage) -> None:
    port = free_port()

    def world(host: str) -> World:
        access = {"trust": {}, "allow_remote_trust": True}
        listener = {"listen": f"{host}:{port}", "tcp": {"upstream": "echo"}, "access": access}
        data = {"upstreams": {"echo": {"endpoints": ["127.0.0.1:1"]}}, "listeners": {"echo": listener}}
        return build(stage.commons, load_data(data).config, stage.commons.current)

    await stage.running.swap(world("127.0.0.1"))
    with pytest.raises(ConfigError, match=f"this daemon listens at 127.0.0.1:{port} until the change is made"):
        await stage.running.swap(world("0.0.0.0"))


async def test_an_upstream_whose_endpoints_change_tells_those_who_are_just_being_logged_in_there(stage: Stage) -> None:
    await stage.show({"a": "a"})
    assert stage.commons.current is not None
    before = stage.commons.current.upstreams["echo"]
    await stage.show({"a": "a"}, upstreams={"echo": {"endpoints": [f"localhost:{stage.port}"]}})
    assert [str(endpoint) for endpoint in before.endpoints] == [f"localhost:{stage.port}"]


async def test_sessions_leave_an_endpoint_that_discovery_takes_back(stage: Stage) -> None:
    async with FakeSentinel("a", f"127.0.0.1:{stage.port}") as sentinel:
        upstreams = {"echo": {"discovery": {"sentinel": {"master": "cache", "endpoints": sentinel.address}}}}
        await stage.show({"a": "one"}, upstreams=upstreams)
        assert list(stage.latches.held) == ["endpoints echo"]
        await until("the endpoint to be known", lambda: not stage.latches.held)
        reader, writer = await stage.session("one")
        await until("the sentinel to be listened to", lambda: sentinel.listeners == 1)
        sentinel.switch("127.0.0.1:1")
        async with asyncio.timeout(5):
            assert await reader.read() == b""
        writer.close()
        await stage.show({"a": "one"})
        await until("the sentinel to be left", lambda: sentinel.connections == 0)


async def test_what_protocols_share_is_let_go_at_the_end(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped: list[object] = []

    async def stop_shared(shared: object) -> None:
        stopped.append(shared)

    await stage.show({"a": "one"})
    monkeypatch.setattr(Tcp, "stop_shared", stop_shared)
    before = dict(stage.commons.shared)
    await stage.running.stop()
    assert stopped == [before["tcp"]]
