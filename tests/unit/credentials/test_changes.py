"""What a source tells is heard as long as somebody listens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from ambassador.config.model import Model
from ambassador.config.schema import CredentialSettings
from ambassador.credentials.changes import Changes
from ambassador.credentials.sources.base import Change, Fetched, Source
from ambassador.kit.clock import Clock
from tests.support.clock import ManualClock

Logged = Callable[[], list[dict[str, Any]]]

SETTINGS = CredentialSettings(source="teller", options=Model(), poll=7.0, debounce=0.5)


class Teller(Source):
    """Tells when the test says so."""

    Options = Model

    def __init__(self, *, tells: bool = True) -> None:
        super().__init__("db", Model())
        self.tells = tells
        self.listened: list[tuple[float, float]] = []
        self.closed = 0
        self.word: asyncio.Queue[Exception | Change | bool] = asyncio.Queue()

    async def fetch(self) -> Fetched:
        raise NotImplementedError

    def describe(self) -> str:
        return "teller"

    def changes(self, *, poll: float, debounce: float, clock: Clock) -> AsyncGenerator[Change] | None:
        if not self.tells:
            return None
        self.listened.append((poll, debounce))
        return self._told()

    async def _told(self) -> AsyncGenerator[Change]:
        try:
            while word := await self.word.get():
                if isinstance(word, Exception):
                    raise word
                yield Change.END if word is Change.END else Change.VALUE
        finally:
            self.closed += 1


class Ear:
    """Counts what is heard."""

    def __init__(self, source: Teller, clock: ManualClock) -> None:
        self.heard = 0
        self.last: Change | None = None
        self.changes = Changes(source, SETTINGS, clock, self.hear)

    def hear(self, change: Change) -> None:
        self.heard, self.last = self.heard + 1, change

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        task = asyncio.ensure_future(self.changes.follow())
        yield
        task.cancel()
        await asyncio.wait([task])


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


async def test_each_word_is_heard(clock: ManualClock) -> None:
    source = Teller()
    ear = Ear(source, clock)
    async with ear.open():
        for _ in range(3):
            source.word.put_nowait(True)
        await clock.settle()
        assert ear.heard == 3
    assert source.listened == [(7.0, 0.5)]
    assert source.closed == 1


async def test_what_it_is_about_is_passed_on(clock: ManualClock) -> None:
    source = Teller()
    ear = Ear(source, clock)
    async with ear.open():
        for change in (Change.END, Change.VALUE):
            source.word.put_nowait(change)
            await clock.settle()
            assert ear.last is change


async def test_it_listens_from_the_very_first_moment(clock: ManualClock) -> None:
    source = Teller()
    ear = Ear(source, clock)
    assert ear.changes.are_told
    source.word.put_nowait(True)
    async with ear.open():
        await clock.settle()
        assert ear.heard == 1


async def test_a_source_that_cannot_tell_is_not_listened_to(clock: ManualClock) -> None:
    ear = Ear(Teller(tells=False), clock)
    assert not ear.changes.are_told
    async with asyncio.timeout(1):
        await ear.changes.follow()
    assert ear.heard == 0


async def test_one_that_fails_is_listened_to_again_and_looked_at_once(clock: ManualClock, logged: Logged) -> None:
    source = Teller()
    ear = Ear(source, clock)
    async with ear.open():
        source.word.put_nowait(RuntimeError("out of order"))
        await clock.settle()
        assert (ear.heard, len(source.listened)) == (0, 1)
        await clock.advance(0.6)
        assert (ear.heard, len(source.listened)) == (1, 2)
        source.word.put_nowait(True)
        await clock.settle()
        assert ear.heard == 2
    assert [line["event"] for line in logged()] == ["credential not watched"]


async def test_one_that_ends_by_itself_is_listened_to_again(clock: ManualClock, logged: Logged) -> None:
    source = Teller()
    ear = Ear(source, clock)
    async with ear.open():
        source.word.put_nowait(False)
        await clock.advance(0.6)
        assert (ear.heard, len(source.listened), source.closed) == (1, 2, 1)
    assert logged() == []


async def test_one_that_fails_over_and_over_is_not_asked_in_a_busy_loop(clock: ManualClock) -> None:
    source = Teller()
    ear = Ear(source, clock)
    for _ in range(1000):
        source.word.put_nowait(RuntimeError("out of order"))
    async with ear.open():
        await clock.advance(600)
        assert 20 < len(source.listened) < 120


async def test_one_that_can_no_longer_tell_is_left_alone(clock: ManualClock) -> None:
    source = Teller()
    ear = Ear(source, clock)
    async with ear.open():
        source.tells = False
        source.word.put_nowait(False)
        await clock.advance(60)
        assert (ear.heard, len(source.listened)) == (1, 1)
