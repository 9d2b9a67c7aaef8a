"""The daemon's own life: states, readiness, reload and leaving. What becomes of sessions is in tests/scenario."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path

import pytest

from ambassador.config.load import load, load_text
from ambassador.credentials.credential import Credential
from ambassador.errors import ConfigError
from ambassador.kit.clock import SYSTEM
from ambassador.runtime import daemon as module
from ambassador.runtime.daemon import Daemon, State
from ambassador.runtime.world import build
from ambassador.telemetry import logs
from tests.support.clock import ManualClock
from tests.support.fake_vault import FakeVault
from tests.support.house import House, until
from tests.support.threaded import ThreadedServer, echo

CONFIG = """
drain: {{delay: {delay}, timeout: 5s}}
upstreams: {{echo: {{endpoints: ["127.0.0.1:{port}"]}}}}
listeners: {{echo: {{listen: "unix:DIR/{name}", tcp: {{upstream: echo}}}}}}
"""


@pytest.fixture
def server() -> Iterator[ThreadedServer]:
    with ThreadedServer(echo) as running:
        yield running


def config(server: ThreadedServer, *, delay: str = "0s", name: str = "echo") -> str:
    return CONFIG.format(port=server.port, delay=delay, name=name)


async def answers(house: House, name: str = "echo") -> bool:
    try:
        reader, writer = await asyncio.open_unix_connection(house.directory / name)
    except OSError:
        return False
    writer.write(b"x")
    said = await reader.read(1)
    writer.close()
    return said == b"x"


async def test_it_starts_serves_and_leaves(server: ThreadedServer) -> None:
    async with House(config(server)) as house:
        assert str(house.daemon.state) == "ready"
        assert (house.daemon.held(), house.daemon.started()) == ((), ())
        assert await answers(house)
        house.daemon.drain()
        await house.serving
        assert str(house.daemon.state) == "stopped"
        assert not (house.directory / "echo").exists()


async def test_it_is_not_ready_before_a_needed_credential_has_a_value(server: ThreadedServer, tmp_path: Path) -> None:
    text = f"""
credentials: {{db: {{file: {{path: {tmp_path}}}, poll: 50ms, debounce: 10ms}}}}
upstreams: {{u: {{endpoints: ["127.0.0.1:{server.port}"], credential: db, tls: {{mode: disable}}}}}}
listeners: {{l: {{listen: "unix:DIR/l", postgres: {{upstream: u}}}}}}
"""
    async with House(text, ready=False) as house:
        assert house.daemon.held() == ("credential db",)
        assert house.daemon.started() == ("credential db",)
        (tmp_path / "username").write_text("orders")
        (tmp_path / "password").write_text("a password for nobody")
        await until("the first value", lambda: not house.daemon.held())
        assert house.daemon.started() == ()


async def test_while_it_leaves_it_takes_clients_and_says_that_it_is_not_ready(server: ThreadedServer) -> None:
    async with House(config(server, delay="1h")) as house:
        house.daemon.drain()
        await until("leaving", lambda: house.daemon.state is State.LEAVING)
        assert house.daemon.held() == ("leaving",)
        assert await answers(house)
        house.daemon.drain()  # the second time skips the waiting
        await house.serving


async def test_quit_skips_the_delay(server: ThreadedServer) -> None:
    async with House(config(server, delay="1h")) as house:
        house.daemon.quit()
        async with asyncio.timeout(5):
            await house.serving


async def test_quit_ends_a_delay_that_runs(server: ThreadedServer) -> None:
    async with House(config(server, delay="1h")) as house:
        house.daemon.drain()
        await until("leaving", lambda: house.daemon.state is State.LEAVING)
        house.daemon.quit()
        async with asyncio.timeout(5):
            await house.serving


async def test_a_signal_behind_a_request_cuts_nobody_and_the_second_signal_does(server: ThreadedServer) -> None:
    async with House(config(server)) as house:
        reader, writer = await asyncio.open_unix_connection(house.directory / "echo")
        writer.write(b"x")
        assert await reader.read(1) == b"x"
        house.daemon.drain()
        os.kill(os.getpid(), signal.SIGTERM)
        await until("draining", lambda: house.daemon.state is State.DRAINING)
        writer.write(b"y")
        assert await reader.read(1) == b"y"
        os.kill(os.getpid(), signal.SIGTERM)
        assert await reader.read() == b""
        writer.close()
        await house.serving


async def test_a_fault_of_ours_in_a_reload_changes_nothing_and_is_told(
    server: ThreadedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("a detail")

    async with House(config(server)) as house:
        with monkeypatch.context() as patch:
            patch.setattr(module, "build", broken)
            result = await house.reload(config(server, name="moved"))
        assert (result.applied, result.message) == (False, "a fault in this program; the log has its trace")
        (line,) = house.lines("reload failed")
        assert line["error"] == "ZeroDivisionError: a detail"
        assert await answers(house)
        assert (await house.daemon.reload()).applied


async def test_a_configuration_that_is_not_applied_leaves_no_metrics(server: ThreadedServer) -> None:
    async with House(config(server)) as house:
        (house.directory / "taken").write_text("no socket")
        result = await house.reload(config(server, name="taken").replace("listeners: {echo:", "listeners: {other:"))
        assert not result.applied
        assert 'listener="other"' not in house.metrics()


async def test_a_file_that_changed_before_anybody_watched_it_is_read_again(
    server: ThreadedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(*_: object, **__: object) -> AsyncGenerator[None]:
        await asyncio.Event().wait()
        yield

    started = Daemon.start

    async def late(daemon: Daemon) -> None:
        assert daemon.file is not None
        text = daemon.file.read_text()
        daemon.file.write_text(text.replace("/echo", "/late"))
        await started(daemon)

    monkeypatch.setattr(module, "watch", never)
    monkeypatch.setattr(Daemon, "start", late)
    async with House(config(server)) as house:
        await until("the new address", (house.directory / "late").exists)


async def test_a_reload_is_applied_and_told(server: ThreadedServer) -> None:
    async with House(config(server)) as house:
        result = await house.reload(config(server, name="moved"))
        assert result.applied
        assert await answers(house, "moved")
        assert not await answers(house, "echo")
        assert "ambassador_config_last_reload_successful 1.0" in house.metrics()


async def test_a_faulty_file_changes_nothing_and_every_fault_is_told(server: ThreadedServer) -> None:
    async with House(config(server)) as house:
        result = await house.reload(config(server) + "workers: 2\nnonsense: 1\n")
        assert not result.applied
        assert len(result.faults) == 2
        assert await answers(house)
        assert "ambassador_config_last_reload_successful 0.0" in house.metrics()


async def test_an_address_that_cannot_be_bound_changes_nothing(server: ThreadedServer) -> None:
    async with House(config(server)) as house:
        result = await house.reload(config(server, name="missing/echo"))
        assert (result.applied, len(result.faults)) == (False, 1)
        assert await answers(house)


async def test_a_setting_that_needs_a_restart_is_named(server: ThreadedServer) -> None:
    async with House(config(server)) as house:
        stricter = config(server).replace("tcp:", 'unix: {mode: "0600"}, tcp:')
        assert (await house.reload(stricter)).restart_needed == ("listeners.echo.unix",)


async def test_a_changed_file_is_noticed(server: ThreadedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FILE_DEBOUNCE", 0.01)
    async with House(config(server)) as house:
        house.rewrite(config(server, name="noticed"))
        await until("the new address", (house.directory / "noticed").exists)


async def test_hang_ups_that_come_during_a_reload_cause_one_more(server: ThreadedServer) -> None:
    async with House(config(server)) as house:
        for _ in range(5):
            os.kill(os.getpid(), signal.SIGHUP)
            await asyncio.sleep(0)
        await until("a reload", lambda: bool(house.lines("configuration reloaded")))
        await asyncio.sleep(0.1)
        assert len(house.lines("configuration reloaded")) <= 2


async def test_a_daemon_that_leaves_reloads_no_more(server: ThreadedServer) -> None:
    async with House(config(server, delay="1h")) as house:
        house.daemon.drain()
        await until("leaving", lambda: house.daemon.state is State.LEAVING)
        assert not (await house.daemon.reload()).applied


async def test_without_a_file_there_is_nothing_to_reload(server: ThreadedServer) -> None:
    async with House(config(server)) as house:
        house.daemon.file = None
        assert "without a configuration file" in (await house.daemon.reload()).message


async def test_the_operator_s_log_level_stays_until_the_file_names_another(server: ThreadedServer) -> None:
    async with House(config(server)) as house:
        house.daemon.set_log_level("error")
        await house.reload(config(server, name="moved"))
        assert logs.level() == "error"
        await house.reload(config(server) + "log: {level: warning}\n")
        assert logs.level() == "warning"


async def test_what_cannot_start_leaves_nothing_behind(server: ThreadedServer, tmp_path: Path) -> None:
    file = tmp_path / "ambassador.yaml"
    file.write_text(
        f"admin: {{listen: 'unix:{tmp_path}/missing/admin'}}\n" + config(server).replace("DIR", str(tmp_path))
    )
    with pytest.raises(ConfigError, match="missing/admin"):
        await Daemon(load(file), file, SYSTEM).start()
    assert not (tmp_path / "echo").exists()


def test_no_state_is_entered_but_from_the_one_before(server: ThreadedServer, tmp_path: Path) -> None:
    file = tmp_path / "ambassador.yaml"
    file.write_text(config(server).replace("DIR", str(tmp_path)))
    daemon = Daemon(load(file), file, SYSTEM)
    daemon._enter(State.STOPPED)
    with pytest.raises(AssertionError, match="cannot go from stopped to ready"):
        daemon._enter(State.READY)


LEASED = """
vaults: {{main: {{address: {url}, auth: {{token: {{env: LEASED}}}}}}}}
credentials: {{user: {{vault_database: {{vault: main, mount: db, role: app}}}}}}
upstreams: {{one: {{endpoints: ["127.0.0.1:1"], credential: user, postgres: {{}}}}}}
listeners: {{one: {{listen: "unix:DIR/one", postgres: {{upstream: one}}}}}}
"""


async def test_it_is_not_ready_before_a_vault_has_lent_and_says_what_it_waits_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with FakeVault().database("db/creds/app", ttl=60).seal() as vault:
        monkeypatch.setenv("LEASED", vault.root)
        async with House(LEASED.format(url=vault.url), ready=False) as house:
            await until("trouble", lambda: [one for one in house.status()["credentials"] if one["last_error"]] != [])
            assert any("user" in what for what in house.daemon.held())
            vault.unseal()
            await until("it to be ready", lambda: not house.daemon.held())
        assert vault.contents.leases == {}


async def test_before_the_end_of_what_cannot_be_renewed_it_says_so_and_afterwards_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = ManualClock()
    with FakeVault().database("db/creds/app", ttl=60) as vault:
        monkeypatch.setenv("LEASED", vault.root)
        loaded = load_text(LEASED.format(url=vault.url).replace("DIR", "/run"))
        daemon = Daemon(loaded, None, clock)
        store = daemon.commons.store
        daemon.commons.current = build(daemon.commons, loaded.config)
        store.attach("user", "vault", None, 1.0)
        store.put(Credential("user", 1, {"username": b"u", "password": b"p"}, ends_at=clock.now() + 60))
        assert not [what for what in daemon.held() if "expire" in what]
        await clock.advance(40)
        assert not [what for what in daemon.held() if "expire" in what]
        store.note("user", "vault 'main' is sealed")
        assert "credential user expires soon" in daemon.held()
        await clock.advance(20)
        assert "credential user has expired" in daemon.held()


async def test_what_a_server_has_refused_and_its_source_cannot_replace_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """A static role's password has been changed, and we are no longer allowed to read it."""
    with FakeVault().database("db/creds/app", ttl=60) as vault:
        monkeypatch.setenv("LEASED", vault.root)
        loaded = load_text(LEASED.format(url=vault.url).replace("DIR", "/run"))
        daemon = Daemon(loaded, None, ManualClock())
        store = daemon.commons.store
        daemon.commons.current = build(daemon.commons, loaded.config)
        store.attach("user", "vault", None, 1.0)
        store.put(Credential("user", 1, {"username": b"u", "password": b"p"}))
        await store.refused("user", 1, timeout=0.0)
        assert not [what for what in daemon.held() if "refused" in what]
        store.note("user", "vault 'main' denied it")
        assert "credential user was refused by its server, and its source has no other" in daemon.held()
