"""Keeper: keeps one credential current.

One loop does everything, so there is never more than one fetch or trial at a time, however many ask:

    look at the source ─► decide (plan.py) ─► try a new value with a real login ─► store
          ▲                                                                          │
          └── pause: until something changed, a login was refused, a time is due ◄───┘

A refused login is heard at once, also while a look is going on: the database may have been changed after that look
began, so one more follows. Looks are at least `min_interval` apart.

A value that comes with a lease is renewed as long as that can be done, and replaced by another while it is still good.
Each fetch makes a new one then, so a value that could not be tried is kept and tried again, one that is refused again
and again is given back, and no fault makes more of them than `Pace` lets through.
"""

from __future__ import annotations

import asyncio
import random
from typing import Final

from ambassador.config.schema import CredentialSettings
from ambassador.credentials import plan
from ambassador.credentials.candidate import Candidate, Trial, credential_of, fetch, tried
from ambassador.credentials.changes import Changes
from ambassador.credentials.credential import Credential
from ambassador.credentials.leases import Held, Leases
from ambassador.credentials.plan import Outcome, Step, TrialResult
from ambassador.credentials.renewal import Renewal
from ambassador.credentials.sources.base import Change, Lease, LeaseLost, Source
from ambassador.credentials.store import Store
from ambassador.credentials.term import Care
from ambassador.errors import CredentialError
from ambassador.kit.backoff import Backoff
from ambassador.kit.clock import SYSTEM, Clock
from ambassador.kit.pace import Pace
from ambassador.kit.tasks import Tasks
from ambassador.telemetry.logs import logger
from ambassador.telemetry.metrics import CredentialMetrics

__all__ = ["Keeper", "Trial", "TrialResult"]

LONGEST_FETCH: Final = 60.0
LONGEST_TRIAL: Final = 60.0
"""Seconds; behind the deadlines that sources and upstreams set themselves."""

WAITED_FOR: Final = 0.5
"""Seconds between looks while logins that were refused wait for another value: the source may follow the database."""

MOST_SAID: Final = 16
"""Complaints that are remembered, so that none is logged twice."""

_FIRST_RETRY: Final = 0.5

_LOG = logger(__name__)


class Keeper:
    """One credential's keeper.

    Args:
        trial: a real login with a new value before it becomes current; None where nothing logs in with it. Not
            used when the settings say `verify: false`. The first value needs none: there is nothing to protect.
        leases: of the daemon; where there are none, a source's leases are not looked after.
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
        leases: Leases | None = None,
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
        self._leases = leases if leases is not None else Leases(store, clock, lambda _: metrics)
        self._pace = None if source.pace is None else Pace(*source.pace, clock)
        self._tasks = Tasks(lambda task, error: _LOG.exception("task failed", error, credential=name, task=task))
        self._backoff = Backoff(_FIRST_RETRY, plan.LONGEST_RETRY, floor=settings.min_interval, rng=rng)
        self._renewal = Renewal(name, clock, self._tasks, self._answered)
        self._spread = rng.uniform(0.9, 1.0)  # many ask one Vault
        self._poll = settings.poll * (self._spread if source.pace is not None else 1.0)
        self._polled = True
        self._stirred = asyncio.Event()
        self._changed = False  # the source told of a change
        self._asked = False  # the current value was refused, or has expired
        self._refused = 0  # the last version that was refused
        self._refused_at = float("-inf")
        self._looked_at = float("-inf")
        self._retry_at: float | None = None
        self._left_alone = float("-inf")  # until when a source that failed is
        self._again_at: float | None = None  # when the source expects to have another value
        self._candidate: Candidate | None = None  # tried, and not accepted
        self._complaint: str | None = None
        self._said: set[str] = set()  # complaints since all was well: two may take turns

    @property
    def next_look(self) -> float | None:
        """Seconds until it looks at its source, unless it is told to before; None: only when it is told to."""
        due = self._due_in()
        return None if due == float("inf") else max(0.0, due)

    # --- the loop ---------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Keep the credential current until cancelled. The current value stays in the store."""
        ask = None if self._source.fixed else self.ask
        leave = self._store.attach(self.name, self._source.describe(), ask, self._settings.refused_wait)
        try:
            # Listening begins before the first look, so that no change falls between the two.
            self._polled = not (self._source.fixed or self._follow() or self._source.makes_new)
            await self.look()
            await self._warn()
            while True:
                await self._pause()
                await self.look()
        finally:
            leave()
            self._forget_candidate()
            await self._tasks.stop(timeout=1.0)

    def ask(self, version: int | None) -> None:
        """A login with `version` was refused, or (None) the value has expired: look again soon."""
        current = self._store.current(self.name)
        if version is not None and current is not None and version < current.version:
            return
        if version is not None:
            self._refused_at = self._clock.now()
        if version is not None and version != self._refused:
            self._refused = version
            _LOG.warning("credential refused by upstream", credential=self.name, version=version)
        self._asked = True
        self._stirred.set()

    async def look(self) -> None:
        """Ask the source once, and do what follows. `run` does this by itself; `check` does only this, once."""
        asked, changed = self._asked, self._changed
        self._asked = self._changed = False
        self._looked_at = self._clock.now()
        try:
            if not (asked or changed) and await self._renewed():
                return
            found = await self._found()
        except CredentialError as error:
            self._complain(Outcome.SOURCE_FAILED, "credential not read", str(error))
            return
        await self._consider(found, asked)

    def _has_changed(self, change: Change) -> None:
        self._look_at_end()
        if change is Change.VALUE:
            self._changed = True
            self._stirred.set()

    async def _pause(self) -> None:
        """Wait until the next look is due. Wakes now and then to see whether the wall clock has jumped."""
        while not self._asked and not self._changed:
            due = self._due_in()
            if due <= 0:
                break
            self._stirred.clear()
            nap = self._clock.sleep(min(due, self._settings.poll))
            await self._tasks.first(self._stirred.wait(), nap, name=f"pause of credential {self.name}")
        rest = self._looked_at + self._settings.min_interval - self._clock.now()
        if self._pace is not None:
            # A Vault that fails is left alone for a while, whoever asks.
            rest = max(rest, self._pace.wait(), self._left_alone - self._clock.now())
        if rest > 0:
            await self._clock.sleep(rest)

    def _due_in(self) -> float:
        idle = self._clock.now() - self._looked_at
        if self._retry_at is not None:
            return self._retry_at - self._clock.now()
        current = self._store.current(self.name)
        if (held := self._leases.current(self.name)) is not None:
            return held.lease.term.due_at(self._spread) - self._clock.now()
        due = None if self._again_at is None else self._again_at - self._clock.now()
        if due is None and current is not None:
            due = plan.until_renewal(
                current, now_wall=self._clock.wall(), idle=idle, poll=self._settings.poll, spread=self._spread
            )
        if due is None:
            due = self._poll - idle if self._polled else float("inf")
        return min(due, WAITED_FOR - idle) if self._is_waited_for(current) else due

    def _is_waited_for(self, current: Credential | None) -> bool:
        """Whether logins that were refused with the current value may still wait for another."""
        if current is None or current.version != self._refused or self._source.makes_new:
            return False
        return self._clock.now() < self._refused_at + self._settings.refused_wait

    def _follow(self) -> bool:
        """Listen for changes from now on; whether the source can tell of any."""
        changes = Changes(self._source, self._settings, self._clock, self._has_changed)
        if changes.are_told:
            self._tasks.start(changes.follow(), name=f"credential {self.name} changes")
        return changes.are_told

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

    async def _renewed(self) -> bool:
        """Whether the current lease has been granted another term, with which there is nothing more to do; not where
        the answer takes so long that another is to be had meanwhile. Raises CredentialError."""
        held, current = self._leases.current(self.name), self._store.current(self.name)
        if held is None or current is None or held.source is not self._source:
            return False
        is_for_candidate = self._candidate is not None and self._clock.now() < held.lease.term.due_at(self._spread)
        if is_for_candidate or held.lease.term.care is Care.REPLACE or current.expired(self._clock):
            return False
        before = held.lease
        await self._renewal.ask(held)
        lasts = held.lease is not before and held.lease.term.care is Care.RENEW and not held.lease.is_orphan
        return lasts and self._candidate is None

    def _answered(self, held: Held, answer: Lease | LeaseLost) -> None:
        """A renewal's answer has come, perhaps when nobody waited for it any more."""
        current = self._store.current(self.name)
        if self._leases.current(self.name) is not held or current is None:
            return
        if isinstance(answer, LeaseLost):
            _LOG.warning("lease lost", credential=self.name, version=held.version, error=str(answer))
            self._leases.lost(self.name)
            return
        self._leases.renewed(self.name, answer)
        current = self._lasting(current, answer)
        if self._candidate is None:
            self._all_is_well(current)

    def _look_at_end(self) -> None:
        """What the current lease ends with may be about to end, or is kept alive again."""
        self._leases.moved()
        held, current = self._leases.current(self.name), self._store.current(self.name)
        if held is not None and current is not None and held.version == current.version:
            self._lasting(current, held.lease)
            self._store.note(self.name, self._complaint or held.lease.trouble)

    def _lasting(self, current: Credential, lease: Lease) -> Credential:
        """The current value with the end that its lease has."""
        current = current.lasting(lease.ends_at)
        self._store.put(current)
        self._metrics.expires = current.expires(self._clock)
        return current

    async def _found(self) -> Candidate:
        """What the source shows, or the value it made for us that is still to be tried. Raises CredentialError."""
        kept = self._candidate
        if kept is not None and kept.lease is not None:
            if kept.is_worth_a_try(self._clock.now()):
                return kept
            self._forget_candidate()
        return await self._fetch()

    async def _fetch(self) -> Candidate:
        """The value the source shows, not numbered yet. Raises CredentialError."""
        if self._pace is not None:
            self._pace.spend()
        fetched = await fetch(self.name, self._source, LONGEST_FETCH)
        if fetched.lease is not None:
            self._leases.granted(self.name)
        try:
            return Candidate(credential_of(self.name, fetched, self._clock), fetched.lease, fetched.again)
        except CredentialError:
            if fetched.lease is not None:
                self._leases.give_back(self.name, 0, fetched.lease, self._source)
            raise

    async def _consider(self, candidate: Candidate, asked: bool) -> None:
        current = self._store.current(self.name)
        candidate.see_end()
        found = candidate.value
        self._again_at = None if candidate.again is None else self._clock.now() + candidate.again
        flaw = plan.flaw(current, found, clock=self._clock, tried=self._trial is not None)
        if flaw is not None:
            if candidate.lease is not None:
                self._candidate = candidate
                self._forget_candidate()
            self._complain(Outcome.SOURCE_FAILED, "credential not read", f"credential {self.name!r}: {flaw}")
            return
        step = plan.weigh(current, found, must_try=self._trial is not None, may_try=asked or self._may_try(found))
        if current is None or step is Step.ADOPT:
            candidate.value = self._numbered(candidate)
            self._adopt(candidate, "not tried")
        elif step is Step.NOTHING:
            self._all_is_well(current)
        elif step is Step.RENEW:
            renewed = current.renewed(found)
            self._store.put(renewed)
            self._all_is_well(renewed)
        elif step is Step.TRY:
            await self._try(candidate, current_fails=asked or current.expired(self._clock))

    def _may_try(self, found: Credential) -> bool:
        before = self._candidate
        if before is None or before.value.fingerprint != found.fingerprint:
            return True
        return self._retry_at is None or self._clock.now() >= self._retry_at

    async def _try(self, candidate: Candidate, *, current_fails: bool) -> None:
        candidate.value = self._numbered(candidate)
        self._candidate = candidate
        version = candidate.value.version
        if self._trial is None:
            raise AssertionError("a value is tried only where there is a trial")
        result = await tried(self._trial, candidate.value, LONGEST_TRIAL)
        if plan.becomes_current(result, current_fails=current_fails):
            self._adopt(candidate, result)
            return
        if result is TrialResult.REFUSED:
            candidate.refusals += 1
            outcome, text = Outcome.REFUSED, f"version {version} was refused in a trial login"
        else:
            outcome, text = Outcome.UNVERIFIED, f"no server answered a trial login with version {version}"
        self._complain(outcome, "credential not rotated", f"{text}; the version before it stays")

    def _numbered(self, candidate: Candidate) -> Credential:
        """Its value with the number it got when it was first seen, or a new one."""
        before = self._candidate
        if before is not None and before.value.fingerprint == candidate.value.fingerprint:
            return before.value.renewed(candidate.value)
        if candidate.lease is None:  # a value that was made for us says nothing of the one before
            self._backoff.reset()
        return candidate.value.numbered(self._store.next_version(self.name))

    def _forget_candidate(self) -> None:
        """What did not become current is given back, where it was made for us."""
        candidate, self._candidate = self._candidate, None
        if candidate is not None and candidate.lease is not None:
            self._leases.give_back(self.name, candidate.value.version, candidate.lease, self._source)

    # --- what follows -----------------------------------------------------------------------------------------------

    def _adopt(self, candidate: Candidate, trial: str) -> None:
        # Whoever asked during this look was refused with the value that is now replaced.
        self._asked = False
        candidate.see_end()
        new, before = candidate.value, self._store.current(self.name)
        self._candidate = None
        self._store.put(new)
        refused = before is not None and self._refused == before.version
        self._leases.adopted(self.name, new.version, candidate.lease, self._source, refused=refused)
        self._all_is_well(new)
        event = "credential loaded" if before is None else "credential rotated"
        _LOG.info(event, credential=self.name, version=new.version, user=new.username, trial=trial)

    def _all_is_well(self, current: Credential) -> None:
        """The source shows the value that is current."""
        if self._complaint is not None:
            _LOG.info("credential source recovered", credential=self.name)
        self._complaint = self._candidate = self._retry_at = None
        self._said.clear()
        self._backoff.reset()
        held = self._leases.current(self.name)
        self._store.note(self.name, None if held is None else held.lease.trouble)
        self._metrics.refreshes[Outcome.OK] += 1
        self._metrics.last_success = self._clock.wall()
        self._metrics.version = current.version
        self._metrics.expires = current.expires(self._clock)

    def _complain(self, outcome: Outcome, event: str, text: str) -> None:
        """The newest answer of the source is of no use; say so once, and look again later."""
        self._metrics.refreshes[outcome] += 1
        self._retry_at = self._clock.now() + min(self._backoff.next(), self._longest_wait())
        self._left_alone = self._retry_at if outcome is Outcome.SOURCE_FAILED else float("-inf")
        self._store.note(self.name, text)
        self._complaint = text
        say = _LOG.debug if text in self._said else _LOG.warning
        if len(self._said) < MOST_SAID:
            self._said.add(text)
        current = self._store.current(self.name)
        say(event, credential=self.name, reason=outcome, error=text, version=current.version if current else None)

    def _longest_wait(self) -> float:
        """Most seconds until the next look at a source that failed."""
        held = self._leases.current(self.name)
        return plan.longest_wait(None if held is None else held.lease.ends_at - self._clock.now())
