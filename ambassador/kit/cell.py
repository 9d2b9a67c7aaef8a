"""A value that changes: read without waiting, watched by those who must notice."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Cell(Generic[T]):
    """One current value, and those who want to hear of the next.

    Callbacks run inside `set`, in order of subscription, and must not raise: they set flags and wake others.
    """

    def __init__(self, value: T) -> None:
        self._value = value
        self._callbacks: list[Callable[[T], None]] = []
        self._changed: asyncio.Event = asyncio.Event()

    @property
    def value(self) -> T:
        """The current value; never waits."""
        return self._value

    def set(self, value: T) -> None:
        """Replace the value, tell the subscribers, wake all who wait in `changed`."""
        self._value = value
        woken, self._changed = self._changed, asyncio.Event()
        woken.set()
        for callback in tuple(self._callbacks):
            callback(value)

    def subscribe(self, callback: Callable[[T], None]) -> Callable[[], None]:
        """Call `callback` with each new value. Returns the function that ends the subscription."""
        self._callbacks.append(callback)

        def unsubscribe() -> None:
            if callback in self._callbacks:
                self._callbacks.remove(callback)

        return unsubscribe

    async def changed(self) -> T:
        """Wait for the next `set` and return its value. The caller brings the deadline."""
        await self._changed.wait()
        return self._value
