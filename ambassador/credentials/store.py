"""Store: the current value of every credential, by name; read without waiting.

Keepers put values in; sessions read them at the moment of use, and say when one was refused. The store cannot tell
who fills it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from ambassador.credentials.credential import Credential
from ambassador.credentials.users import Users
from ambassador.errors import CredentialError, Reason
from ambassador.kit.cell import Cell
from ambassador.kit.clock import SYSTEM, Clock

Ask = Callable[[int | None], None]
"""A keeper's ear: a login with this version was refused; None: the value has expired. Must not raise."""


@dataclass(frozen=True, slots=True)
class CredentialStatus:
    """What may be shown of one credential: everything but its value.

    `version` 0: there is no value yet. `age` is seconds since this value became current, `expires` wall seconds.
    `error` says why the source's newest answer did not become current; None when all is well. `refused`: a server has
    refused this version, and the source has not been well since.
    """

    name: str
    source: str
    version: int
    age: float | None
    expires: float | None
    expired: bool
    refused: bool
    error: str | None
    warnings: tuple[str, ...]


class _Entry:
    """One name's current value, and what is known about its source."""

    __slots__ = ("ask", "cell", "error", "keeper", "patience", "refused", "since", "source", "versions", "warnings")

    def __init__(self) -> None:
        self.cell: Cell[Credential | None] = Cell(None)
        self.versions = 0
        self.since: float | None = None
        self.detach()

    def detach(self) -> None:
        self.keeper: object | None = None
        self.ask: Ask | None = None
        self.patience = 0.0
        self.source = ""
        self.error: str | None = None
        self.refused = 0  # the last version that a server has refused
        self.warnings: tuple[str, ...] = ()


class Store(Users):
    """Current credentials by name, and who uses which version of them.

    Names may be used before their first value: `current` is None then, and subscribers hear of it when it comes.
    """

    def __init__(self, clock: Clock = SYSTEM) -> None:
        super().__init__()
        self._clock = clock
        self._entries: dict[str, _Entry] = {}

    # --- reading ----------------------------------------------------------------------------------------------------

    def current(self, name: str) -> Credential | None:
        """The current value, expired or not; None where there is none."""
        entry = self._entries.get(name)
        return None if entry is None else entry.cell.value

    def require(self, name: str) -> Credential:
        """The current value, fit for use now. An expired one also makes its keeper look for the next.

        Raises:
            CredentialError: there is none (NO_CREDENTIAL), or it has expired (CREDENTIAL_EXPIRED).
        """
        credential = self.current(name)
        if credential is None:
            raise CredentialError(Reason.NO_CREDENTIAL, f"credential {name!r} has no value yet{self._why(name)}")
        if credential.expired(self._clock):
            self._ask(name, None)
            raise CredentialError(
                Reason.CREDENTIAL_EXPIRED,
                f"credential {name!r} version {credential.version} has expired{self._why(name)}",
            )
        return credential

    async def usable(self, name: str, timeout: float | None = None) -> Credential:
        """As `require`, but waits for the keeper to find a value when there is none, or the current one has expired.

        Args:
            timeout: seconds; by default the credential's `refused_wait`.

        Raises:
            CredentialError: as `require`, at the end of the wait.
        """
        try:
            return self.require(name)
        except CredentialError:
            self._ask(name, None)
        await self._wait_for(self._entry(name), lambda new: not new.expired(self._clock), timeout)
        return self.require(name)

    async def refused(self, name: str, version: int, timeout: float | None = None) -> Credential | None:
        """A login with `version` was refused: ask the source anew and wait for another value.

        However many sessions say so at once, the source is asked once; and not at all when there is a newer value
        already, which is returned at once.

        Args:
            timeout: seconds; by default the credential's `refused_wait`.

        Returns:
            A newer, unexpired value to retry with, once; None when none came in time.
        """
        entry = self._entries.get(name)
        if entry is None:
            return None
        entry.refused = max(entry.refused, version)
        if (current := entry.cell.value) is not None and current.version <= version:
            if entry.ask is None:
                return None
            entry.ask(version)
        return await self._wait_for(entry, lambda new: new.version > version and not new.expired(self._clock), timeout)

    def subscribe(self, name: str, callback: Callable[[Credential], None]) -> Callable[[], None]:
        """Call `callback` with each value that becomes current from now on, and with its renewals.

        Returns the function that ends the subscription. Callbacks must not raise.
        """

        def told(new: Credential | None) -> None:
            if new is not None:
                callback(new)

        return self._entry(name).cell.subscribe(told)

    def snapshot(self) -> tuple[CredentialStatus, ...]:
        """What may be shown of every credential that has a keeper or a value, by name."""
        return tuple(
            self._status(name, entry)
            for name, entry in sorted(self._entries.items())
            if entry.source or entry.cell.value is not None
        )

    # --- filling ----------------------------------------------------------------------------------------------------

    def attach(self, name: str, source: str, ask: Ask | None, patience: float = 0.0) -> Callable[[], None]:
        """A keeper takes charge of `name`; it replaces the one before, and the current value stays.

        Args:
            source: where the value comes from, for the status; never a value.
            ask: called when a better value is wanted; None where asking is pointless.
            patience: default of the waits of `refused` and `usable`, seconds.

        Returns the function by which the keeper leaves; it does nothing once another has taken charge.
        """
        entry = self._entry(name)
        entry.detach()
        entry.source, entry.ask, entry.patience = source, ask, patience
        keeper = entry.keeper = object()

        def leave() -> None:
            if entry.keeper is keeper:
                entry.detach()

        return leave

    def next_version(self, name: str) -> int:
        """A number for a new value of `name`: greater than any before, also those of keepers before this one."""
        entry = self._entry(name)
        entry.versions += 1
        return entry.versions

    def put(self, credential: Credential) -> None:
        """Make `credential` current and tell everyone. The same version again is a renewal: only its dates differ."""
        entry = self._entry(credential.name)
        before = entry.cell.value
        entry.versions = max(entry.versions, credential.version)
        if before is None or before.version != credential.version:
            entry.since = self._clock.now()
        entry.error = None
        entry.cell.set(credential)

    def note(self, name: str, error: str | None) -> None:
        """Keep for the status why the source's newest answer did not become current; None: all is well."""
        entry = self._entry(name)
        entry.error = error
        if error is None:
            entry.refused = 0

    def advise(self, name: str, warnings: tuple[str, ...]) -> None:
        """Keep for the status what the operator should know about the source."""
        self._entry(name).warnings = warnings

    def retire(self, name: str) -> None:
        """The configuration names it no more: forget the value, let those who wait for another go.

        Version numbers go on where they were if the name comes back, so that old connections are told from new.
        """
        entry = self._entries.get(name)
        if entry is not None:
            entry.detach()
            entry.since = None
            entry.cell.set(None)

    # --- inside -----------------------------------------------------------------------------------------------------

    def _entry(self, name: str) -> _Entry:
        return self._entries.setdefault(name, _Entry())

    def _ask(self, name: str, version: int | None) -> None:
        entry = self._entries.get(name)
        if entry is not None and entry.ask is not None:
            entry.ask(version)

    async def _wait_for(
        self, entry: _Entry, fits: Callable[[Credential], bool], timeout: float | None
    ) -> Credential | None:
        """The current value once it `fits`; None at the end of the wait, or at once when it has no keeper."""
        new = entry.cell.value
        try:
            async with asyncio.timeout(entry.patience if timeout is None else timeout):
                while new is None or not fits(new):
                    if entry.keeper is None:
                        return None
                    new = await entry.cell.changed()
        except TimeoutError:
            return None
        return new

    def _why(self, name: str) -> str:
        entry = self._entries.get(name)
        return "" if entry is None or entry.error is None else f": {entry.error}"

    def _status(self, name: str, entry: _Entry) -> CredentialStatus:
        value = entry.cell.value
        return CredentialStatus(
            name=name,
            source=entry.source,
            version=0 if value is None else value.version,
            age=None if entry.since is None else self._clock.now() - entry.since,
            expires=None if value is None else value.expires(self._clock),
            expired=value is not None and value.expired(self._clock),
            refused=value is not None and entry.error is not None and entry.refused == value.version,
            error=entry.error,
            warnings=entry.warnings,
        )
