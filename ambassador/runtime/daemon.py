"""The daemon: one process's life, from its first configuration to its last byte.

    STARTING ──► READY ──► LEAVING ──► DRAINING ──► STOPPED

LEAVING still takes clients while load balancers notice that readiness says no; DRAINING takes none, and its sessions
end at their next safe point, or at the deadline. The admin server answers until the end.
"""

from __future__ import annotations

import asyncio
import signal
from contextlib import aclosing
from enum import StrEnum
from pathlib import Path

from ambassador.admin.daemon import ReloadResult
from ambassador.admin.server import AdminServer
from ambassador.admin.status import Snapshot
from ambassador.config.diff import diff
from ambassador.config.load import ConfigFaults, Loaded, load
from ambassador.config.schema import UnixSocket
from ambassador.config.watch import watch
from ambassador.credentials.store import CredentialStatus, Store
from ambassador.errors import ConfigError
from ambassador.kit.clock import Clock
from ambassador.kit.latch import Latches
from ambassador.kit.tasks import Tasks
from ambassador.runtime import descriptors, snapshot
from ambassador.runtime.running import LAST_MOMENTS, Running
from ambassador.runtime.world import Commons, World, build
from ambassador.telemetry import logs
from ambassador.telemetry.metrics import Metrics
from ambassador.wire.scan import SCAN

_log = logs.logger(__name__)

FILE_POLL = 10.0
FILE_DEBOUNCE = 1.0
"""Seconds: how often the configuration file is looked at without being told, and how long an edit must rest."""

SOON = 30.0
"""Seconds before the end of a credential whose source fails, from which on the daemon does not call itself ready."""

ENDING = (signal.SIGTERM, signal.SIGINT)
"""Signals that tell the daemon to leave."""


class State(StrEnum):
    """Where the daemon is in its life."""

    STARTING = "starting"
    READY = "ready"
    LEAVING = "leaving"
    DRAINING = "draining"
    STOPPED = "stopped"


_MOVES = {
    State.STARTING: {State.READY, State.LEAVING, State.DRAINING, State.STOPPED},
    State.READY: {State.LEAVING, State.DRAINING, State.STOPPED},
    State.LEAVING: {State.DRAINING, State.STOPPED},
    State.DRAINING: {State.STOPPED},
    State.STOPPED: set[State](),
}


class Daemon:
    """One running ambassador.

    Args:
        loaded: the first configuration.
        file: where to read it anew, None when it did not come from a file.
    """

    def __init__(self, loaded: Loaded, file: Path | None, clock: Clock) -> None:
        self.clock = clock
        self.state = State.STARTING
        self.started_at = clock.now()
        self.file = file
        self.last_reload: tuple[ReloadResult, float] | None = None
        self.commons = Commons(clock, Metrics(scan=SCAN), Store(clock))
        self._latches = Latches(("configuration", "listeners"))
        self.running = Running(self.commons, self._latches, clock)
        self._first = loaded
        self._starting = True
        self._admin: AdminServer | None = None
        self._tasks = Tasks(self._failed)
        self._reloading = asyncio.Lock()
        self._reload_queued = False
        self._hurry = asyncio.Event()
        self._leave = asyncio.Event()
        self._skip_delay = asyncio.Event()
        self._asked: set[str] = set()

    # ---- what the admin server asks

    @property
    def metrics(self) -> Metrics:
        """Its counts, with what live sessions have moved so far."""
        for listener in self.running.everyone:
            listener.fold()
        return self.commons.metrics

    @property
    def world(self) -> World:
        """The configuration at work."""
        if self.commons.current is None:
            raise AssertionError("the daemon has not started")
        return self.commons.current

    def snapshot(self) -> Snapshot:
        """What it is doing now."""
        return snapshot.take(self)

    def held(self) -> tuple[str, ...]:
        """What keeps it from being ready."""
        leaving = (str(self.state),) if self.state not in {State.STARTING, State.READY} else ()
        return (*leaving, *self._latches.held, *self._ending())

    def _ending(self) -> list[str]:
        """Credentials in use that have ended, or are about to and have no successor in sight."""
        if self.commons.current is None:
            return []
        needed, now = self.commons.current.needed_credentials(), self.clock.wall()
        return [
            f"credential {one.name} {trouble}"
            for one in self.commons.store.snapshot()
            if one.name in needed and (trouble := _trouble(one, now)) is not None
        ]

    def started(self) -> tuple[str, ...]:
        """What start-up still waits for."""
        if self._starting and self._latches.held:
            return self._latches.held
        self._starting = False
        return ()

    async def reload(self) -> ReloadResult:
        """Read the file again and apply it, or change nothing."""
        async with self._reloading:
            self._reload_queued = False
            result = await self._reload()
        wall = self.clock.wall()
        self.last_reload = (result, wall)
        self.commons.metrics.reload(result.applied, wall)
        say = _log.info if result.applied else _log.error
        say(
            "configuration reloaded" if result.applied else "configuration refused",
            error=None if result.applied else " | ".join((result.message, *result.faults)),
        )
        for setting in result.restart_needed:
            _log.warning("restart needed", setting=setting)
        return result

    def drain(self) -> None:
        """Begin to leave; asked a second time, go to the deadline at once."""
        self._begin_to_leave("request")

    def quit(self) -> None:
        """Leave without the delay, or with no more of it."""
        self._skip_delay.set()
        self._leave.set()

    def set_log_level(self, level: logs.Level) -> None:
        """Write log lines of this level and above."""
        logs.set_level(level)

    # ---- its life

    async def start(self) -> None:
        """Bind, serve, keep credentials current.

        Raises:
            ConfigError: an address or a certificate cannot be used; nothing is left running.
        """
        self._hear_signals()
        config = self._first.config
        try:
            await self._apply(build(self.commons, config))
            self._reconcile()
            self._admin = AdminServer(self, config.admin)
            await self._admin.start()
        except BaseException:
            await self._stop()
            raise
        self.commons.metrics.reload(ok=True, wall=self.clock.wall())
        self._latches.release("configuration")
        self._latches.release("listeners")
        if self.file is not None:
            self._tasks.start(self._follow_file(self.file), name="configuration file")
        self._enter(State.READY)

    def _hear_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for ending in ENDING:
            loop.add_signal_handler(ending, self._begin_to_leave, "signal")
        loop.add_signal_handler(signal.SIGHUP, self._hang_up)
        # The command line may have held them back till here.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (*ENDING, signal.SIGHUP))

    def _begin_to_leave(self, way: str) -> None:
        """Begin to leave; asked the same way again, go to the deadline at once.

        A signal behind a request is no second wish: a preStop hook's `ambassador drain` is followed by SIGTERM.
        """
        if way in self._asked:
            self._skip_delay.set()
            self._hurry.set()
        self._asked.add(way)
        self._leave.set()

    def _hang_up(self) -> None:
        """SIGHUP: reload. However many come while one reload runs, one more follows it."""
        if not self._reload_queued:
            self._reload_queued = True
            self._tasks.start(self.reload(), name="reload")

    async def serve(self) -> None:
        """Run until told to leave, then leave."""
        await self._leave.wait()
        drain = self.world.config.drain
        if not self._skip_delay.is_set():
            self._enter(State.LEAVING)
            await self._wait(self._skip_delay, drain.delay)
        self._enter(State.DRAINING)
        until = self.clock.now() + drain.timeout
        cut = await self.running.drain(drain.timeout - self.running.kept_back(drain.timeout), self._hurry)
        if cut:
            _log.warning("sessions cut", sessions=cut)
        await self._stop(0.0 if self._hurry.is_set() else until - self.clock.now())
        self._enter(State.STOPPED)

    async def _stop(self, left: float = 0.0) -> None:
        """End everything, the admin server last; `left` are the seconds until the drain's deadline."""
        await self.running.stop(max(LAST_MOMENTS, left))
        await self._tasks.stop(LAST_MOMENTS)
        if self._admin is not None:
            await self._admin.stop(LAST_MOMENTS)

    def _enter(self, state: State) -> None:
        if state not in _MOVES[self.state]:
            raise AssertionError(f"the daemon cannot go from {self.state} to {state}")
        self.state = state
        _log.info("daemon", phase=state, missing=", ".join(self._latches.held) or None)

    # ---- reload

    async def _reload(self) -> ReloadResult:
        if self.file is None:
            return ReloadResult(applied=False, message="this daemon was started without a configuration file")
        try:
            loaded = await asyncio.to_thread(load, self.file)
            if self.state is not State.READY:  # looked at behind the wait: what a drain closed stays closed
                return ReloadResult(applied=False, message=f"the daemon is {self.state}")
            before = self.world
            after = build(self.commons, loaded.config, before)
            await self._apply(after)
        except ConfigFaults as error:
            return ReloadResult(applied=False, message="the file has faults", faults=tuple(map(str, error.faults)))
        except ConfigError as error:
            return ReloadResult(applied=False, message="the configuration cannot be applied", faults=(str(error),))
        except Exception as error:  # noqa: BLE001 - a fault in us must not end the task that follows the file
            _log.exception("reload failed", error)
            return ReloadResult(applied=False, message="a fault in this program; the log has its trace")
        finally:
            self._reconcile()  # a world that was built and not applied leaves no metrics behind
        later = (*diff(before.config, loaded.config).restart_needed, *_unix_changes(before, after))
        return ReloadResult(applied=True, message="applied", restart_needed=later)

    async def _apply(self, world: World) -> None:
        before = self.commons.current
        await self.running.swap(world)
        if before is None or before.config.log.level != world.config.log.level:
            logs.set_level(world.config.log.level)  # an operator's own level outlives a reload that says nothing of it
        if missing := descriptors.shortage(world.config):
            why = f"with every listener at its limits.connections at once, {missing} more would be needed than this"
            why += " process may have open: raise its `ulimit -n`, or lower the limits"
            _log.warning("too few open files allowed", error=why)

    def _reconcile(self) -> None:
        """Drop the metrics of what the configuration in force does not name."""
        world, metrics = self.commons.current, self.commons.metrics
        if world is None:
            return
        metrics.reconcile(world.config.listeners, world.config.upstreams, world.config.credentials, world.config.vaults)
        for name, upstream in world.upstreams.items():
            metrics.upstream(name).retain(map(str, upstream.endpoints))

    async def _follow_file(self, file: Path) -> None:
        async with aclosing(watch([file], poll=FILE_POLL, debounce=FILE_DEBOUNCE, clock=self.clock)) as changes:
            if await self._changed_since_start(file):
                await self.reload()
            async for _ in changes:
                await self.reload()

    async def _changed_since_start(self, file: Path) -> bool:
        """Whether the file was changed after it was first read and before anybody watched it."""
        try:
            return (await asyncio.to_thread(load, file)).config != self._first.config
        except ConfigError:
            return True  # which the reload will say

    async def _wait(self, event: asyncio.Event, timeout: float) -> None:
        try:
            async with asyncio.timeout(timeout):
                await event.wait()
        except TimeoutError:
            return

    def _failed(self, task: str, error: BaseException) -> None:
        _log.exception("task failed", error, task=task)


def _trouble(credential: CredentialStatus, now: float) -> str | None:
    """What keeps a credential from being of use, or soon will; `now` in wall seconds."""
    if credential.expired:
        return "has expired"
    if credential.refused:
        return "was refused by its server, and its source has no other"
    ends_soon = credential.expires is not None and credential.expires - now < SOON
    return "expires soon" if ends_soon and credential.error is not None else None


def _unix_changes(before: World, after: World) -> list[str]:
    """Settings of unix sockets that differ: a bound socket keeps its mode and owner."""
    both = before.plans.keys() & after.plans.keys()
    return [f"listeners.{name}.unix" for name in sorted(both) if _unix(before, name) != _unix(after, name)]


def _unix(world: World, name: str) -> UnixSocket:
    return world.plans[name].settings.unix
