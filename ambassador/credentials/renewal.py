"""Renewal: the next term of a credential's lease, asked for without waiting too long for the answer.

A Vault that answers slowly may answer yes when the lease has ended, or grant so little that there is no time to get
another. So whoever asks is let go while another can still be had, and the answer is heard whenever it comes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from ambassador.credentials.candidate import asked
from ambassador.credentials.leases import Held
from ambassador.credentials.sources.base import Lease, LeaseLost
from ambassador.credentials.term import AHEAD
from ambassador.errors import CredentialError
from ambassador.kit.clock import Clock
from ambassador.kit.tasks import Tasks

LONGEST: Final = 60.0
"""Seconds for an answer; behind the deadlines that sources set themselves."""

SHORTEST_WAIT: Final = 1.0
"""Seconds for which an answer is waited for in any case."""

Told = Callable[[Held, Lease | LeaseLost], None]
"""Hears of a lease's next term, or that there is no such lease any more. Must not raise."""


class Renewal:
    """Of the leases of one credential, one after the other.

    Args:
        name: of the credential, for errors.
        tasks: of whoever asks; what is under way ends with them.
        told: hears each answer, also of a lease that is no longer current.
    """

    def __init__(self, name: str, clock: Clock, tasks: Tasks, told: Told) -> None:
        self._name = name
        self._clock = clock
        self._tasks = tasks
        self._told = told
        self._of: Held | None = None
        self._under_way: asyncio.Task[CredentialError | None] | None = None

    async def ask(self, held: Held) -> None:
        """Have another term granted to `held`. Returns when there is an answer, or when it is time to do without.

        Raises:
            CredentialError: it could not be asked for.
        """
        task = self._under_way
        if task is None or task.done() or self._of is not held:
            self._of = held
            task = self._under_way = self._tasks.start(self._run(held), name=f"renewal of credential {self._name}")
        left = held.lease.ends_at - self._clock.now()
        nap = self._clock.sleep(max(SHORTEST_WAIT, left - (AHEAD - SHORTEST_WAIT)))
        await self._tasks.first(_ended(task), nap, name=f"wait for a renewal of credential {self._name}")
        if task.done() and not task.cancelled() and (error := task.result()) is not None:
            raise error

    async def _run(self, held: Held) -> CredentialError | None:
        try:
            lease = await asked(self._name, held.source.renew(held.lease), LONGEST)
        except LeaseLost as lost:
            self._told(held, lost)
        except CredentialError as error:
            return error
        else:
            if lease is not None:
                self._told(held, lease)
        return None


async def _ended(task: asyncio.Task[CredentialError | None]) -> None:
    await asyncio.wait({task})
