"""Leases of a few seconds at a Vault that takes as long as they have left to answer."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from ambassador.config.model import Model
from ambassador.config.schema import CredentialSettings
from ambassador.credentials import renewal
from ambassador.credentials.credential import Credential
from ambassador.credentials.leases import Held, Leases
from ambassador.credentials.plan import TrialResult
from ambassador.credentials.renewal import Renewal
from ambassador.credentials.rotation import Keeper
from ambassador.credentials.sources.base import Fetched, Lease, LeaseLost, Source
from ambassador.credentials.store import Store
from ambassador.credentials.term import Care, Term
from ambassador.errors import CredentialError, Reason
from ambassador.kit.tasks import Tasks
from ambassador.telemetry.metrics import CredentialMetrics
from tests.support.clock import ManualClock

Logged = Callable[[], list[dict[str, Any]]]

TERM, MOST = 10.0, 25.0
"""Seconds: what a lease is granted at a time, and in all."""

PATIENCE = 2.0
"""Seconds for which a login waits for a credential; the default of `refused_wait`."""


class SlowVault(Source):
    """Lends users, and takes its time.

    Args:
        before: seconds of a request until it is carried out.
        after: seconds from then until it is answered.
    """

    Options = Model

    def __init__(self, clock: ManualClock, before: float = 0.0, after: float = 0.0) -> None:
        super().__init__("db", Model())
        self.clock = clock
        self.before, self.after = before, after
        self.issued: dict[str, float] = {}
        self.ends: dict[str, float] = {}
        self.asked = 0
        self.failure: Exception | None = None

    makes_new = True
    pace = 3, 5.0

    def describe(self) -> str:
        return "slow"

    async def _carry_out(self, act: Callable[[], Lease]) -> Lease:
        self.asked += 1
        after = self.after
        await self.clock.sleep(self.before)
        if self.failure is not None:
            raise self.failure
        done = act()
        await self.clock.sleep(after)
        return done

    async def fetch(self) -> Fetched:
        asked_at = self.clock.now()

        def made() -> Lease:
            user = f"user {len(self.issued) + 1}"
            self.issued[user] = self.clock.now()
            self.ends[user] = self.clock.now() + TERM
            return Lease(user, Term(asked_at, TERM, renewable=True, first=TERM))

        lease = await self._carry_out(made)
        return Fetched({"username": lease.id.encode(), "password": b"hunter22"}, lease=lease)

    async def renew(self, lease: Lease) -> Lease | None:
        asked_at = self.clock.now()

        def renewed() -> Lease:
            now = self.clock.now()
            if now >= self.ends.get(lease.id, 0.0):
                raise LeaseLost(Reason.SOURCE_FAILED, "lease not found")
            self.ends[lease.id] = min(now + TERM, self.issued[lease.id] + MOST)
            return replace(lease, term=lease.term.renewed(float(int(self.ends[lease.id] - now)), asked_at))

        return await self._carry_out(renewed)

    async def revoke(self, lease: Lease) -> bool:
        self.ends.pop(lease.id, None)
        return True


async def accepted(_: Credential) -> TrialResult:
    """Every value is good."""
    return TrialResult.ACCEPTED


class World:
    """A keeper of such leases."""

    def __init__(self, clock: ManualClock, seed: int = 7) -> None:
        self.clock = clock
        self.vault = SlowVault(clock)
        self.store = Store(clock)
        self.metrics = CredentialMetrics()
        self.leases = Leases(self.store, clock, lambda _: self.metrics)
        self.keeper = Keeper(
            "db",
            self.vault,
            CredentialSettings(source="stage", options=Model()),
            store=self.store,
            metrics=self.metrics,
            clock=clock,
            trial=accepted,
            leases=self.leases,
            rng=random.Random(seed),
        )
        self.without = 0.0  # seconds for which there has been no value that is good
        self.longest = 0.0

    async def live(self, seconds: float, step: float = 0.25) -> None:
        """Let time pass, and see after each step whether a login would find a user that is one."""
        for _ in range(round(seconds / step)):
            await self.clock.advance(step)
            try:
                user = self.store.require("db").username
            except CredentialError:
                self.without += step
                self.longest = max(self.longest, self.without)
                continue
            assert user is not None
            assert self.vault.ends[user] > self.clock.now(), "a login with this one would fail"
            self.without = 0.0

    async def over(self, task: asyncio.Task[None]) -> None:
        """End it."""
        self.vault.before = self.vault.after = 0.0
        task.cancel()
        await asyncio.wait([task])
        await self.clock.advance(10.0)
        await self.leases.close(0.1)


@pytest.fixture
def clock() -> ManualClock:
    """Stands still."""
    return ManualClock()


@pytest.mark.one_loop
@pytest.mark.parametrize("side", ["before", "after", "both"])
@pytest.mark.parametrize("seconds", [3.5, 5.0])
async def test_no_login_fails_whenever_answers_begin_to_take_long(side: str, seconds: float) -> None:
    """Whatever a lease's age is then, and for as long as it goes on."""
    for begins in range(28):
        clock = ManualClock()
        world = World(clock, seed=begins)
        task = asyncio.ensure_future(world.keeper.run())
        await world.live(begins + 0.5)
        world.vault.before = {"before": seconds, "both": seconds / 2}.get(side, 0.0)
        world.vault.after = seconds - world.vault.before
        asked = world.vault.asked
        await world.live(60)
        assert world.longest < PATIENCE, f"slow from {begins} s on: nobody could log in for {world.longest} s"
        assert world.vault.asked - asked <= 2 * 60 / 4 + 2
        await world.over(task)


async def test_a_renewal_in_time_is_all_that_is_asked_for(clock: ManualClock) -> None:
    world = World(clock)
    task = asyncio.ensure_future(world.keeper.run())
    await world.live(12)
    assert (len(world.vault.issued), world.metrics.leases["renewed"]) == (1, 3)
    await world.over(task)


async def test_while_an_answer_lets_wait_another_is_made_and_the_late_one_is_still_heard(clock: ManualClock) -> None:
    world = World(clock)
    task = asyncio.ensure_future(world.keeper.run())
    await clock.settle()
    world.vault.after = 4.0
    await clock.advance(4.5)  # asked at 3.6 to 4 s, and a second waited for
    assert (world.vault.asked, len(world.vault.issued)) == (2, 1)
    await clock.advance(0.6)
    assert (world.vault.asked, len(world.vault.issued)) == (3, 2)
    first = world.store.require("db")
    assert first.username == "user 1"
    await clock.advance(3.0)
    renewed = world.store.require("db")
    assert renewed.version == 1
    assert renewed.ends_at == pytest.approx(1013.8, abs=0.3)
    await clock.advance(1.2)
    assert world.store.require("db").username == "user 2"
    assert world.metrics.leases["renewed"] == 1
    await world.over(task)


class Alone:
    """A renewal, and what it tells."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock, self.vault = clock, SlowVault(clock)
        self.vault.issued["user 1"], self.vault.ends["user 1"] = clock.now(), clock.now() + TERM
        self.tasks = Tasks(lambda task, error: pytest.fail(f"{task}: {error!r}"))
        self.told: list[tuple[Held, Lease | LeaseLost]] = []
        self.renewal = Renewal("db", clock, self.tasks, lambda held, answer: self.told.append((held, answer)))
        self.held = self.another()

    def another(self) -> Held:
        term = Term(self.clock.now(), TERM, renewable=True, first=TERM)
        return Held("db", 1, Lease("user 1", term), self.vault)

    async def ask(self, held: Held | None = None) -> asyncio.Task[None]:
        task = asyncio.ensure_future(self.renewal.ask(held or self.held))
        await self.clock.settle()
        return task


@pytest.fixture
def alone(clock: ManualClock) -> Alone:
    """One lease of 10 s."""
    return Alone(clock)


async def test_what_is_granted_is_told(alone: Alone) -> None:
    await (await alone.ask())
    ((held, answer),) = alone.told
    assert held is alone.held
    assert isinstance(answer, Lease)
    assert answer.term.care is Care.RENEW


async def test_that_it_is_lost_is_told(alone: Alone) -> None:
    alone.vault.ends.clear()
    await (await alone.ask())
    ((_, answer),) = alone.told
    assert isinstance(answer, LeaseLost)


async def test_what_cannot_be_renewed_says_nothing(alone: Alone, monkeypatch: pytest.MonkeyPatch) -> None:
    async def renew(_: Lease) -> None:
        return None

    monkeypatch.setattr(alone.vault, "renew", renew)
    await (await alone.ask())
    assert alone.told == []


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        (CredentialError(Reason.SOURCE_FAILED, "sealed"), "^sealed$"),
        (ValueError("hunter22"), "^credential 'db': the source failed with ValueError$"),
    ],
)
async def test_a_failure_in_time_is_raised(alone: Alone, failure: Exception, words: str) -> None:
    alone.vault.failure = failure
    with pytest.raises(CredentialError, match=words):
        await (await alone.ask())
    assert alone.told == []


async def test_one_request_is_under_way_at_a_time_for_each_lease(alone: Alone) -> None:
    alone.vault.before = 30.0
    waiting = await alone.ask()
    await alone.clock.advance(5.1)
    assert waiting.done()
    again = await alone.ask()
    assert alone.vault.asked == 1
    other = await alone.ask(alone.another())
    assert alone.vault.asked == 2
    await alone.clock.advance(1.1)
    assert again.done()
    await alone.clock.advance(5)
    assert other.done()
    await alone.tasks.stop(1.0)


async def test_a_failure_that_comes_late_is_nobody_s(alone: Alone) -> None:
    alone.vault.before, alone.vault.failure = 8.0, CredentialError(Reason.SOURCE_FAILED, "sealed")
    waiting = await alone.ask()
    await alone.clock.advance(20)
    await waiting
    assert alone.told == []


async def test_an_answer_that_never_comes_is_given_up(alone: Alone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renewal, "LONGEST", 0.02)
    alone.vault.before = 1e6
    with pytest.raises(CredentialError, match=r"the source gave no answer within 0\.02 s"):
        await (await alone.ask())
