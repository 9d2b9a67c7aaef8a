"""Tasks that have a name, an owner, and an end.

A bare task that fails is heard of when it is collected as garbage, if ever; one that nobody holds may vanish in
mid-flight. Here the owner holds its tasks, hears at once when one fails, and can end them all by a deadline.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

OnError = Callable[[str, BaseException], None]


class Tasks:
    """The tasks of one owner.

    Args:
        on_error: called with a task's name and its exception when one fails; cancellation is no failure.
    """

    def __init__(self, on_error: OnError) -> None:
        self._on_error = on_error
        self._running: set[asyncio.Task[Any]] = set()

    def __len__(self) -> int:
        return len(self._running)

    def start(self, work: Coroutine[Any, Any, Any], *, name: str) -> asyncio.Task[Any]:
        """Run `work` in a task of its own."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._running.add(task)
        task.add_done_callback(self._done)
        return task

    async def first(self, *works: Coroutine[Any, Any, Any], name: str) -> None:
        """Run `works` side by side until one of them has ended; the others are cancelled. Raises nothing of theirs."""
        tasks = [self.start(work, name=name) for work in works]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()

    async def stop(self, timeout: float) -> tuple[str, ...]:
        """Cancel all, wait at most `timeout` seconds; returns the names of those that did not end in time."""
        mine = asyncio.current_task()
        running = [task for task in self._running if task is not mine]
        for task in running:
            task.cancel()
        if not running:
            return ()
        _, late = await asyncio.wait(running, timeout=timeout)
        return tuple(task.get_name() for task in late)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._on_error(task.get_name(), error)
