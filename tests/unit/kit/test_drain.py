"""Telling everyone to leave, and waiting until they have."""

from __future__ import annotations

import asyncio

import pytest

from ambassador.kit.drain import Drain


async def test_nobody_is_told_before_the_start() -> None:
    drain, told = Drain(), list[str]()
    drain.join("a", lambda: told.append("a"))
    assert (drain.started, drain.members, told) == (False, 1, [])


async def test_every_member_is_told_once() -> None:
    drain, told = Drain(), list[str]()
    drain.join("a", lambda: told.append("a"))
    drain.join("b", lambda: told.append("b"))
    drain.start()
    drain.start()
    assert drain.started
    assert told == ["a", "b"]


async def test_who_joins_late_is_told_at_once() -> None:
    drain, told = Drain(), list[str]()
    drain.start()
    drain.join("late", lambda: told.append("late"))
    assert told == ["late"]
    assert drain.members == 1


async def test_members_may_part_as_they_are_told() -> None:
    drain = Drain()
    for name in ("a", "b", "c"):
        drain.join(name, lambda name=name: drain.part(name))  # type: ignore[misc]  # mypy cannot infer the default
    drain.start()
    assert drain.members == 0
    await drain.emptied()


async def test_emptied_waits_for_the_last_member() -> None:
    drain = Drain()
    drain.join("a", lambda: None)
    drain.join("b", lambda: None)
    drain.start()
    drain.part("a")
    drain.part("a")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await drain.emptied()
    drain.part("b")
    await drain.emptied()


async def test_an_empty_drain_is_empty_at_once() -> None:
    await Drain().emptied()
    drain = Drain()
    drain.join("a", lambda: None)
    drain.part("a")
    drain.part("never joined")
    async with asyncio.timeout(1):
        await drain.emptied()
    assert drain.members == 0
