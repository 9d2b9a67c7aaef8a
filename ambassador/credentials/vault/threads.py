"""Blocking calls in threads, a few at a time, each with a deadline.

Not an executor: it waits for its threads when the process ends, and a call that hangs would keep a daemon from leaving.
These threads are the process's to forget.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from functools import partial
from typing import TypeVar

Result = TypeVar("Result")


class Threads:
    """At most `limit` calls at once; the others wait for their turn.

    A call that is given up goes on until it ends by itself, and holds its place until then.
    """

    def __init__(self, name: str, limit: int) -> None:
        self._name = name
        self._places = asyncio.Semaphore(limit)
        self._under_way = 0
        self._quiet = asyncio.Event()
        self._quiet.set()

    async def run(
        self, work: Callable[[], Result], timeout: float, late: Callable[[Result], None] | None = None
    ) -> Result:
        """What `work` returns or raises.

        Args:
            timeout: seconds that it may take, and that the wait for its turn may.
            late: is given the result if it comes when nobody waits for it any more.

        Raises:
            TimeoutError: it has not begun in time, or has not ended.
        """
        async with asyncio.timeout(timeout):
            await self._places.acquire()
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Result] = loop.create_future()
        self._under_way += 1
        self._quiet.clear()

        def ended(result: Result) -> None:
            self._left()
            if not done.done():
                done.set_result(result)
            elif late is not None:
                late(result)

        def failed(error: BaseException) -> None:
            self._left()
            if not done.done():
                done.set_exception(error)

        def act() -> None:
            try:
                tell = partial(ended, work())
            except BaseException as error:  # noqa: BLE001 - handed to whoever waits for it
                tell = partial(failed, error)
            # A closed loop: nobody waits any more.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(tell)

        threading.Thread(target=act, name=self._name, daemon=True).start()
        try:
            async with asyncio.timeout(timeout):
                return await done
        except asyncio.CancelledError:
            # In the moment of the answer: whoever waited for it will not see it.
            if late is not None and not done.cancelled() and done.exception() is None:
                late(done.result())
            raise

    def _left(self) -> None:
        self._places.release()
        self._under_way -= 1
        if not self._under_way:
            self._quiet.set()

    async def quiet(self) -> None:
        """Wait until no call is under way."""
        await self._quiet.wait()
