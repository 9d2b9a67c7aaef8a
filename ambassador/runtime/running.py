"""What runs: bound sockets, listeners, keepers; and the swap of one world for another under it.

What may fail in a swap comes first and is undone when it does; from there on nothing fails, and nobody who is
connected notices but those whose listener or endpoint was taken out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING

from ambassador.config.address import Address
from ambassador.config.schema import Config, UnixSocket
from ambassador.credentials.credential import Credential
from ambassador.credentials.vault.upkeep import Upkeep
from ambassador.errors import ConfigError
from ambassador.kit.clock import Clock
from ambassador.kit.latch import Latches
from ambassador.kit.tasks import Tasks
from ambassador.net.listen import BoundSocket, bind
from ambassador.proxy.listener import Listener
from ambassador.proxy.session import Session
from ambassador.runtime.discovering import Discovering
from ambassador.runtime.ending import Endings
from ambassador.runtime.world import Commons, World, protocol_class
from ambassador.telemetry import logs

if TYPE_CHECKING:
    from ambassador.credentials.vault.vault import Vault

_log = logs.logger(__name__)

LAST_MOMENTS = 2.0
"""Seconds that whatever is being ended has to end."""

GIVING_BACK = 0.25
"""Share of the drain's time, up to `LAST_MOMENTS`, that is kept for giving back what Vaults have granted."""

LEASES_FIRST = 0.6
"""Share of that for the leases; the rest is for the tokens, with which those that are left end too."""


class Running:
    """The sockets, listeners and keepers of a daemon.

    Args:
        latches: gets one for each credential that a listener needs, until it has a first value, and one for each
            upstream, until it is known where it is.
    """

    def __init__(self, commons: Commons, latches: Latches, clock: Clock) -> None:
        self.listeners: dict[str, Listener] = {}
        self.retired: list[Listener] = []
        self._commons = commons
        self._latches = latches
        self._clock = clock
        self._sockets: dict[Address, BoundSocket] = {}
        self._keepers: dict[str, asyncio.Task[None]] = {}
        self._vaults: dict[Vault, asyncio.Task[None]] = {}
        self._certificates: asyncio.Task[None] | None = None
        self._awaited: list[Callable[[], None]] = []
        self._tasks = Tasks(lambda task, error: _log.exception("task failed", error, task=task))
        self._discovering = Discovering(commons, latches, self._tasks, self._endpoints_moved)
        self._endings = Endings(commons.store, lambda: self.everyone)

    @property
    def everyone(self) -> tuple[Listener, ...]:
        """All listeners, those included that are being taken out."""
        return (*self.listeners.values(), *self.retired)

    async def swap(self, after: World) -> None:
        """Put `after` in the place of the world in force.

        Raises:
            ConfigError: an address cannot be bound; nothing has changed.
        """
        before = self._commons.current
        fresh = _bind_missing(after, self._sockets)
        try:
            await _start_accesses(after, before)
        except BaseException:
            _close(fresh)
            raise
        self._sockets |= {bound.address: bound for bound in fresh}
        self._commons.current = after
        self._discovering.enlist(after)
        self._endings.follow(after.config.credentials)
        self._move_listeners(after)
        self._move_vaults(after, before)
        await self._move_keepers(after, before)
        await self._discovering.move(after)
        await self._part(after, before)

    async def drain(self, timeout: float, hurry: asyncio.Event) -> int:
        """Take no more clients, see the sessions out; after `timeout` seconds or on `hurry` cut those that are left.

        Returns how many were cut.
        """
        for listener in self.everyone:
            listener.close()
        _close(self._sockets.values())
        self._sockets.clear()
        for listener in self.everyone:
            listener.plan.drain.start()
        emptied = self._tasks.start(self._emptied(), name="drain")
        hurried = self._tasks.start(hurry.wait(), name="hurry")
        await asyncio.wait({emptied, hurried}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        cut = sum(listener.cut() for listener in self.everyone)
        if cut:
            await asyncio.wait({emptied}, timeout=LAST_MOMENTS)
        return cut

    def kept_back(self, timeout: float) -> float:
        """Seconds of a drain of `timeout` that are not the sessions': what Vaults have granted goes back in them."""
        return min(LAST_MOMENTS, timeout * GIVING_BACK) if self._vaults else 0.0

    async def stop(self, revocation: float = LAST_MOMENTS) -> None:
        """End everything now; Vaults have `revocation` seconds in all to take back what they granted."""
        for listener in self.everyone:
            await listener.stop(LAST_MOMENTS)
        _close(self._sockets.values())
        self._sockets.clear()
        for protocol, shared in self._commons.shared.items():
            await protocol_class(protocol).stop_shared(shared)
        for task in self._keepers.values():
            await _cancel(task)
        await self._give_back(revocation)
        if self._commons.current is not None:
            await self._part(None, self._commons.current)
        await self._tasks.stop(LAST_MOMENTS)
        self._endings.close()

    async def _emptied(self) -> None:
        for listener in self.everyone:
            await listener.plan.drain.emptied()

    def _move_listeners(self, after: World) -> None:
        wanted = {name: set(plan.settings.listen) for name, plan in after.plans.items()}
        for name, listener in self.listeners.items():
            # All give up what is no longer theirs before any takes: an address may pass from one to another.
            listener.close(set(listener.addresses) - wanted.get(name, set()))
        for name in self.listeners.keys() - wanted.keys():
            self._retire(name)
        for name, plan in after.plans.items():
            if name not in self.listeners:
                self.listeners[name] = Listener(plan, self._clock)
            listener = self.listeners[name]
            if listener.plan is not plan:
                listener.apply(plan)
                self._move_sessions(listener)
            listener.open(self._sockets[address] for address in wanted[name] - set(listener.addresses))
        for address in self._sockets.keys() - set().union(*wanted.values()):
            self._sockets.pop(address).close()

    def _endpoints_moved(self, upstream: str) -> None:
        for listener in self.listeners.values():
            if listener.plan.routes.upstream.name == upstream:
                self._move_sessions(listener)

    def _move_sessions(self, listener: Listener) -> None:
        """Sessions at endpoints that the upstream no longer has leave at their next safe point."""
        here = set(listener.plan.routes.upstream.endpoints)
        gone = [one for one in listener.sessions if one.connection is not None and one.connection.endpoint not in here]
        for session in gone:
            session.leave()
        if gone:
            self._tasks.start(self._cut_later(gone), name=f"sessions of {listener.plan.name} at endpoints taken out")

    async def _cut_later(self, sessions: list[Session]) -> None:
        await self._clock.sleep(self._config.drain.timeout)
        for session in sessions:
            session.cut()

    def _retire(self, name: str) -> None:
        """Take a listener out: its sessions leave at their next safe point, or at the drain's deadline."""
        listener = self.listeners.pop(name)
        drain = self._commons.drains.pop(name)
        self.retired.append(listener)
        drain.start()
        self._tasks.start(self._drain_retired(listener), name=f"drain of {name}")

    async def _drain_retired(self, listener: Listener) -> None:
        try:
            async with asyncio.timeout(self._config.drain.timeout):
                await listener.plan.drain.emptied()
        except TimeoutError:
            _log.warning("sessions cut", sessions=listener.cut(), listener=listener.plan.name)
        finally:
            await listener.stop(LAST_MOMENTS)
            self.retired.remove(listener)

    async def _move_keepers(self, after: World, before: World | None) -> None:
        old = {} if before is None else before.keepers
        leaving = [self._keepers.pop(name) for name, keeper in old.items() if after.keepers.get(name) is not keeper]
        for name, keeper in after.keepers.items():
            if old.get(name) is not keeper:
                self._keepers[name] = self._tasks.start(keeper.run(), name=f"credential {name}")
        # Last, so that a session whose login is refused meanwhile finds somebody to ask.
        for task in leaving:
            await _cancel(task)
        self._hold_credentials(after)
        if self._certificates is not None:
            await _cancel(self._certificates)
        if after.certificates is not None:
            after.certificates.start()
            self._certificates = self._tasks.start(after.certificates.follow(), name="certificates")

    def _move_vaults(self, after: World, before: World | None) -> None:
        for name, vault in after.vaults.items():
            if vault not in self._vaults:
                self._vaults[vault] = self._tasks.start(Upkeep(vault).run(), name=f"vault {name}")
        if before is not None:
            for vault in before.vaults.values():
                if after.vaults.get(vault.name) is not vault:
                    self._tasks.start(self._see_off(vault), name=f"vault {vault.name} taken out")

    async def _see_off(self, vault: Vault) -> None:
        """What it granted is given back to it, so it is kept until that is done."""
        while self._commons.leases.held_by(lambda source: getattr(source, "vault", None) is vault):
            await self._clock.sleep(1.0)
        await _cancel(self._vaults.pop(vault))
        await vault.close(LAST_MOMENTS)

    async def _give_back(self, timeout: float) -> None:
        """Revoke what Vaults granted: the leases, then the tokens they came with."""
        until = self._clock.now() + timeout
        left = await self._commons.leases.close(timeout * LEASES_FIRST)
        if left:
            _log.info("leases left to their end", leases=left)
        for task in self._vaults.values():
            await _cancel(task)
        await asyncio.gather(*(vault.close(until - self._clock.now()) for vault in self._vaults))

    def _hold_credentials(self, world: World) -> None:
        """Not ready before every credential that a listener needs has had a first value."""
        store = self._commons.store
        for unsubscribe in self._awaited:
            unsubscribe()
        self._awaited.clear()
        for name in self._latches.held:
            if name.startswith("credential "):
                self._latches.release(name)
        for name in sorted(world.needed_credentials()):
            if store.current(name) is None:
                latch = f"credential {name}"
                self._latches.hold(latch)
                self._awaited.append(store.subscribe(name, partial(self._arrived, latch)))

    def _arrived(self, latch: str, _: Credential) -> None:
        self._latches.release(latch)

    async def _part(self, after: World | None, before: World | None) -> None:
        """Let go of what only the old world used."""
        if before is None:
            return
        kept = () if after is None else {id(plan.access) for plan in after.plans.values()}
        for plan in before.plans.values():
            if id(plan.access) not in kept:
                await plan.access.stop()
        if before.certificates is not None:
            before.certificates.stop()
        if after is not None:
            for name in before.config.credentials.keys() - after.config.credentials.keys():
                self._commons.store.retire(name)
                self._commons.leases.retire(name)

    @property
    def _config(self) -> Config:
        if self._commons.current is None:
            raise AssertionError("nothing runs yet")
        return self._commons.current.config


def _bind_missing(world: World, bound: Mapping[Address, BoundSocket]) -> list[BoundSocket]:
    fresh: list[BoundSocket] = []
    try:
        for plan in world.plans.values():
            fresh += [
                _bind(address, plan.settings.unix, bound) for address in plan.settings.listen if address not in bound
            ]
    except BaseException:
        _close(fresh)
        raise
    return fresh


def _bind(address: Address, unix: UnixSocket, bound: Mapping[Address, BoundSocket]) -> BoundSocket:
    try:
        return bind(address, unix=unix)
    except ConfigError as error:
        # 0.0.0.0 in the place of 127.0.0.1, or a name for its address: who listens there is this daemon itself.
        ours = [str(other) for other in bound if other.port == address.port and not other.is_unix]
        if not ours or address.is_unix:
            raise
        hint = f"this daemon listens at {', '.join(ours)} until the change is made: change the port too, or restart"
        raise ConfigError(f"{error}; {hint}") from error


async def _start_accesses(after: World, before: World | None) -> None:
    """Start the authenticators that `before` did not have; all or none."""
    running = set() if before is None else {id(plan.access) for plan in before.plans.values()}
    started = []
    try:
        for plan in after.plans.values():
            if id(plan.access) not in running:
                await plan.access.start()
                started.append(plan.access)
    except BaseException:
        for access in started:
            await access.stop()
        raise


def _close(sockets: Iterable[BoundSocket]) -> None:
    for bound in sockets:
        bound.close()


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait({task}, timeout=LAST_MOMENTS)
