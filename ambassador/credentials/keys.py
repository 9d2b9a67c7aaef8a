"""SCRAM keys of one password, derived off the loop and remembered."""

from __future__ import annotations

import asyncio
from collections import OrderedDict

from ambassador.credentials.secret import Secret
from ambassador.wire import scram

KEPT = 16
"""Salts remembered per password. One server has one salt per user; several endpoints may differ."""


class KeyCache:
    """Keys by (salt, iterations).

    PBKDF2 takes milliseconds that an event loop does not have, and a storm of reconnects would pay them each time:
    so it runs in the executor, once for all who ask meanwhile. Who asks and gives up does not spoil it for the rest.
    """

    __slots__ = ("_known", "_pending")

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[bytes, int], scram.Keys] = OrderedDict()
        self._pending: dict[tuple[bytes, int], asyncio.Future[scram.Keys]] = {}

    async def get(self, password: Secret, salt: bytes, iterations: int) -> scram.Keys:
        """The keys of `password`; always the same one for one cache. The caller brings the deadline."""
        key = (salt, iterations)
        if key in self._known:
            self._known.move_to_end(key)
            return self._known[key]
        pending = self._pending.get(key)
        if pending is None or pending.get_loop() is not asyncio.get_running_loop():
            pending = self._derive(password, key)
        return await asyncio.shield(pending)

    def _derive(self, password: Secret, key: tuple[bytes, int]) -> asyncio.Future[scram.Keys]:
        loop = asyncio.get_running_loop()
        pending = loop.run_in_executor(None, scram.derive, password.reveal(), *key)
        self._pending[key] = pending
        pending.add_done_callback(lambda done: self._derived(key, done))
        return pending

    def _derived(self, key: tuple[bytes, int], done: asyncio.Future[scram.Keys]) -> None:
        if self._pending.get(key) is done:
            del self._pending[key]
        if done.cancelled() or done.exception() is not None:
            return
        self._known[key] = done.result()
        while len(self._known) > KEPT:
            self._known.popitem(last=False)
