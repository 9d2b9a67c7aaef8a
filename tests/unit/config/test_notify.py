"""One inotify instance for all who watch on a loop."""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from asyncinotify import Inotify

from ambassador.config import notify
from ambassador.config.interest import Names
from ambassador.config.notify import Subscription, subscribe


class Heard:
    """How often a subscription was woken, and a way to wait for it."""

    def __init__(self) -> None:
        self.times = 0
        self._woken = asyncio.Event()

    def wake(self) -> None:
        self.times += 1
        self._woken.set()

    async def once(self) -> None:
        async with asyncio.timeout(10):
            await self._woken.wait()
        self._woken.clear()


@asynccontextmanager
async def listening(interests: dict[Path, Names]) -> AsyncIterator[tuple[Heard, Subscription]]:
    heard = Heard()
    subscription = subscribe(heard.wake)
    subscription.want(interests)
    try:
        yield heard, subscription
    finally:
        subscription.end()


def touch(file: Path) -> None:
    file.touch()


async def nothing_more(heard: Heard, marker: Path) -> int:
    """Times heard once every event before now was handled: `marker`, which is listened for elsewhere, is the last."""
    async with listening({marker.parent: frozenset({marker.name})}) as (mine, _):
        touch(marker)
        await mine.once()
    return heard.times


async def test_a_change_to_a_name_that_matters_is_heard(tmp_path: Path) -> None:
    async with listening({tmp_path: frozenset({"a"})}) as (heard, _):
        (tmp_path / "a").write_text("x")
        await heard.once()


async def test_a_rename_over_a_name_is_heard(tmp_path: Path) -> None:
    (tmp_path / "b").write_text("x")
    async with listening({tmp_path: frozenset({"a"})}) as (heard, _):
        (tmp_path / "b").rename(tmp_path / "a")
        await heard.once()


async def test_other_names_are_not_heard(tmp_path: Path) -> None:
    async with listening({tmp_path: frozenset({"a"})}) as (heard, _):
        (tmp_path / "b").write_text("x")
        assert await nothing_more(heard, tmp_path / "marker") == 0


async def test_where_all_names_matter_all_are_heard(tmp_path: Path) -> None:
    async with listening({tmp_path: None}) as (heard, _):
        (tmp_path / "anything").touch()
        await heard.once()


async def test_the_end_of_a_directory_is_heard(tmp_path: Path) -> None:
    directory = tmp_path / "d"
    directory.mkdir()
    async with listening({directory: frozenset({"a"})}) as (heard, _):
        directory.rmdir()
        await heard.once()


async def test_one_instance_serves_all_and_ends_with_the_last(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    (tmp_path / "one").mkdir()
    async with listening({tmp_path: frozenset({"a"})}) as (first, _):
        async with listening({tmp_path: frozenset({"b"}), tmp_path / "one": None}) as (second, _):
            assert len(notify._notifiers) == 1
            (tmp_path / "a").touch()
            await first.once()
            assert second.times == 0
            (tmp_path / "b").touch()
            await second.once()
        (tmp_path / "a").write_text("y")
        await first.once()
        assert loop in notify._notifiers
    assert loop not in notify._notifiers


async def test_what_is_no_longer_wanted_is_no_longer_heard(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "new").mkdir()
    async with listening({tmp_path / "old": None}) as (heard, subscription):
        subscription.want({tmp_path / "new": None})
        (tmp_path / "old" / "a").touch()
        assert await nothing_more(heard, tmp_path / "marker") == 0
        (tmp_path / "new" / "a").touch()
        await heard.once()


async def test_another_directory_at_the_same_path_is_watched_when_asked_anew(tmp_path: Path) -> None:
    directory = tmp_path / "d"
    directory.mkdir()
    async with listening({directory: None}) as (heard, subscription):
        directory.rename(tmp_path / "gone")
        directory.mkdir()
        await heard.once()
        subscription.want({directory: None})
        (directory / "a").touch()
        await heard.once()


async def test_two_ways_to_one_directory_are_one_watch(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    wanted: dict[Path, Names] = {tmp_path / "real": frozenset({"a"}), tmp_path / "link": frozenset({"b"})}
    async with listening(wanted) as (heard, subscription):
        assert list(subscription.wanted.values()) == [frozenset({"a", "b"})]
        (tmp_path / "real" / "a").touch()
        await heard.once()
        (tmp_path / "real" / "b").touch()
        await heard.once()
        subscription.want({tmp_path / "real": frozenset({"a"}), tmp_path / "link": None})
        assert list(subscription.wanted.values()) == [None]


async def test_a_flood_of_events_does_not_hold_up_the_loop(tmp_path: Path) -> None:
    async with listening({tmp_path: None}) as (heard, _):
        for number in range(1000):
            (tmp_path / str(number)).touch()
        await heard.once()
        assert heard.times < 1000
        async with asyncio.timeout(10):
            while heard.times < 1000:
                await heard.once()


async def test_a_directory_that_is_missing_is_left_to_the_poll(tmp_path: Path) -> None:
    async with listening({tmp_path / "none": None}) as (_, subscription):
        assert subscription.wanted == {}


async def test_ending_twice_and_wanting_after_the_end_do_nothing(tmp_path: Path) -> None:
    async with listening({tmp_path: None}) as (_, subscription):
        subscription.end()
        subscription.end()
        subscription.want({tmp_path: None})


def overflow(file: Path) -> None:
    """Make more events than the kernel keeps; each differs from the one before, so that it folds none into one."""
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    for _ in range(limit // 2):
        file.touch()
        file.unlink()


async def test_an_overflowing_queue_wakes_everyone(tmp_path: Path) -> None:
    async with listening({tmp_path: frozenset({"a"})}) as (heard, _):
        overflow(tmp_path / "b")
        await heard.once()


def raising(number: int) -> object:
    def fail(*_: object, **__: object) -> None:
        raise OSError(number, "no more")

    return fail


async def test_without_an_instance_nothing_is_heard_and_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(notify, "Inotify", raising(errno.EMFILE))
    with caplog.at_level(logging.WARNING):
        async with listening({tmp_path: None}) as (heard, _):
            (tmp_path / "a").touch()
    assert heard.times == 0
    assert "polling" in caplog.text


async def test_without_watches_left_nothing_is_heard_and_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(Inotify, "add_watch", raising(errno.ENOSPC))
    with caplog.at_level(logging.WARNING):
        async with listening({tmp_path: None}) as (_, subscription):
            assert subscription.wanted == {}
    assert "polling" in caplog.text
