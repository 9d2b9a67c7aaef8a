"""Keeper: keeps one credential current.

One loop does everything, so there is never more than one fetch or trial at a time, however many ask:

    look at the source ─► decide (plan.py) ─► try a new value with a real login ─► store
          ▲                                                                          │
          └── pause: until something changed, a login was refused, a time is due ◄───┘

A refused login is heard at once, also while a look is going on: the database may have been changed after that look
began, so one more follows. Looks are at least `min_interval` apart.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Final

from ambassador.config.schema import CredentialSettings
from ambassador.credentials import plan
from ambassador.credentials.credential import Credential
from ambassador.credentials.plan import Outcome, Step, TrialResult
from ambassador.credentials.sources.base import Source
from ambassador.credentials.store import Store
from ambassador.errors import CredentialError, Reason
from ambassador.kit.backoff import Backoff
from ambassador.kit.clock import SYSTEM, Clock
from ambassador.kit.tasks import Tasks
from ambassador.telemetry.logs import logger
from ambassador.telemetry.metrics import CredentialMetrics

__all__ = ["Keeper", "Trial", "TrialResult"]

Trial = Callable[[Credential], Awaitable[TrialResult]]
"""A real login with a value that is not current yet."""

LONGEST_FETCH: Final = 60.0
LONGEST_TRIAL: Final = 60.0
"""Seconds; behind the deadlines that sources and upstreams set themselves."""

_FIRST_RETRY: Final = 0.5
_LONGEST_RETRY: Final = 30.0

_LOG = logger(__name__)


class Keeper:
    """One credential's keeper.

    Args:
        trial: a real login with a new value before it becomes current; None where nothing logs in with it. Not
            used when the settings say `verify: false`. The first value needs none: there is nothing to protect.
        rng: source of chance for spreading looks and retries.
    """

    def __init__(
        self,
        name: str,
        source: Source,
        settings: CredentialSettings,
        *,
        store: Store,
        metrics: CredentialMetrics,
        clock: Clock = SYSTEM,
        trial: Trial | None = None,
        rng: random.Random | None = None,
    ) -> None:
        rng = rng or random.Random()  # noqa: S311 - spreads load, protects nothing
        self.name = name
        self._source = source
        self._settings = settings
        self._store = store
        self._metrics = metrics
        self._clock = clock
        self._trial = trial if settings.verify else None
        self._tasks = Tasks(lambda task, error: _LOG.exception("task failed", error, credential=name, task=task))
        self._backoff = Backoff(_FIRST_RETRY, _LONGEST_RETRY, floor=settings.min_interval, rng=rng)
        self._share = plan.RENEW_AT * rng.uniform(0.9, 1.0)
        self._polled = True
        self._stirred = asyncio.Event()
        self._changed = False  # the source told of a change
        self._asked = False  # the current value was refused, or has expired
        self._refused = 0  # the last version that was refused
        self._looked_at = float("-inf")
        self._retry_at: float | None = None
        self._candidate: Credential | None = None  # tried, and not accepted
        self._complaint: str | None = None

    # --- the loop ---------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Keep the credential current until cancelled. The current value stays in the store."""
        ask = None if self._source.fixed else self.ask
        leave = self._store.attach(self.name, self._source.describe(), ask, self._settings.refused_wait)
        try:
            # Listening begins before the first look, so that no change falls between the two.
            self._polled = not self._source.fixed and not self._follow()
            await self.look()
            await self._warn()
            while True:
                await self._pause()
                await self.look()
        finally:
            leave()
            await self._tasks.stop(timeout=1.0)

    def ask(self, version: int | None) -> None:
        """A login with `version` was refused, or (None) the value has expired: look again soon."""
        current = self._store.current(self.name)
        if version is not None and current is not None and version < current.version:
            return
        if version is not None and version != self._refused:
            self._refused = version
            _LOG.warning("credential refused by upstream", credential=self.name, version=version)
        self._asked = True
        self._stirred.set()

    async def look(self) -> None:
        """Ask the source once, and do what follows. `run` does this by itself; `check` does only this, once."""
        asked, self._asked, self._changed = self._asked, False, False
        self._looked_at = self._clock.now()
        try:
            found = await self._fetch()
        except CredentialError as error:
            self._complain(Outcome.SOURCE_FAILED, "credential not read", str(error))
            return
        await self._consider(found, asked)

    def _has_changed(self) -> None:
        self._changed = True
        self._stirred.set()

    async def _pause(self) -> None:
        """Wait until the next look is due. Wakes now and then to see whether the wall clock has jumped."""
        while not self._asked and not self._changed:
            due = self._due_in()
            if due <= 0:
                break
            await self._nap(min(due, self._settings.poll))
        rest = self._looked_at + self._settings.min_interval - self._clock.now()
        if rest > 0:
            await self._clock.sleep(rest)

    async def _nap(self, seconds: float) -> None:
        self._stirred.clear()
        alarm = self._tasks.start(self._ring(seconds), name=f"credential {self.name} alarm")
        try:
            await self._stirred.wait()
        finally:
            alarm.cancel()

    async def _ring(self, seconds: float) -> None:
        await self._clock.sleep(seconds)
        self._stirred.set()

    def _due_in(self) -> float:
        idle = self._clock.now() - self._looked_at
        if self._retry_at is not None:
            return self._retry_at - self._clock.now()
        current = self._store.current(self.name)
        due = None
        if current is not None:
            due = plan.until_renewal(
                current, now_wall=self._clock.wall(), idle=idle, poll=self._settings.poll, share=self._share
            )
        if due is None:
            due = self._settings.poll - idle if self._polled else float("inf")
        return due

    def _follow(self) -> bool:
        """Listen for changes from now on; whether the source can tell of any."""
        changes = self._changes()
        if changes is None:
            return False
        self._tasks.start(self._listen(changes), name=f"credential {self.name} changes")
        return True

    def _changes(self) -> AsyncGenerator[None] | None:
        settings = self._settings
        return self._source.changes(poll=settings.poll, debounce=settings.debounce, clock=self._clock)

    async def _listen(self, changes: AsyncGenerator[None] | None) -> None:
        backoff = Backoff(_FIRST_RETRY, _LONGEST_RETRY, floor=_FIRST_RETRY)
        while changes is not None:
            try:
                async with aclosing(changes):
                    async for _ in changes:
                        self._has_changed()
            except Exception as error:  # noqa: BLE001 - the edge of this task: rotation must go on whatever fails
                _LOG.exception("credential not watched", error, credential=self.name)
            # What changed meanwhile is seen by looking once when we listen again.
            await self._clock.sleep(backoff.next())
            changes = self._changes()
            self._has_changed()

    # --- one look ---------------------------------------------------------------------------------------------------

    async def _warn(self) -> None:
        try:
            warnings = await self._source.warnings()
        except Exception as error:  # noqa: BLE001 - advice that cannot be had must not end the keeper
            _LOG.exception("credential source not examined", error, credential=self.name)
            return
        for warning in warnings:
            _LOG.warning("credential source", credential=self.name, error=warning)
        self._store.advise(self.name, warnings)

    async def _fetch(self) -> Credential:
        """The value the source shows, not numbered yet. Raises CredentialError."""
        failure = f"credential {self.name!r}: "
        try:
            async with asyncio.timeout(LONGEST_FETCH):
                fetched = await self._source.fetch()
        except CredentialError:
            raise
        except TimeoutError:
            failure += f"the source gave no answer within {LONGEST_FETCH:g} s"
        except Exception as error:  # noqa: BLE001 - a fault in a source, perhaps not ours, must not end its keeper
            # Not even its text: who knows what a source quotes.
            failure += f"the source failed with {type(error).__name__}"
        else:
            return Credential(self.name, 0, fetched.fields, not_before=self._clock.wall(), not_after=fetched.not_after)
        # Raised out here so that the failure, which may hold what was fetched, is not carried along as its context.
        raise CredentialError(Reason.SOURCE_FAILED, failure)

    async def _consider(self, found: Credential, asked: bool) -> None:
        current = self._store.current(self.name)
        wall = self._clock.wall()
        flaw = plan.flaw(current, found, now_wall=wall, tried=self._trial is not None)
        if flaw is not None:
            self._complain(Outcome.SOURCE_FAILED, "credential not read", f"credential {self.name!r}: {flaw}")
            return
        step = plan.weigh(current, found, must_try=self._trial is not None, may_try=asked or self._may_try(found))
        if current is None or step is Step.ADOPT:
            self._adopt(self._numbered(found), "not tried")
        elif step is Step.NOTHING:
            self._all_is_well(current)
        elif step is Step.RENEW:
            renewed = current.renewed(found)
            self._store.put(renewed)
            self._all_is_well(renewed)
        elif step is Step.TRY:
            await self._try(found, current_fails=asked or current.expired(wall))

    def _may_try(self, found: Credential) -> bool:
        candidate = self._candidate
        if candidate is None or candidate.fingerprint != found.fingerprint:
            return True
        return self._retry_at is None or self._clock.now() >= self._retry_at

    async def _try(self, found: Credential, *, current_fails: bool) -> None:
        candidate = self._numbered(found)
        result = await self._tried(candidate)
        if plan.becomes_current(result, current_fails=current_fails):
            self._adopt(candidate, result)
            return
        self._candidate = candidate
        if result is TrialResult.REFUSED:
            outcome, text = Outcome.REFUSED, f"version {candidate.version} was refused in a trial login"
        else:
            outcome, text = Outcome.UNVERIFIED, f"no server answered a trial login with version {candidate.version}"
        self._complain(outcome, "credential not rotated", f"{text}; the version before it stays")

    def _numbered(self, found: Credential) -> Credential:
        """`found` with the number it got when it was first seen, or a new one."""
        candidate = self._candidate
        if candidate is not None and candidate.fingerprint == found.fingerprint:
            return candidate.renewed(found)
        self._backoff.reset()
        return found.numbered(self._store.next_version(self.name))

    async def _tried(self, candidate: Credential) -> TrialResult:
        if self._trial is None:
            raise AssertionError("a value is tried only where there is a trial")
        try:
            async with asyncio.timeout(LONGEST_TRIAL):
                return await self._trial(candidate)
        except Exception as error:  # noqa: BLE001 - a trial that fails says nothing about the value
            _LOG.exception("trial login failed", error, credential=self.name, version=candidate.version)
            return TrialResult.UNKNOWN

    # --- what follows -----------------------------------------------------------------------------------------------

    def _adopt(self, new: Credential, trial: str) -> None:
        # Whoever asked during this look was refused with the value that is now replaced.
        self._asked = False
        before = self._store.current(self.name)
        self._store.put(new)
        self._all_is_well(new)
        event = "credential loaded" if before is None else "credential rotated"
        _LOG.info(event, credential=self.name, version=new.version, user=new.username, trial=trial)

    def _all_is_well(self, current: Credential) -> None:
        """The source shows the value that is current."""
        if self._complaint is not None:
            _LOG.info("credential source recovered", credential=self.name)
        self._complaint = self._candidate = self._retry_at = None
        self._backoff.reset()
        self._store.note(self.name, None)
        self._count(Outcome.OK)
        self._metrics.last_success = self._clock.wall()
        self._metrics.version = current.version
        self._metrics.expires = current.not_after

    def _complain(self, outcome: Outcome, event: str, text: str) -> None:
        """The newest answer of the source is of no use; say so once, and look again later."""
        self._count(outcome)
        self._retry_at = self._clock.now() + self._backoff.next()
        self._store.note(self.name, text)
        if text == self._complaint:
            _LOG.debug(event, credential=self.name, reason=outcome, error=text)
            return
        self._complaint = text
        current = self._store.current(self.name)
        _LOG.warning(
            event, credential=self.name, reason=outcome, error=text, version=current.version if current else None
        )

    def _count(self, outcome: Outcome) -> None:
        self._metrics.refreshes[outcome] += 1
