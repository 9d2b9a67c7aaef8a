"""A Vault of a configuration, as the daemon makes one, without a daemon around it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hvac.adapters import JSONAdapter

from ambassador.config.vault import VaultSettings
from ambassador.credentials.vault.failure import VaultError
from ambassador.credentials.vault.operation import Operation
from ambassador.credentials.vault.upkeep import Upkeep
from ambassador.credentials.vault.vault import Vault
from ambassador.kit.clock import SYSTEM, Clock
from ambassador.runtime.world import make_vault
from ambassador.telemetry.metrics import Metrics, VaultMetrics
from tests.support.clock import ManualClock
from tests.support.fake_vault import FakeVault

LOGIN = "auth/userpass/login/app"
"""Where `at` logs in, with the password in the environment variable DOOR."""


@asynccontextmanager
async def opened(
    address: str,
    auth: Mapping[str, Any],
    *,
    name: str = "main",
    clock: Clock = SYSTEM,
    metrics: Metrics | None = None,
    kept: bool = False,
    **settings: Any,
) -> AsyncIterator[Vault]:
    """One Vault; closed at the end, so that what it logged in for is revoked.

    Args:
        auth: as written in a file: `{"token": {"env": "NAME"}}`.
        kept: whether its token is kept alive meanwhile.
        settings: other keys of the entry, as written in a file but for units: `timeout=2.0`.
    """
    words = {"address": address, "auth": auth, **settings}
    vault = make_vault(name, VaultSettings.model_validate(words), metrics or Metrics(), clock)
    keeping = [asyncio.ensure_future(Upkeep(vault).run())] if kept else []
    try:
        yield vault
    finally:
        for task in keeping:
            task.cancel()
            await asyncio.wait([task])
            if not task.cancelled():
                task.result()
        await vault.close(2.0)


class Opened:
    """A Vault, and its counts."""

    def __init__(self, vault: Vault, metrics: Metrics) -> None:
        self.vault = vault
        self.metrics: VaultMetrics = metrics.vault(vault.name)

    async def read(self, path: str = "kv/app", **more: Any) -> Any:
        return await self.vault.ask(Operation.READ_SECRET, f"read {path}", reading(path), **more)

    async def fails(self, path: str = "kv/app", **more: Any) -> VaultError:
        with pytest.raises(VaultError) as caught:
            await self.read(path, **more)
        return caught.value

    @property
    def shown(self) -> str | None:
        """The token it has."""
        return None if self.vault.token is None else self.vault.token.secret.reveal().decode()


def reading(path: str) -> Callable[[JSONAdapter], Any]:
    return lambda adapter: adapter.get(f"/v1/{path}")


@asynccontextmanager
async def at(server: FakeVault, clock: ManualClock, **settings: Any) -> AsyncIterator[Opened]:
    """One of a fake's, into which the fixture `door` lets us."""
    metrics = Metrics()
    login = {"userpass": {"username": "app", "password_env": "DOOR"}}
    async with opened(server.url, login, clock=clock, metrics=metrics, **settings) as vault:
        yield Opened(vault, metrics)


def counted(server: FakeVault, prefix: str) -> int:
    """How many requests there were whose path begins so."""
    return len(server.asked(prefix))
