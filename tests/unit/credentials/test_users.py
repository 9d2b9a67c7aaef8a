"""Who uses which version of a credential, and which versions end."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ambassador.credentials import users as users_module
from ambassador.credentials.users import Users

NAME = "orders-db"


@pytest.fixture
def users() -> Users:
    return Users()


@pytest.fixture
def told(users: Users) -> list[tuple[int, bool]]:
    """What was told of the ends of versions."""
    heard: list[tuple[int, bool]] = []
    users.on_ending(NAME, lambda version, final: heard.append((version, final)))
    return heard


# ---- users


def test_what_nobody_has_taken_nobody_uses(users: Users) -> None:
    assert users.in_use(NAME, 1) == 0
    assert not users.has_users(NAME)


def test_users_are_counted_by_name_and_version(users: Users) -> None:
    for name, version in ((NAME, 1), (NAME, 1), (NAME, 2), ("other", 1)):
        users.taken(name, version)
    assert [users.in_use(NAME, 1), users.in_use(NAME, 2), users.in_use("other", 1)] == [2, 1, 1]
    users.left(NAME, 1)
    assert users.in_use(NAME, 1) == 1
    users.left("other", 1)
    assert (users.has_users(NAME), users.has_users("other")) == (True, False)


def test_nobody_leaves_twice(users: Users) -> None:
    users.taken(NAME, 1)
    users.left(NAME, 1)
    with pytest.raises(AssertionError, match="nobody uses credential 'orders-db' version 1"):
        users.left(NAME, 1)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 3), st.booleans())))
def test_the_count_is_that_of_those_who_have_not_left(steps: list[tuple[str, int, bool]]) -> None:
    users = Users()
    model: Counter[tuple[str, int]] = Counter()
    for name, version, takes in steps:
        if takes:
            users.taken(name, version)
            model[name, version] += 1
        elif model[name, version]:
            users.left(name, version)
            model[name, version] -= 1
    assert {key: users.in_use(*key) for key in model} == dict(model)
    assert [users.has_users(name) for name in "ab"] == [any(model[name, v] for v in (1, 2, 3)) for name in "ab"]


# ---- waiting for the last


async def test_what_is_unused_is_not_waited_for(users: Users) -> None:
    users.taken(NAME, 2)
    async with asyncio.timeout(1):
        await users.unused(NAME, 1)
        await users.unused("other", 2)


async def test_the_last_one_is_waited_for(users: Users) -> None:
    for version in (1, 1, 2):
        users.taken(NAME, version)
    waiting = [asyncio.ensure_future(users.unused(NAME, 1)) for _ in range(2)]
    users.left(NAME, 1)
    users.left(NAME, 2)
    await asyncio.sleep(0.01)
    assert not any(one.done() for one in waiting), "another version, and one of two"
    users.left(NAME, 1)
    async with asyncio.timeout(1):
        await asyncio.gather(*waiting)


async def test_one_who_comes_before_the_wait_is_over_is_waited_for_too(users: Users) -> None:
    users.taken(NAME, 1)
    waiting = asyncio.ensure_future(users.unused(NAME, 1))
    await asyncio.sleep(0)
    users.left(NAME, 1)
    users.taken(NAME, 1)
    await asyncio.sleep(0.01)
    assert not waiting.done()
    users.left(NAME, 1)
    async with asyncio.timeout(1):
        await waiting


# ---- ends


def test_an_end_is_told_once_softly_and_once_for_good(users: Users, told: list[tuple[int, bool]]) -> None:
    assert not users.is_ending(NAME, 1)
    users.ending(NAME, 1, final=False)
    users.ending(NAME, 1, final=False)
    assert (users.is_ending(NAME, 1), users.has_ended(NAME, 1)) == (True, False)
    users.ending(NAME, 1, final=True)
    users.ending(NAME, 1, final=True)
    users.ending(NAME, 1, final=False)
    assert (users.is_ending(NAME, 1), users.has_ended(NAME, 1)) == (True, True)
    assert told == [(1, False), (1, True)]


def test_an_end_may_come_at_once(users: Users, told: list[tuple[int, bool]]) -> None:
    users.ending(NAME, 1, final=True)
    assert told == [(1, True)]
    assert not users.is_ending(NAME, 2)
    assert not users.has_ended("other", 1)


def test_who_does_not_want_to_hear_of_it_any_more_does_not(users: Users, told: list[tuple[int, bool]]) -> None:
    heard: list[int] = []
    stop = users.on_ending(NAME, lambda version, _: heard.append(version))
    users.ending("other", 1, final=False)
    users.ending(NAME, 1, final=False)
    stop()
    stop()
    users.ending(NAME, 1, final=True)
    assert (heard, told) == ([1], [(1, False), (1, True)])


def test_one_who_goes_while_it_is_told_keeps_nobody_from_hearing(users: Users) -> None:
    heard: list[str] = []

    def first(*_: object) -> None:
        heard.append("first")
        stop()

    stop = users.on_ending(NAME, first)
    users.on_ending(NAME, lambda *_: heard.append("second"))
    users.ending(NAME, 1, final=False)
    users.ending(NAME, 1, final=True)
    assert heard == ["first", "second", "second"]


def test_what_ended_long_ago_is_forgotten_unless_it_is_used(users: Users, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(users_module, "REMEMBERED", 3)
    users.taken(NAME, 1)
    for version in range(1, 10):
        users.ending(NAME, version, final=True)
    assert [version for version in range(1, 10) if users.has_ended(NAME, version)] == [1, 7, 8, 9]
