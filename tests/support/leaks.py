"""What a process holds, so that a test can be asked to leave nothing behind."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

# Processes that belong to the whole run and may appear in the middle of a test: the shared servers.
SHARED_CHILDREN: set[int] = set()


@dataclass(frozen=True)
class Holdings:
    """Everything this process holds that outlives a function call.

    Args:
        descriptors: what each open file descriptor refers to.
        threads: name by identity.
        children: command by pid; zombies too, since nobody has waited for them.
    """

    descriptors: Mapping[int, str]
    threads: Mapping[int, str]
    children: Mapping[int, str]

    def growth(self, later: Holdings) -> list[str]:
        """What `later` holds on top of this, in words."""
        pairs = (
            ("descriptor", self.descriptors, later.descriptors),
            ("thread", self.threads, later.threads),
            ("child process", self.children, later.children),
        )
        return [
            f"{kind} {key} ({what})"
            for kind, before, after in pairs
            for key, what in after.items()
            if before.get(key) != what
        ]


def holdings() -> Holdings:
    """What this process holds now."""
    threads = {thread.ident or 0: thread.name for thread in threading.enumerate()}
    return Holdings(_descriptors(), threads, _children())


def left_behind(before: Holdings, *, patience: float = 2.0) -> list[str]:
    """What has been added since `before` and does not go away within `patience` seconds, in words.

    A thread needs a moment to end after it was told to, and what only the garbage collector frees is not held.
    """
    return _settled(lambda: before.growth(holdings()), patience)


def tasks_left(loop: asyncio.AbstractEventLoop, *, patience: float = 1.0) -> list[str]:
    """Tasks of a loop that stands still, in words, after letting it turn for at most `patience` seconds."""

    def unfinished() -> list[str]:
        loop.run_until_complete(asyncio.sleep(0))
        return [repr(task) for task in asyncio.all_tasks(loop)]

    return _settled(unfinished, patience)


def _settled(look: Callable[[], list[str]], patience: float) -> list[str]:
    found = look()
    if not found:
        return []
    gc.collect()
    deadline = time.monotonic() + patience
    while (found := look()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return found


def _descriptors() -> dict[int, str]:
    found = {}
    for link in Path("/proc/self/fd").iterdir():
        try:
            found[int(link.name)] = str(link.readlink())
        except FileNotFoundError:  # the descriptor that listed the directory, closed by now
            continue
    return found


def _children() -> dict[int, str]:
    found = {}
    for listing in Path("/proc/self/task").glob("*/children"):
        try:
            pids = [int(pid) for pid in listing.read_text().split()]
        except (FileNotFoundError, ProcessLookupError):  # a thread that has ended meanwhile
            continue
        for pid in pids:
            if pid in SHARED_CHILDREN:
                continue
            try:
                found[pid] = Path(f"/proc/{pid}/comm").read_text().strip()
            except FileNotFoundError:
                continue
    return found
