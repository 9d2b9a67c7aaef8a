"""Upkeep: keeps a Vault's token alive, and says in time when it cannot: everything lent to us ends with it."""

from __future__ import annotations

import random
from contextlib import aclosing
from pathlib import Path
from typing import Final

from ambassador.config.watch import watch
from ambassador.credentials.term import ROUNDING, Care
from ambassador.credentials.vault.failure import VaultError
from ambassador.credentials.vault.token import Token
from ambassador.credentials.vault.vault import Vault
from ambassador.kit.tasks import Tasks
from ambassador.telemetry.logs import logger

FILE_POLL: Final = 10.0
FILE_DEBOUNCE: Final = 0.25
"""Seconds: how often the file with a token is looked at without being told, and how long a change must rest."""

LATE_SHARE: Final = 0.87
"""Of the life of a token that others renew, after which it is looked at: Vault Agent has done so at 0.7 to 0.73."""

_LOG = logger(__name__)


class Upkeep:
    """Of one Vault's token: renewed when two thirds of its life are over, replaced when it can be renewed no more.

    Args:
        rng: source of chance for spreading renewals.
    """

    def __init__(self, vault: Vault, rng: random.Random | None = None) -> None:
        rng = rng or random.Random()  # noqa: S311 - spreads load, protects nothing
        self._vault = vault
        self.spread = rng.uniform(0.9, 1.0)
        self._tasks = Tasks(lambda task, error: _LOG.exception("task failed", error, vault=vault.name, task=task))

    async def run(self) -> None:
        """Work until cancelled."""
        try:
            if (file := self._vault.login.file) is not None:
                self._tasks.start(self._follow(file), name=f"token file of vault {self._vault.name}")
            while True:
                await self._care()
        finally:
            await self._tasks.stop(timeout=1.0)

    async def _care(self) -> None:
        """Wait until the token needs care, and give it."""
        vault = self._vault
        vault.another.clear()
        if (token := vault.token) is None:
            await vault.another.wait()
            return
        wait = self.due_at(token) - vault.clock.now()
        if wait > 0 and not await self._rest(wait):
            return
        care = token.term.care
        try:
            if care is Care.RENEW and vault.clock.now() < token.term.ends_at:
                await vault.renew(token)
                if token.trouble is not None and token.term.care is Care.REPLACE:  # it was granted what was left
                    await self._replace(token)
            else:
                await self._replace(token)
        except VaultError as error:
            vault.worry(token, str(error))
            await self._rest(vault.rest(token))

    def due_at(self, token: Token) -> float:
        """When it needs care, by the clock that never jumps."""
        if self._vault.login.renews:
            return token.term.due_at(self.spread)
        return token.term.at(LATE_SHARE * (1 + self.spread) / 2)

    async def _replace(self, token: Token) -> None:
        """Log in anew. What others gave us is looked up instead: they may have renewed it, or may yet replace it."""
        vault, ends_at = self._vault, token.term.ends_at
        if await vault.log_in(token) is not token or token.term.ends_at > ends_at + ROUNDING:
            return
        vault.worry(token, f"vault {vault.name!r}: our token is about to end: {vault.login.describe()}")
        await self._rest(FILE_POLL)

    async def _rest(self, seconds: float) -> bool:
        """Wait so long; False when there was another token before."""
        another = self._vault.another
        await self._tasks.first(self._vault.clock.sleep(seconds), another.wait(), name=f"rest of {self._vault.name}")
        return not another.is_set()

    async def _follow(self, path: Path) -> None:
        vault = self._vault
        async with aclosing(watch({path}, poll=FILE_POLL, debounce=FILE_DEBOUNCE, clock=vault.clock)) as changes:
            async for _ in changes:
                try:
                    await vault.log_in(vault.token)
                except VaultError:
                    continue  # said by the Vault; the token we have serves as long as it can
