"""What was granted to us, until it is given back."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest

from ambassador.config.model import Model
from ambassador.credentials.leases import LOOK, Leases
from ambassador.credentials.secret import Secret
from ambassador.credentials.sources.base import Fetched, Lease, Source
from ambassador.credentials.store import Store
from ambassador.credentials.term import Term
from ambassador.credentials.vault.token import Token
from ambassador.errors import CredentialError, Reason
from ambassador.telemetry.metrics import CredentialMetrics
from tests.support.clock import ManualClock

Logged = Callable[[], list[dict[str, Any]]]


class Lender(Source):
    """Takes back what it is given, or as the test says."""

    Options = Model

    def __init__(self) -> None:
        super().__init__("db", Model())
        self.revoked: list[str] = []
        self.asked = 0
        self.failure: Exception | None = None
        self.leaves = False
        self.gate = asyncio.Event()
        self.gate.set()

    async def fetch(self) -> Fetched:
        raise NotImplementedError

    def describe(self) -> str:
        return "lender"

    async def revoke(self, lease: Lease) -> bool:
        self.asked += 1
        await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        if self.leaves:
            return False
        self.revoked.append(lease.id)
        return True


class World:
    """The leases of one daemon, and who uses what they came with."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = Store(self.clock)
        self.metrics: dict[str, CredentialMetrics] = defaultdict(CredentialMetrics)
        self.leases = Leases(self.store, self.clock, self.metrics.__getitem__)
        self.source = Lender()
        self.told: list[tuple[int, bool]] = []
        self.store.on_ending("db", lambda version, final: self.told.append((version, final)))

    def lease(self, name: str = "one", seconds: float = 100.0) -> Lease:
        return Lease(name, Term(self.clock.now(), seconds, renewable=True))

    def adopt(self, version: int, lease: Lease | None) -> None:
        self.leases.adopted("db", version, lease, self.source)

    def adopt_with_token(self) -> Token:
        """A lease of an hour that somebody uses and that ends with a token of 100 s."""
        token = Token(Secret("s.token"), Term(self.clock.now(), 100.0, renewable=True), ours=True)
        self.store.taken("db", 1)
        self.adopt(1, replace(self.lease(seconds=3600.0), parent=token))
        return token

    @property
    def events(self) -> dict[str, int]:
        return {event: number for event, number in self.metrics["db"].leases.items() if number}


@pytest.fixture
async def world() -> AsyncIterator[World]:
    found = World()
    yield found
    found.source.gate.set()
    await found.leases.close(0.1)


# While it is current


async def test_the_lease_of_the_current_value_is_known_by_its_credential(world: World) -> None:
    assert world.leases.current("db") is None
    world.leases.granted("db")
    world.adopt(1, world.lease())
    held = world.leases.current("db")
    assert held is not None
    assert (held.name, held.version, held.lease.id, held.stage) == ("db", 1, "one", "current")
    assert held.source is world.source
    assert world.events == {"issued": 1}


async def test_a_renewed_one_has_its_new_term(world: World) -> None:
    world.adopt(1, world.lease())
    longer = world.lease(seconds=500.0)
    world.leases.renewed("db", longer)
    held = world.leases.current("db")
    assert held is not None
    assert held.lease is longer
    assert world.events == {"renewed": 1}


async def test_a_value_that_comes_without_one_takes_its_place_too(world: World) -> None:
    world.adopt(1, world.lease())
    world.adopt(2, None)
    assert world.leases.current("db") is None
    await world.clock.settle()
    assert world.source.revoked == ["one"]


async def test_credentials_do_not_meet(world: World) -> None:
    world.adopt(1, world.lease())
    world.leases.adopted("other", 1, world.lease("theirs"), world.source)
    world.leases.retire("other")
    world.leases.retire("nobody")
    await world.clock.settle()
    assert world.source.revoked == ["theirs"]
    assert world.leases.current("db") is not None


# When another has taken its place


async def test_one_that_nobody_uses_is_revoked_at_once(world: World, logged: Logged) -> None:
    world.adopt(1, world.lease())
    world.adopt(2, world.lease("two"))
    await world.clock.settle()
    assert world.source.revoked == ["one"]
    assert (world.events, world.told) == ({"revoked": 1}, [])
    assert [(line["event"], line["credential"], line["version"]) for line in logged()] == [("lease revoked", "db", 1)]


async def test_one_that_is_used_is_revoked_once_its_last_user_has_left(world: World) -> None:
    for _ in range(2):
        world.store.taken("db", 1)
    world.adopt(1, world.lease())
    world.adopt(2, world.lease("two"))
    await world.clock.advance(30)
    world.store.left("db", 1)
    await world.clock.advance(30)
    assert world.source.revoked == []
    world.store.left("db", 1)
    await world.clock.settle()
    assert (world.source.revoked, world.told) == (["one"], [])


async def test_near_its_end_users_are_told_then_cut_and_then_it_lapses(world: World, logged: Logged) -> None:
    world.store.taken("db", 1)
    world.adopt(1, world.lease())
    world.adopt(2, world.lease("two", 1000.0))
    await world.clock.advance(79)
    assert world.told == []
    await world.clock.advance(2)
    assert world.told == [(1, False)]
    await world.clock.advance(8)
    assert world.told == [(1, False)]
    await world.clock.advance(2)
    assert world.told == [(1, False), (1, True)]
    await world.clock.advance(10)
    assert (world.source.revoked, world.events) == ([], {"lapsed": 1})
    assert [line["event"] for line in logged()] == ["lease lapsed"]


async def test_one_whose_users_go_when_they_are_told_is_revoked(world: World) -> None:
    def leave(version: int, final: bool) -> None:
        world.store.left("db", version)

    world.store.taken("db", 1)
    world.store.on_ending("db", leave)
    world.adopt(1, world.lease())
    world.leases.retire("db")
    await world.clock.advance(81)
    assert (world.source.revoked, world.told) == (["one"], [(1, False)])


async def test_we_may_wake_late(world: World) -> None:
    """The machine slept through everything: users are still asked before they are cut."""
    world.store.taken("db", 1)
    world.adopt(1, world.lease())
    world.leases.retire("db")
    await world.clock.settle()
    world.clock._move(world.clock.now() + 5000.0)
    await world.clock.advance(0.05)
    assert world.told == [(1, False)]
    await world.clock.advance(0.5)
    assert world.told == [(1, False), (1, True)]
    assert world.events == {"lapsed": 1}


async def test_a_wall_clock_that_jumps_changes_nothing(world: World) -> None:
    world.store.taken("db", 1)
    world.adopt(1, world.lease())
    world.leases.retire("db")
    for jump in (1e8, -2e8):
        world.clock.jump(jump)
        await world.clock.advance(35)
    assert (world.told, world.source.asked) == ([], 0)


async def test_the_users_of_one_whose_token_ends_before_it_are_told_in_time(world: World) -> None:
    token = world.adopt_with_token()
    world.adopt(2, world.lease("two", 3600.0))
    await world.clock.advance(60)
    assert world.told == []
    token.trouble = "the vault is sealed"
    world.leases.moved()
    await world.clock.advance(31)
    assert world.told == [], "40 s were left when that was known: the last fifth has not begun"
    await world.clock.advance(2)
    assert world.told == [(1, False)]
    await world.clock.advance(4)
    assert world.told == [(1, False), (1, True)]
    await world.clock.advance(4)
    assert world.events == {"lapsed": 1}


async def test_its_end_is_seen_though_nobody_tells_of_it(world: World) -> None:
    token = world.adopt_with_token()
    world.leases.retire("db")
    await world.clock.advance(30)
    token.trouble = "the vault is sealed"
    await world.clock.advance(2 * LOOK)
    assert world.told == []
    await world.clock.advance(55)
    assert world.told == [(1, False), (1, True)]


async def test_users_stay_where_its_token_is_kept_alive_after_all(world: World) -> None:
    token = world.adopt_with_token()
    world.adopt(2, world.lease("two", 3600.0))
    await world.clock.advance(60)
    for token.trouble in ("the vault is sealed", None):
        world.leases.moved()
        await world.clock.advance(25)
    await world.clock.advance(3000)
    assert world.told == []


async def test_a_lost_one_is_not_revoked_but_its_users_must_go_soon(world: World) -> None:
    world.store.taken("db", 1)
    world.adopt(1, world.lease(seconds=3600.0))
    world.leases.lost("db")
    assert world.leases.current("db") is None
    assert world.told == []
    world.adopt(2, world.lease("two", 3600.0))
    await world.clock.advance(61)
    assert world.told == [(1, False), (1, True)]
    assert (world.source.asked, world.events) == (0, {"lost": 1, "lapsed": 1})


async def test_one_that_a_server_has_refused_is_left_soon_and_given_back(world: World) -> None:
    world.adopt(1, world.lease(seconds=3600.0))
    world.store.taken("db", 1)
    world.leases.adopted("db", 2, world.lease("two"), world.source, refused=True)
    await world.clock.advance(3.5)
    assert world.told == [(1, False)], "not only when its term is nearly over"
    world.store.left("db", 1)
    await world.clock.advance(1)
    assert world.source.revoked == ["one"]
    assert world.events == {"lost": 1}, "who refused it, or somebody before, has revoked it"


async def test_a_lost_one_that_nobody_uses_is_over(world: World) -> None:
    world.adopt(1, world.lease())
    world.leases.lost("db")
    world.leases.lost("nobody's")
    world.leases.retire("db")
    await world.clock.settle()
    assert world.source.asked == 0
    assert world.leases.held_by(lambda source: True) == 0


async def test_one_whose_value_never_became_current_is_given_back(world: World) -> None:
    world.adopt(1, world.lease())
    world.leases.give_back("db", 2, world.lease("tried"), world.source)
    await world.clock.settle()
    assert world.source.revoked == ["tried"]
    assert world.leases.current("db") is not None


# Revocations that fail


async def test_a_revocation_that_fails_is_tried_again_but_not_in_a_busy_loop(world: World, logged: Logged) -> None:
    world.source.failure = CredentialError(Reason.SOURCE_FAILED, "vault 'main' is sealed")
    world.adopt(1, world.lease(seconds=3600.0))
    world.leases.retire("db")
    await world.clock.advance(600)
    assert 15 < world.source.asked < 100
    world.source.failure = None
    await world.clock.advance(31)
    assert world.source.revoked == ["one"]
    assert {line["error"] for line in logged() if line["event"] == "lease not revoked"} == {"vault 'main' is sealed"}


async def test_one_that_cannot_be_revoked_ends_by_itself(world: World) -> None:
    world.source.failure = CredentialError(Reason.SOURCE_FAILED, "no")
    world.adopt(1, world.lease())
    world.leases.retire("db")
    await world.clock.advance(140)
    asked = world.source.asked
    assert world.events == {"lapsed": 1}
    await world.clock.advance(1000)
    assert world.source.asked == asked


async def test_one_that_is_to_be_left_is_left(world: World) -> None:
    world.source.leaves = True
    world.adopt(1, world.lease())
    world.leases.retire("db")
    await world.clock.advance(200)
    assert (world.source.asked, world.source.revoked) == (1, [])
    assert "revoked" not in world.events


async def test_how_many_a_source_has_lent_is_known_until_all_are_given_back(world: World) -> None:
    def ours(source: Source) -> bool:
        return source is world.source

    world.adopt(1, world.lease())
    world.store.taken("db", 1)
    world.adopt(2, world.lease("two"))
    await world.clock.settle()
    assert (world.leases.held_by(ours), world.leases.held_by(lambda source: False)) == (2, 0)
    world.store.left("db", 1)
    await world.clock.settle()
    assert world.leases.held_by(ours) == 1
    world.leases.retire("db")
    await world.clock.settle()
    assert world.leases.held_by(ours) == 0


# The end of the daemon


async def test_in_the_end_everything_is_revoked_used_or_not(world: World) -> None:
    world.store.taken("db", 1)
    world.adopt(1, world.lease())
    world.adopt(2, world.lease("two"))
    await world.clock.settle()
    assert await world.leases.close(5.0) == 0
    assert sorted(world.source.revoked) == ["one", "two"]
    assert world.leases.held_by(lambda source: True) == 0
    assert world.leases.current("db") is None


async def test_an_end_does_not_wait_for_a_vault_that_does_not_answer(world: World, logged: Logged) -> None:
    world.source.gate.clear()
    world.adopt(1, world.lease())
    world.leases.adopted("other", 1, world.lease("two"), world.source)
    async with asyncio.timeout(2):
        assert await world.leases.close(0.05) == 2
    assert "leases not revoked" in [line["event"] for line in logged()]


async def test_what_cannot_be_revoked_in_the_end_is_counted(world: World) -> None:
    world.source.failure = CredentialError(Reason.SOURCE_FAILED, "no")
    world.adopt(1, world.lease())
    world.leases.adopted("other", 1, world.lease("two"), Lender())
    assert await world.leases.close(5.0) == 1


async def test_a_revocation_in_progress_when_the_end_comes_is_done_anew(world: World) -> None:
    world.source.gate.clear()
    world.adopt(1, world.lease())
    world.leases.retire("db")
    await world.clock.settle()
    assert world.source.asked == 1
    closing = asyncio.ensure_future(world.leases.close(5.0))
    await world.clock.settle()
    world.source.gate.set()
    assert await closing == 0
    assert world.source.revoked == ["one"]
