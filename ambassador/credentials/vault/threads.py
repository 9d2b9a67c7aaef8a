"""Blocking calls in threads, a few at a time, each with a deadline.

Not an executor: it waits for its threads when the process ends, and a call that hangs would keep a daemon from leaving.
These threads are the process's to forget.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")


class Threads:
    """At most `limit` calls at once; the others wait for their turn, within their own deadlines.

    A call that is given up goes on until it ends by itself, and holds its place until then.
    """

    def __init__(self, name: str, limit: int) -> None:
        self._name = name
        self._places = asyncio.Semaphore(limit)

    async def run(self, work: Callable[[], Result], timeout: float) -> Result:
        """What `work` returns or raises.

        Raises:
            TimeoutError: it has not ended within `timeout` seconds, the wait for its turn included.
        """
        async with asyncio.timeout(timeout):
            await self._places.acquire()
            loop = asyncio.get_running_loop()
            done: asyncio.Future[Result] = loop.create_future()

            def tell(result: Result | None, error: BaseException | None) -> None:
                self._places.release()
                if done.done():
                    return
                if error is not None:
                    done.set_exception(error)
                else:
                    done.set_result(result)  # type: ignore[arg-type]  # without an error there is a result

            def act() -> None:
                result, failure = None, None
                try:
                    result = work()
                except BaseException as error:  # noqa: BLE001 - handed to whoever waits for it
                    failure = error
                try:
                    loop.call_soon_threadsafe(tell, result, failure)
                except RuntimeError:
                    return  # the loop is closed, and nobody waits any more

            threading.Thread(target=act, name=self._name, daemon=True).start()
            return await done
