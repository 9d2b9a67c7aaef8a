"""A Vault of a configuration, as the daemon makes one, without a daemon around it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from ambassador.config.vault import VaultSettings
from ambassador.credentials.vault.vault import Vault
from ambassador.kit.clock import SYSTEM, Clock
from ambassador.runtime.world import make_vault
from ambassador.telemetry.metrics import Metrics


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
    keeping = [asyncio.ensure_future(vault.run())] if kept else []
    try:
        yield vault
    finally:
        for task in keeping:
            task.cancel()
            await asyncio.wait([task])
            if not task.cancelled():
                task.result()
        await vault.close(2.0)
