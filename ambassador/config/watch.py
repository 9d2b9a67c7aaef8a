"""Notice when files change: edited, replaced by a rename, or swapped as the kubelet swaps a mounted Secret.

inotify tells of changes at once, but not over every kind of mount and not when its queue or its quota is full; so a
slow poll looks as well. Either only says "look": a change is what `fingerprint` sees as one.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Iterable
from pathlib import Path
from typing import Final

from ambassador.config import notify
from ambassador.config.fingerprint import Fingerprint, fingerprint
from ambassador.config.interest import interests
from ambassador.kit.clock import SYSTEM, Clock
from ambassador.kit.tasks import Tasks

_MOST_QUIET_ROUNDS: Final = 8
"""After so many debounces in a row a file that never rests is looked at all the same."""

_MOST_SETTLING: Final = 5


def watch(
    paths: Iterable[str | os.PathLike[str]], *, poll: float, debounce: float, clock: Clock = SYSTEM
) -> AsyncGenerator[None]:
    """Yield each time the content of files has changed since this call, or since the last yield.

    Call it before reading the files, so that no change falls between. Leaving the loop early leaves descriptors
    open until the generator is closed: use `contextlib.aclosing`.

    Args:
        paths: files, and directories for the files in them; they may come and go.
        poll: seconds between two looks that no event asked for.
        debounce: seconds of quiet that are waited for after an event.
        clock: where the seconds come from.
    """
    names = tuple(Path(path) for path in paths)
    return _Watch(names, debounce, clock).changes(fingerprint(names), poll)


class _Watch:
    def __init__(self, paths: tuple[Path, ...], debounce: float, clock: Clock) -> None:
        self._paths = paths
        self._debounce = debounce
        self._clock = clock
        self._woken = asyncio.Event()

    async def changes(self, seen: Fingerprint, poll: float) -> AsyncGenerator[None]:
        subscription = notify.subscribe(self._woken.set)
        tasks = Tasks(lambda _name, _error: self._woken.set())
        tasks.start(self._tick(poll), name="poll watched files")
        try:
            self._woken.set()  # what changed before the first listening is seen by looking once
            while True:
                await self._woken.wait()
                await self._quiet()
                await self._listen(subscription)
                now = await asyncio.to_thread(fingerprint, self._paths)
                if now != seen:
                    seen = now
                    yield
        finally:
            subscription.end()
            await tasks.stop(1.0)

    async def _tick(self, poll: float) -> None:
        while True:
            await self._clock.sleep(poll)
            self._woken.set()

    async def _quiet(self) -> None:
        for _ in range(_MOST_QUIET_ROUNDS):
            self._woken.clear()
            await self._clock.sleep(self._debounce)
            if not self._woken.is_set():
                return
        self._woken.clear()

    async def _listen(self, subscription: notify.Subscription) -> None:
        """Listen where changes would be seen now; again, if that moved while we were arranging it."""
        wanted = await asyncio.to_thread(interests, self._paths)
        for _ in range(_MOST_SETTLING):
            subscription.want(wanted)
            before, wanted = wanted, await asyncio.to_thread(interests, self._paths)
            if wanted == before:
                return
