"""The current value of every credential, by name."""

from __future__ import annotations

import asyncio

import pytest

from ambassador.credentials.credential import Credential
from ambassador.credentials.store import Store
from ambassador.errors import CredentialError, Reason
from tests.support.clock import ManualClock


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def store(clock: ManualClock) -> Store:
    return Store(clock)


async def settled() -> None:
    """Let everybody run until they wait for something."""
    await ManualClock().settle()


class Ear:
    """A keeper's ear."""

    def __init__(self) -> None:
        self.heard: list[int | None] = []

    def __call__(self, version: int | None) -> None:
        self.heard.append(version)


def value(version: int, *, name: str = "db", not_after: float | None = None) -> Credential:
    return Credential(name, version, {"username": b"app", "password": b"pw %d" % version}, not_after=not_after)


# Reading


def test_a_name_nobody_has_filled_has_no_value(store: Store) -> None:
    assert store.current("db") is None
    with pytest.raises(CredentialError, match="'db' has no value yet") as caught:
        store.require("db")
    assert caught.value.reason is Reason.NO_CREDENTIAL


def test_the_error_of_a_missing_value_says_why_it_is_missing(store: Store) -> None:
    store.note("db", "no such file")
    with pytest.raises(CredentialError, match="has no value yet: no such file"):
        store.require("db")


def test_what_was_put_last_is_current(store: Store) -> None:
    first, second = value(1), value(2)
    store.put(first)
    store.put(second)
    assert store.current("db") is second
    assert store.require("db") is second


def test_expiry_is_seen_at_use_even_when_the_wall_clock_jumps(store: Store, clock: ManualClock) -> None:
    ear = Ear()
    store.attach("db", "test", ear)
    store.put(value(1, not_after=clock.wall() + 60))
    assert store.require("db").version == 1
    clock.jump(61)
    with pytest.raises(CredentialError, match="version 1 has expired") as caught:
        store.require("db")
    assert caught.value.reason is Reason.CREDENTIAL_EXPIRED
    assert ear.heard == [None]
    clock.jump(-61)
    assert store.require("db").version == 1


async def test_one_that_was_refused_is_said_to_be_while_its_source_is_not_well(store: Store) -> None:
    def refused() -> bool:
        (status,) = store.snapshot()
        return status.refused

    store.attach("db", "test", Ear())
    store.put(value(1))
    await store.refused("db", 1, timeout=0.0)
    assert not refused()
    store.note("db", "the vault is sealed")
    assert refused()
    store.note("db", None)
    store.note("db", "the vault is sealed")
    assert not refused(), "the source has shown it again since"
    await store.refused("db", 1, timeout=0.0)
    assert refused()
    store.put(value(2))
    store.note("db", "the vault is sealed")
    assert not refused()


async def test_usable_waits_for_the_first_value(store: Store) -> None:
    ear = Ear()
    store.attach("db", "test", ear, patience=5.0)
    waiting = asyncio.ensure_future(store.usable("db"))
    await settled()
    assert ear.heard == [None]
    store.put(value(1))
    assert (await waiting).version == 1
    assert (await store.usable("db")).version == 1


async def test_usable_waits_for_a_successor_of_what_has_expired(store: Store, clock: ManualClock) -> None:
    store.attach("db", "test", Ear(), patience=5.0)
    store.put(value(1, not_after=clock.wall() - 1))
    waiting = asyncio.ensure_future(store.usable("db"))
    await settled()
    store.put(value(2, not_after=clock.wall() - 1))
    await settled()
    store.put(value(3, not_after=clock.wall() + 1))
    assert (await waiting).version == 3


async def test_usable_waits_for_the_first_value_of_a_source_that_cannot_be_asked_again(store: Store) -> None:
    store.attach("db", "env X", None, patience=5.0)
    waiting = asyncio.ensure_future(store.usable("db"))
    await settled()
    assert not waiting.done()
    store.put(value(1))
    assert (await waiting).version == 1


async def test_usable_does_not_wait_where_there_is_no_keeper(store: Store) -> None:
    async with asyncio.timeout(1.0):
        with pytest.raises(CredentialError):
            await store.usable("nobody", timeout=60.0)


async def test_usable_gives_up_after_its_time(store: Store) -> None:
    store.attach("db", "test", Ear(), patience=5.0)
    with pytest.raises(CredentialError) as caught:
        await store.usable("db", timeout=0.01)
    assert caught.value.reason is Reason.NO_CREDENTIAL


# A login was refused


async def test_a_newer_value_is_given_at_once_and_nobody_is_asked(store: Store) -> None:
    ear = Ear()
    store.attach("db", "test", ear, patience=5.0)
    store.put(value(2))
    newer = await store.refused("db", 1)
    assert newer is store.current("db")
    assert ear.heard == []


async def test_the_keeper_is_asked_and_the_session_waits_for_the_next_value(store: Store) -> None:
    ear = Ear()
    store.attach("db", "test", ear, patience=5.0)
    store.put(value(1))
    waiting = asyncio.ensure_future(store.refused("db", 1))
    await settled()
    assert ear.heard == [1]
    store.put(value(1))  # a renewal of the same value is no news
    await settled()
    assert not waiting.done()
    store.put(value(2))
    newer = await waiting
    assert newer is not None
    assert newer.version == 2


async def test_a_hundred_sessions_get_the_same_newer_value(store: Store) -> None:
    store.attach("db", "test", Ear(), patience=5.0)
    store.put(value(1))
    waiting = [asyncio.ensure_future(store.refused("db", 1)) for _ in range(100)]
    await settled()
    store.put(value(2))
    found = await asyncio.gather(*waiting)
    assert set(map(id, found)) == {id(store.current("db"))}


@pytest.mark.parametrize("timeout", [None, 0.01])
async def test_without_a_newer_value_in_time_there_is_none(store: Store, timeout: float | None) -> None:
    store.attach("db", "test", Ear(), patience=0.02)
    store.put(value(1))
    assert await store.refused("db", 1, timeout) is None


async def test_a_newer_value_that_has_expired_does_not_count(store: Store, clock: ManualClock) -> None:
    store.attach("db", "test", Ear(), patience=0.01)
    store.put(value(2, not_after=clock.wall() - 1))
    assert await store.refused("db", 1) is None


async def test_nobody_waits_where_nobody_looks_for_another(store: Store) -> None:
    async with asyncio.timeout(1.0):
        assert await store.refused("nobody", 1, timeout=60.0) is None
        store.attach("db", "env", None, patience=60.0)
        store.put(value(1))
        assert await store.refused("db", 1) is None


async def test_who_waits_is_let_go_when_the_name_is_retired(store: Store) -> None:
    store.attach("db", "test", Ear(), patience=60.0)
    store.put(value(1))
    waiting = asyncio.ensure_future(store.refused("db", 1))
    await settled()
    store.retire("db")
    async with asyncio.timeout(1.0):
        assert await waiting is None


# Subscribers


def test_subscribers_hear_of_each_value_and_not_of_the_end(store: Store) -> None:
    heard: list[Credential] = []
    end = store.subscribe("db", heard.append)
    first, second = value(1), value(2)
    store.put(first)
    store.put(second)
    store.retire("db")
    assert heard == [first, second]
    end()
    store.put(value(3))
    assert len(heard) == 2


# Keepers


async def test_a_keeper_that_was_replaced_cannot_leave_for_its_successor(store: Store) -> None:
    first, second = Ear(), Ear()
    leave_first = store.attach("db", "same", first)
    leave_second = store.attach("db", "same", second)
    store.put(value(1))
    leave_first()
    await store.refused("db", 1, timeout=0)
    assert (first.heard, second.heard) == ([], [1])
    leave_second()
    await store.refused("db", 1, timeout=0)
    assert second.heard == [1]


def test_the_value_outlives_its_keeper(store: Store) -> None:
    leave = store.attach("db", "test", Ear())
    store.put(value(1))
    leave()
    assert store.require("db").version == 1


def test_version_numbers_go_on_through_retirement(store: Store) -> None:
    assert store.next_version("db") == 1
    store.put(value(5))
    assert store.next_version("db") == 6
    store.retire("db")
    assert store.current("db") is None
    assert store.next_version("db") == 7
    store.retire("never heard of")


# Status


def test_the_status_tells_everything_but_the_value(store: Store, clock: ManualClock) -> None:
    store.attach("db", "file /etc/secret", Ear())
    store.put(value(3, not_after=clock.wall() + 10))
    store.advise("db", ("mounted by itself",))
    store.note("db", "version 4 was refused")
    clock._move(clock.now() + 7)
    (status,) = store.snapshot()
    assert (status.name, status.source, status.version) == ("db", "file /etc/secret", 3)
    assert status.age == 7
    assert status.expires == clock.wall() + 3
    assert not status.expired
    assert status.error == "version 4 was refused"
    assert status.warnings == ("mounted by itself",)
    assert "pw 3" not in repr(status)


def test_the_status_of_what_has_no_value_yet_says_so(store: Store) -> None:
    store.attach("b", "env X", None)
    store.subscribe("only wanted by somebody", lambda _: None)
    store.put(value(1, name="a", not_after=1.0))
    first, second = store.snapshot()
    assert (first.name, first.expired) == ("a", True)
    assert (second.name, second.version, second.age, second.expires) == ("b", 0, None, None)
    assert not second.expired


def test_a_new_value_clears_the_error_and_a_renewal_keeps_the_age(store: Store, clock: ManualClock) -> None:
    store.put(value(1))
    clock._move(clock.now() + 5)
    store.note("db", "trouble")
    store.put(value(1, not_after=9e9))
    (status,) = store.snapshot()
    assert status.error is None
    assert status.age == 5
