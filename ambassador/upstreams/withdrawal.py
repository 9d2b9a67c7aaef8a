"""Attempts that are given up when discovery takes their endpoint back: a dead server may never answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Container
from contextlib import asynccontextmanager

from ambassador.errors import Reason, UpstreamError
from ambassador.upstreams.endpoint import Endpoint


class Withdrawal:
    """The attempts under way at the endpoints of one upstream."""

    def __init__(self) -> None:
        self._attempts: dict[asyncio.Timeout, Endpoint] = {}

    @asynccontextmanager
    async def watch(self, endpoint: Endpoint) -> AsyncIterator[None]:
        """Do what is within, until `endpoint` is withdrawn.

        Raises:
            UpstreamError: WRONG_ROLE, it was.
        """
        gate = asyncio.timeout(None)
        try:
            async with gate:
                self._attempts[gate] = endpoint
                try:
                    yield
                finally:
                    del self._attempts[gate]
        except TimeoutError as error:
            if not gate.expired():
                raise
            text = f"{endpoint} ceased to be the {endpoint.role} while it was being connected to"
            raise UpstreamError(Reason.WRONG_ROLE, text) from error

    def withdraw(self, stay: Container[Endpoint]) -> None:
        """Give up the attempts at all endpoints but those that `stay`.

        One without a role was written down by the operator; who is being logged in there is seen in, and leaves at its
        next safe point.
        """
        now = asyncio.get_running_loop().time() if self._attempts else 0.0
        for gate, endpoint in self._attempts.items():
            if endpoint.role is not None and endpoint not in stay:
                gate.reschedule(now)
