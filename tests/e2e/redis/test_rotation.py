"""The password at the server changes every second under a hundred clients, and none of them can tell."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.redis.load import Load
from tests.e2e.redis.plan import MODES, Plan
from tests.support.daemon import Daemon
from tests.support.processes import wait_until
from tests.support.secrets import SecretDir, canary
from tests.support.valkey import Account, ValkeyServer, new_account

EVERY = 1.0
"""Seconds between two rotations."""

APART = 0.4
"""Seconds between the change at the server and that of the Secret."""


class Rotated:
    """One user, its Secret, and a listener of each mode that logs in with it."""

    def __init__(self, server: ValkeyServer, home: Path) -> None:
        self._server = server
        self.account = new_account(server)
        plan = Plan(home)
        self._secret: SecretDir = plan.secret("rotated", self.account)
        self.ports = plan.both(server, "rotated")
        self.config = plan.text()

    def both_hold(self) -> None:
        """The server takes the new one too, then the Secret has it, then the old one is taken away."""
        self.account = Account(self.account.name, canary("rotated"))
        self._server.add_password(self.account.name, self.account.password)
        self._fill()

    def end_of_both_hold(self) -> None:
        """Only the newest holds."""
        self._server.set_password(self.account.name, self.account.password)

    def server_first(self) -> None:
        """For a moment nobody has the right password."""
        self.account = Account(self.account.name, canary("rotated"))
        self._server.set_password(self.account.name, self.account.password)

    def end_of_server_first(self) -> None:
        """Now the Secret has it."""
        self._fill()

    def _fill(self) -> None:
        self._secret.swap({"username": self.account.name, "password": self.account.password})

    async def rotate(self, order: str, times: int) -> None:
        """Change it so many times."""
        for _ in range(times):
            await asyncio.to_thread(getattr(self, order))
            await asyncio.sleep(APART)
            await asyncio.to_thread(getattr(self, f"end_of_{order}"))
            await asyncio.sleep(EVERY - APART)


@pytest.fixture
def rotated(valkey: ValkeyServer, tmp_path: Path) -> Rotated:
    """A user to rotate."""
    return Rotated(valkey, tmp_path)


async def work(rotated: Rotated, mode: str, order: str, times: int) -> Load:
    """A hundred connections at work while the password changes."""
    load = Load(rotated.ports[mode], f"rotation-{secrets.token_hex(4)}")
    load.add(load.count, 40)
    load.add(load.transact, 20)
    load.add(load.hand_over, 11)
    load.add(load.listen, 6)
    await load.run(rotated.rotate(order, times))
    return load


@pytest.mark.slow
@pytest.mark.timeout(150)
@pytest.mark.parametrize(("mode", "order"), [("multiplex", "server_first"), ("dedicated", "both_hold")])
def test_no_command_fails_while_the_password_changes(
    rotated: Rotated, mode: str, order: str, long: bool, figure: Callable[[str], None]
) -> None:
    times = 60 if long else 8
    with Daemon(rotated.config) as daemon:
        load = asyncio.run(work(rotated, mode, order, times))
        rotations = len(daemon.logged("credential rotated"))
        assert len(load.clients) == 100
        assert load.errors == []
        assert load.done > 100 * times
        # Where this machine is slow, two changes may be read as one.
        assert rotations >= times / 3
        assert not daemon.logged("session ended", reason="upstream_login_refused")
        wait_until("old connections to be gone", lambda: outdated(daemon) == 0)
    figure(f"{rotations} rotations, {load.done} commands by {len(load.clients)} clients, no error")


@pytest.mark.parametrize("mode", MODES)
def test_connections_of_an_old_password_retire(rotated: Rotated, mode: str) -> None:
    async def run(daemon: Daemon) -> None:
        load = Load(rotated.ports[mode], "retire")
        async with load.connect() as plain, load.connect() as one, load.connect(3) as other, load.connect() as blocked:
            assert await plain.ask("PING") == b"PONG"
            assert await one.ask("SUBSCRIBE", "retire:c") == [b"subscribe", b"retire:c", 1]
            assert await other.ask("SUBSCRIBE", "retire:c") == [b"subscribe", b"retire:c", 1]
            waiting = asyncio.ensure_future(blocked.ask("BLPOP", "retire:q", 0))
            await rotated.rotate("both_hold", 2)
            await until(lambda: daemon.metric("ambassador_credential_version", credential="rotated") == 3)
            # Who waits, or may say nothing else in RESP2, keeps the one it has.
            await until(lambda: outdated(daemon) == 2)
            assert await plain.ask("RPUSH", "retire:q", "job") == 1
            assert await waiting == [b"retire:q", b"job"]
            await until(lambda: outdated(daemon) == 1)
            assert await plain.ask("PUBLISH", "retire:c", "still") == 2
            assert await one.item() == await other.item() == [b"message", b"retire:c", b"still"]
            assert await one.ask("UNSUBSCRIBE") == [b"unsubscribe", b"retire:c", 0]
            await until(lambda: outdated(daemon) == 0)
            assert load.errors == []

    with Daemon(rotated.config) as daemon:
        asyncio.run(run(daemon))


@pytest.mark.parametrize("mode", MODES)
def test_a_password_that_does_not_work_does_not_become_current(rotated: Rotated, mode: str) -> None:
    async def run(daemon: Daemon) -> None:
        load = Load(rotated.ports[mode], "wrong")
        async with load.connect() as client:
            assert await client.ask("PING") == b"PONG"
            rotated._secret.swap({"username": rotated.account.name, "password": canary("wrong")})
            await until(lambda: bool(daemon.logged("credential not rotated", reason="refused")))
            assert daemon.metric("ambassador_credential_version", credential="rotated") == 1
            assert await client.ask("PING") == b"PONG"
            async with load.connect() as another:
                assert await another.ask("PING") == b"PONG"

    with Daemon(rotated.config) as daemon:
        asyncio.run(run(daemon))


def outdated(daemon: Daemon) -> int:
    """Open connections that have shown an older password than the current one."""
    found = daemon.metrics()
    version = daemon.metric("ambassador_credential_version", credential="rotated")
    return int(
        sum(
            value
            for (name, labels), value in found.items()
            if name == "ambassador_credential_connections" and int(dict(labels)["version"]) < version
        )
    )


async def until(done: Callable[[], bool], patience: float = 10.0) -> None:
    """Let others work until that is so."""
    async with asyncio.timeout(patience):
        while not await asyncio.to_thread(done):  # noqa: ASYNC110 - it is another process that is waited for
            await asyncio.sleep(0.05)
