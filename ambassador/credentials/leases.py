"""Leases: what was granted to us and not given back yet, of all credentials of the daemon.

They outlive keepers and worlds: a reload replaces both, and connections still use what they logged in with. One that
has a successor is seen to its end here: its users go, then it is revoked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from ambassador.credentials import lease as life
from ambassador.credentials.lease import ENDED, Stage
from ambassador.credentials.sources.base import Lease, Source
from ambassador.credentials.store import Store
from ambassador.credentials.term import Term
from ambassador.errors import CredentialError
from ambassador.kit.backoff import Backoff
from ambassador.kit.clock import Clock
from ambassador.kit.tasks import Tasks
from ambassador.telemetry.logs import logger
from ambassador.telemetry.metrics import CredentialMetrics

SOON: Final = 5.0
"""Seconds that users of a lease have which was taken from us, or which a server has refused."""

LOOK: Final = 10.0
"""Seconds between two looks at when a lease ends, if nothing happens."""

FIRST_RETRY: Final = 1.0
LONGEST_RETRY: Final = 30.0
"""Seconds between two tries to revoke."""

_LOG = logger(__name__)


@dataclass(slots=True, eq=False)
class Held:
    """One lease, whose it is, and who can renew and revoke it."""

    name: str
    version: int
    lease: Lease
    source: Source
    stage: Stage = Stage.CURRENT
    lost: bool = False
    taken: bool = False  # a server has refused what came with it: somebody may have revoked it already
    settled_at: float = float("-inf")
    bounded_at: float | None = None  # since when its parent is known to end before it


class Leases:
    """All leases of one daemon.

    Args:
        metrics: the counts of a credential, by its name.
    """

    def __init__(self, store: Store, clock: Clock, metrics: Callable[[str], CredentialMetrics]) -> None:
        self._store = store
        self._clock = clock
        self._metrics = metrics
        self._current: dict[str, Held] = {}
        self._ending: dict[Held, None] = {}
        self._moved = asyncio.Event()
        self._tasks = Tasks(lambda task, error: _LOG.exception("task failed", error, task=task))

    # ---- what keepers say

    def current(self, name: str) -> Held | None:
        """The lease that a credential's current value came with; None where it came without."""
        held = self._current.get(name)
        return None if held is None or held.lost else held

    def granted(self, name: str) -> None:
        """Count a lease that was granted, whatever becomes of it."""
        self._metrics(name).leases["issued"] += 1

    def adopted(self, name: str, version: int, lease: Lease | None, source: Source, *, refused: bool = False) -> None:
        """A value has become current; the one before is seen to its end, soon where a server has `refused` it."""
        self.retire(name, soon=refused)
        if lease is not None:
            self._current[name] = Held(name, version, lease, source)

    def renewed(self, name: str, lease: Lease) -> None:
        """The current lease has another term."""
        self._current[name].lease = lease
        self._metrics(name).leases["renewed"] += 1

    def lost(self, name: str) -> None:
        """The current lease was taken from us: there is nothing to revoke, and its users must go."""
        if (held := self._current.get(name)) is not None:
            held.lost = True
            self._metrics(name).leases["lost"] += 1

    def retire(self, name: str, *, soon: bool = False) -> None:
        """The current lease has a successor, or its credential is no longer in the configuration."""
        held = self._current.pop(name, None)
        if held is None:
            return
        if soon and not held.lost:
            held.taken = True
            self._metrics(name).leases["lost"] += 1
        if held.lost or soon:
            left = min(SOON, life.margin(held.lease.term.duration))
            held.lease = replace(held.lease, term=Term(self._clock.now(), left, renewable=False))
        self._see_off(held)

    def give_back(self, name: str, version: int, lease: Lease, source: Source) -> None:
        """A lease whose value never became current is of no use."""
        self._see_off(Held(name, version, lease, source))

    def moved(self) -> None:
        """Leases may end at another time than was thought: whoever waits for that is to look again."""
        self._moved.set()
        self._moved.clear()

    # ---- what the runtime says

    def held_by(self, owner: Callable[[Source], bool]) -> int:
        """How many leases there are, not given back yet, of sources that `owner` knows."""
        return sum(owner(held.source) for held in (*self._current.values(), *self._ending))

    async def close(self, timeout: float) -> int:
        """Revoke everything, within `timeout` seconds. Returns how many leases were left to their own end."""
        everything = [*self._current.values(), *self._ending]
        self._current.clear()
        await self._tasks.stop(timeout=1.0)
        self._ending.clear()
        try:
            async with asyncio.timeout(timeout), asyncio.TaskGroup() as group:
                for held in everything:
                    group.create_task(self._revoke(held), name=f"revocation of a lease of {held.name}")
        except TimeoutError:
            _LOG.warning("leases not revoked", error=f"it took more than {timeout:g} s")
        return sum(held.stage is not Stage.REVOKED and not held.lost for held in everything)

    # ---- the end of one

    def _see_off(self, held: Held) -> None:
        self._ending[held] = None
        held.stage = Stage.RETIRING
        held.settled_at = life.settled(self._clock.now(), held.lease.ends_at)
        self._tasks.start(self._end(held), name=f"end of a lease of credential {held.name}")

    async def _end(self, held: Held) -> None:
        try:
            backoff = Backoff(FIRST_RETRY, LONGEST_RETRY, floor=FIRST_RETRY / 2)
            while held.stage not in ENDED:
                stage = self._next(held)
                if stage is Stage.REVOKED:
                    if not await self._revoke(held):
                        await self._clock.sleep(backoff.next())
                    continue
                if stage is not held.stage:
                    self._move(held, stage)
                # Also after a move, however late: whoever has just been told to go has some time to do so.
                if stage not in ENDED:
                    await self._wait(held)
        finally:
            self._ending.pop(held, None)

    def _next(self, held: Held) -> Stage:
        ends_at, duration = self._end_of(held)
        return life.stage(
            self._clock.now(),
            ends_at=ends_at,
            duration=duration,
            users=self._store.in_use(held.name, held.version),
            before=held.stage,
            settled_at=held.settled_at,
        )

    def _end_of(self, held: Held) -> tuple[float, float]:
        """When it ends, and how long before that this was known, seconds: its term, unless its parent ends sooner."""
        term, ends_at = held.lease.term, held.lease.ends_at
        if ends_at >= term.ends_at:
            held.bounded_at = None
            return ends_at, term.duration
        if held.bounded_at is None:
            held.bounded_at = self._clock.now()
        return ends_at, min(term.duration, max(0.0, ends_at - held.bounded_at))

    def _move(self, held: Held, stage: Stage) -> None:
        held.stage = stage
        if stage in {Stage.LEAVING, Stage.CUT}:
            self._store.ending(held.name, held.version, final=stage is Stage.CUT)
        if stage is Stage.LAPSED:
            self._metrics(held.name).leases["lapsed"] += 1
            _LOG.info("lease lapsed", credential=held.name, version=held.version)

    async def _wait(self, held: Held) -> None:
        """Until nobody uses it any more, its next stage has come, or its end has moved."""
        ends_at, duration = self._end_of(held)
        seconds = life.until_next(
            self._clock.now(), ends_at=ends_at, duration=duration, at=held.stage, settled_at=held.settled_at
        )
        unused, name = self._store.unused(held.name, held.version), f"last users of credential {held.name}"
        # Who granted it may have been taken out of the configuration, and nobody tells of its end.
        nap = self._clock.sleep(min(seconds, LOOK))
        await self._tasks.first(unused, nap, self._moved.wait(), name=name)

    async def _revoke(self, held: Held) -> bool:
        """Give it back; whether there is nothing more to do."""
        try:
            revoked = not held.lost and await held.source.revoke(held.lease)
        except CredentialError as error:
            _LOG.warning("lease not revoked", credential=held.name, version=held.version, error=str(error))
            return False
        held.stage = Stage.REVOKED if revoked else Stage.LAPSED
        if revoked:
            self._metrics(held.name).leases["revoked"] += not held.taken
            _LOG.info("lease revoked", credential=held.name, version=held.version)
        return True
