"""Noticing edits, renames and the kubelet's swaps."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from itertools import count
from pathlib import Path

import pytest

from ambassador.config import notify
from ambassador.config.watch import watch
from ambassador.kit.clock import SYSTEM

NEVER = 3600.0
DEBOUNCE = 0.01


class Mount:
    """A Secret or ConfigMap as the kubelet mounts it: files are links through `..data` to one generation."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._numbers = count(1)
        directory.mkdir(parents=True)

    def put(self, **files: str) -> None:
        """Replace everything at once."""
        generation = self.directory / f"..2026_{next(self._numbers)}"
        generation.mkdir()
        for name, text in files.items():
            (generation / name).write_text(text)
        data = self.directory / "..data"
        old = data.resolve() if data.exists() else None
        fresh = self.directory / "..data_tmp"
        fresh.symlink_to(generation.name)
        fresh.rename(data)
        for name in files:
            if not (link := self.directory / name).is_symlink():
                link.symlink_to(f"..data/{name}")
        if old is not None:
            shutil.rmtree(old)


class Seen:
    """What a watch yields."""

    def __init__(self, changes: AsyncGenerator[None]) -> None:
        self._changes = changes

    async def change(self) -> None:
        """Wait for the next change."""
        async with asyncio.timeout(10):
            await anext(self._changes)

    async def none(self, seconds: float = 0.2) -> None:
        """Nothing may be seen for so long. It ends the watch."""
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(seconds):
                await anext(self._changes)


@asynccontextmanager
async def watching(*paths: Path, poll: float = NEVER) -> AsyncIterator[Seen]:
    """A watch that is already listening."""
    async with aclosing(watch(paths, poll=poll, debounce=DEBOUNCE)) as changes:
        yield Seen(changes)


async def settled(action: Callable[[], object]) -> None:
    """Do something a moment after a watch began to wait."""
    await SYSTEM.sleep(5 * DEBOUNCE)
    action()


async def after(seen: Seen, action: Callable[[], object]) -> None:
    """`action`, done while the watch waits, is seen as a change."""
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(settled(action))
        await seen.change()


async def test_an_edit_in_place_is_seen(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("one")
    async with watching(file) as seen:
        for number in range(3):
            await after(seen, lambda number=number: file.write_text(str(number)))  # type: ignore[misc]  # a lambda's default has no type
        await seen.none()


async def test_a_rename_over_the_file_is_seen_every_time(tmp_path: Path) -> None:
    file, fresh = tmp_path / "a.yaml", tmp_path / ".a.yaml.swp"
    file.write_text("one")
    async with watching(file) as seen:
        for number in range(3):
            fresh.write_text(str(number))
            await after(seen, lambda: fresh.rename(file))
        await seen.none()


@pytest.mark.parametrize("whole", [True, False], ids=["directory", "file"])
async def test_the_kubelet_s_swaps_are_seen_every_time(tmp_path: Path, whole: bool) -> None:
    mount = Mount(tmp_path / "secret")
    mount.put(password="zero", username="app")
    async with watching(mount.directory if whole else mount.directory / "password") as seen:
        for number in range(4):
            await after(seen, lambda number=number: mount.put(password=f"pw-{number}", username="app"))  # type: ignore[misc]  # a lambda's default has no type
        await seen.none()


async def test_a_path_through_data_itself_is_seen_every_time(tmp_path: Path) -> None:
    mount = Mount(tmp_path / "secret")
    mount.put(password="zero")
    async with watching(mount.directory / "..data" / "password") as seen:
        for number in range(3):
            await after(seen, lambda number=number: mount.put(password=f"pw-{number}"))  # type: ignore[misc]  # a lambda's default has no type


async def test_a_swap_to_the_same_content_is_no_change(tmp_path: Path) -> None:
    mount = Mount(tmp_path / "secret")
    mount.put(password="same")
    async with watching(mount.directory) as seen, asyncio.TaskGroup() as tasks:
        tasks.create_task(settled(lambda: mount.put(password="same")))
        await seen.none(0.5)


async def test_a_directory_that_is_deleted_and_made_anew_is_seen(tmp_path: Path) -> None:
    mount = Mount(tmp_path / "a" / "b" / "secret")
    mount.put(password="zero")
    async with watching(mount.directory) as seen:
        for number in range(2):
            await after(seen, lambda: shutil.rmtree(tmp_path / "a"))
            await after(seen, lambda number=number: Mount(mount.directory).put(password=f"pw-{number}"))  # type: ignore[misc]  # a lambda's default has no type
            await after(seen, lambda number=number: (mount.directory / "..data" / "password").write_text(f"w-{number}"))  # type: ignore[misc]  # a lambda's default has no type


async def test_a_directory_that_is_replaced_by_another_is_seen(tmp_path: Path) -> None:
    live, next_one = tmp_path / "live", tmp_path / "next"
    live.mkdir()
    (live / "a").write_text("one")
    async with watching(live) as seen:

        def replace() -> None:
            next_one.mkdir()
            (next_one / "a").write_text("two")
            live.rename(tmp_path / "old")
            next_one.rename(live)

        await after(seen, replace)
        await after(seen, lambda: (live / "a").write_text("three"))


async def test_a_file_that_appears_later_is_seen(tmp_path: Path) -> None:
    file = tmp_path / "not" / "yet" / "a.yaml"
    async with watching(file) as seen:

        def make() -> None:
            file.parent.mkdir(parents=True)
            file.write_text("one")

        await after(seen, make)
        await after(seen, file.unlink)


async def test_the_target_of_a_link_elsewhere_is_seen(tmp_path: Path) -> None:
    (tmp_path / "archive").mkdir()
    (tmp_path / "live").mkdir()
    target, link = tmp_path / "archive" / "cert1.pem", tmp_path / "live" / "cert.pem"
    target.write_text("one")
    link.symlink_to(target)
    async with watching(link) as seen:
        await after(seen, lambda: target.write_text("two"))

        def repoint() -> None:
            (tmp_path / "archive" / "cert2.pem").write_text("three")
            link.unlink()
            link.symlink_to("../archive/cert2.pem")

        await after(seen, repoint)


async def test_what_changed_between_the_call_and_the_first_look_is_seen(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("one")
    async with watching(file) as seen:
        file.write_text("two")
        await seen.change()


async def test_a_row_of_changes_is_seen_as_one(tmp_path: Path) -> None:
    async with watching(tmp_path) as seen:

        def write_all() -> None:
            for name in "abcdef":
                (tmp_path / name).write_text("x")

        await after(seen, write_all)
        await seen.none()


async def test_a_file_that_never_rests_is_seen_all_the_same(tmp_path: Path) -> None:
    file = tmp_path / "log"

    async def scribble() -> None:
        for number in count():
            file.write_text(str(number))
            await SYSTEM.sleep(DEBOUNCE / 4)

    async with watching(file) as seen, asyncio.TaskGroup() as tasks:
        scribbler = tasks.create_task(scribble())
        for _ in range(3):
            await seen.change()
        scribbler.cancel()


async def test_where_nothing_tells_of_changes_the_poll_finds_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(*_: object, **__: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(notify, "Inotify", none_left)
    file = tmp_path / "a.yaml"
    file.write_text("one")
    async with watching(file, poll=0.05) as seen:
        for number in range(3):
            await after(seen, lambda number=number: file.write_text(str(number)))  # type: ignore[misc]  # a lambda's default has no type


async def test_several_watches_do_not_disturb_one_another(tmp_path: Path) -> None:
    first, second = Mount(tmp_path / "first"), Mount(tmp_path / "second")
    first.put(password="one")
    second.put(password="one")
    async with watching(first.directory) as seen_first, watching(second.directory) as seen_second:
        await after(seen_first, lambda: first.put(password="two"))
        await after(seen_second, lambda: second.put(password="two"))
        await seen_first.none()
        await after(seen_second, lambda: second.put(password="three"))


async def test_a_watch_that_is_never_begun_leaves_nothing_behind(tmp_path: Path) -> None:
    changes = watch([tmp_path], poll=NEVER, debounce=DEBOUNCE)
    await changes.aclose()
    assert asyncio.get_running_loop() not in notify._notifiers
