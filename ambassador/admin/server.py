"""The admin server: its addresses, from before the first latch is released until after the last session has ended."""

from __future__ import annotations

import asyncio
import contextlib
import logging

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from ambassador.admin.connections import Bounds, Connections, Gate
from ambassador.admin.daemon import Daemon
from ambassador.admin.guard import Door
from ambassador.admin.handlers import LONGEST_BODY, Handlers
from ambassador.config.address import Address
from ambassador.config.schema import Admin
from ambassador.net.listen import BoundSocket, bind

LONGEST_LINE = 4096
MOST_HEADERS = 64
BACKLOG = 128


class AdminServer:
    """Answers operators, probes and scrapes.

    Args:
        daemon: what is shown and asked.
        settings: addresses and the token's file.
        bounds: what clients may use.
    """

    def __init__(self, daemon: Daemon, settings: Admin, *, bounds: Bounds | None = None) -> None:
        self._daemon = daemon
        self._settings = settings
        self._connections = Connections(bounds or Bounds())
        self._reloading = asyncio.Lock()
        self._bound: list[BoundSocket] = []
        self._runners: list[web.AppRunner] = []
        self._servers: list[asyncio.Server] = []

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where it listens; with port 0 asked for, the port that was given."""
        return tuple(bound.local.address for bound in self._bound)

    async def start(self) -> None:
        """Listen at every address, or at none.

        Raises:
            ConfigError: an address is taken, or not this machine's.
        """
        try:
            for address in self._settings.listen:
                await self._listen(address)
        except BaseException:
            await self.stop(0.0)
            raise

    async def stop(self, timeout: float) -> None:
        """Take no more requests, let those under way end for at most `timeout` seconds, close everything."""
        for server in self._servers:
            server.close()
        for bound in self._bound:
            bound.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._connections.emptied()
        self._connections.abort()
        for runner in self._runners:
            await runner.cleanup()
        self._servers, self._bound, self._runners = [], [], []

    async def _listen(self, address: Address) -> None:
        bound = bind(address, backlog=BACKLOG)
        self._bound.append(bound)
        handlers = Handlers(
            self._daemon,
            Door(address),
            token_file=self._settings.token_file,
            reloading=self._reloading,
            heard=self._connections.heard,
        )
        runner = web.AppRunner(
            handlers.application(),
            access_log=None,
            logger=_QUIET,
            handle_signals=False,
            shutdown_timeout=0.1,
            keepalive_timeout=self._connections.bounds.head,
            lingering_time=0.5,
            max_line_size=LONGEST_LINE,
            max_field_size=LONGEST_LINE,
            max_headers=MOST_HEADERS,
            read_bufsize=LONGEST_BODY,
            auto_decompress=False,
        )
        await runner.setup()
        self._runners.append(runner)
        self._servers.append(await self._serve(bound, runner))

    async def _serve(self, bound: BoundSocket, runner: web.AppRunner) -> asyncio.Server:
        inner = runner.server
        assert inner is not None  # there is one after setup

        def gate() -> Gate:
            return Gate(inner(), self._connections)

        loop = asyncio.get_running_loop()
        # A copy: the loop closes what it is given, and the bound socket must live to remove its file.
        copy = bound.socket.dup()
        try:
            if bound.local.host is None:
                return await loop.create_unix_server(gate, sock=copy, backlog=BACKLOG)
            return await loop.create_server(gate, sock=copy, backlog=BACKLOG)
        except BaseException:
            copy.close()
            raise


def _is_ours(record: logging.LogRecord) -> bool:
    """Whether a line of the web server tells of a fault; a client's bad request is none and gets its 400."""
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


_QUIET = logging.getLogger("ambassador.admin.http")
_QUIET.addFilter(_is_ours)
