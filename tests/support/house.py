"""The real daemon inside the test's own process and loop: for scenarios that need a hand on its objects.

`tests.support.daemon` runs the installed command as a child process instead, and sees only what an operator sees.
"""

from __future__ import annotations

import asyncio
import io
import json
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ambassador.admin.daemon import ReloadResult
from ambassador.admin.page import render
from ambassador.admin.status import to_json
from ambassador.config.load import load
from ambassador.kit.clock import SYSTEM, Clock
from ambassador.runtime.daemon import Daemon
from ambassador.telemetry import logs
from tests.support import secrets

QUICK_DRAIN = "drain: {delay: 0s, timeout: 5s}\n"

FAULTS = {"task failed", "session failed", "admin request failed", "trial login failed"}
"""Events that only a fault in this program causes."""


class House:
    """One daemon; an async context manager that waits until it is ready, and always ends it.

    On leaving, its log, metrics and status are searched for the test's secrets, and its log for faults of its own.

    Args:
        config: YAML without `admin`; a short `drain` is added where it says nothing. `DIR` stands for `directory`.
        ready: wait until it is ready on entering.
        faults: whether events of `FAULTS` are what the test is about.

    Attributes:
        directory: its files; short, so that unix sockets fit.
        daemon: the object itself.
        serving: its life.
    """

    daemon: Daemon
    serving: asyncio.Task[None]

    def __init__(self, config: str, *, clock: Clock = SYSTEM, ready: bool = True, faults: bool = False) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="house-", dir="/tmp"))
        self.file = self.directory / "ambassador.yaml"
        self._clock = clock
        self._ready = ready
        self._faults = faults
        self._output = io.BytesIO()
        self._log: logs.LogHandle | None = None
        self._seen: list[str] = []
        self.rewrite(config)

    async def __aenter__(self) -> Self:
        self._log = logs.setup("debug", "json", self._output)
        try:
            self.daemon = Daemon(load(self.file), self.file, self._clock)
            await self.daemon.start()
        except BaseException:
            self._close()
            raise
        self.serving = asyncio.create_task(self.daemon.serve(), name="house")
        if self._ready:
            await until("the daemon to be ready", lambda: not self.daemon.held())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self.stop()
        finally:
            self._close()
        if error is not None:
            error.add_note("the daemon said:\n" + self.said[-6000:])
            return
        shown = [self.said, *self._seen]
        told = [canary for canary in secrets.MINTED if any(canary in text for text in shown)]
        assert not told, "a secret of this test was told"
        faults = [line for line in self.lines() if line["event"] in FAULTS]
        assert self._faults or not faults, faults

    # ---- its life

    def rewrite(self, config: str) -> None:
        """Replace the configuration file."""
        admin = f"admin: {{listen: 'unix:{self.directory}/admin.sock'}}\n"
        drain = "" if "\ndrain:" in "\n" + config else QUICK_DRAIN
        fresh = self.file.with_suffix(".new")
        fresh.write_text(admin + drain + config.replace("DIR", str(self.directory)))
        fresh.replace(self.file)

    async def reload(self, config: str) -> ReloadResult:
        """Replace the configuration and have it applied."""
        self.rewrite(config)
        return await self.daemon.reload()

    async def stop(self) -> None:
        """End it, at its drain's deadline; nothing to do if it has ended."""
        if not self.serving.done():
            self.look()
            self.daemon.quit()
            # Asked twice: who is busy is cut now, and not at the deadline.
            self.daemon.drain()
            self.daemon.drain()
        async with asyncio.timeout(10):
            await self.serving

    # ---- what it says

    @property
    def said(self) -> str:
        """Its log so far."""
        if self._log is not None:
            self._log.flush(5.0)
        return self._output.getvalue().decode()

    def lines(self, event: str | None = None, **fields: object) -> list[dict[str, Any]]:
        """Its log lines, of one event, with these fields."""
        lines = [json.loads(line) for line in self.said.splitlines()]
        return [line for line in lines if (event is None or line["event"] == event) and fields.items() <= line.items()]

    def ends(self) -> list[dict[str, Any]]:
        """The lines of ended sessions."""
        return self.lines("session ended")

    def metrics(self) -> str:
        """Its metrics page."""
        return self.daemon.metrics.exposition(openmetrics=False)[0].decode()

    def status(self) -> dict[str, Any]:
        """Its status page as data."""
        return to_json(self.daemon.snapshot())

    def look(self) -> None:
        """Remember what it shows just now, to be searched for secrets at the end."""
        snapshot = self.daemon.snapshot()
        self._seen += [self.metrics(), json.dumps(to_json(snapshot)), render(snapshot, refresh=None)]

    def _close(self) -> None:
        if self._log is not None:
            self._log.close()
            self._log = None
        shutil.rmtree(self.directory, ignore_errors=True)


async def until(what: str, done: Callable[[], bool], timeout: float = 10.0) -> None:
    """Let the loop run until `done`, or fail the test after `timeout` seconds, naming `what` was waited for."""
    deadline = time.monotonic() + timeout
    while not done():
        assert time.monotonic() < deadline, f"waited {timeout:g} s for: {what}"
        await asyncio.sleep(0.005)
