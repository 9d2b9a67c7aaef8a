"""A database user that a Vault makes for us and takes away again, or one whose password it changes."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any, ClassVar, Final, Self

from hvac.api.secrets_engines import Database
from pydantic import model_validator

from ambassador.config.model import Model
from ambassador.config.types import VaultName
from ambassador.config.vault import VaultPath, VaultRole
from ambassador.credentials.credential import PASSWORD, USERNAME
from ambassador.credentials.sources.base import Change, Fetched, Lease
from ambassador.credentials.term import Term
from ambassador.credentials.vault.answers import block, seconds, text
from ambassador.credentials.vault.failure import VaultError, malformed
from ambassador.credentials.vault.operation import Operation
from ambassador.credentials.vault.source import LeasingSource
from ambassador.kit.clock import Clock

LATE: Final = 1.0
"""Seconds after the announced moment before a changed password is looked for: Vault's own queue ticks."""


class VaultDatabaseOptions(Model):
    """`vault_database:` of a credential: `role` or `static_role`."""

    vault: VaultName
    """The Vault, an entry of `vaults`."""

    role: VaultRole | None = None
    """A role whose users are made on request, each with a lease. All connections share one."""

    static_role: VaultRole | None = None
    """A role that stands for one user, whose password the Vault changes from time to time."""

    mount: VaultPath = "database"
    """Where the database engine is mounted."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.role is None) == (self.static_role is None):
            raise ValueError("say which role: by role, or by static_role")
        return self


class VaultDatabase(LeasingSource):
    """Asks for a user, or for the password of one."""

    Options: ClassVar[type[Model]] = VaultDatabaseOptions
    brings_certificate = False
    options: VaultDatabaseOptions

    @property
    def makes_new(self) -> bool:
        return self.options.role is not None

    async def fetch(self) -> Fetched:
        return await (self._dynamic() if self.options.role is not None else self._static())

    def changes(self, *, poll: float, debounce: float, clock: Clock) -> AsyncGenerator[Change] | None:
        # A static role has no lease, so it does not end with our token.
        return None if self.options.role is None else super().changes(poll=poll, debounce=debounce, clock=clock)

    def describe(self) -> str:
        options = self.options
        kind, role = ("creds", options.role) if options.role is not None else ("static-creds", options.static_role)
        return f"vault {options.vault} {options.mount}/{kind}/{role}"

    async def _dynamic(self) -> Fetched:
        role, mount = self.options.role or "", self.options.mount
        doing = f"get {mount}/creds/{role}"
        asked_at = self.vault.clock.now()
        answer = await self.borrow(
            Operation.READ_DATABASE, doing, lambda adapter: Database(adapter).generate_credentials(role, mount)
        )
        try:
            return Fetched(self._pair(answer, doing), lease=self._lease(answer, doing, asked_at))
        except VaultError:
            self.decline(answer)
            raise

    def _lease(self, answer: Any, doing: str, asked_at: float) -> Lease:
        lease_id, duration = text(answer, "lease_id"), seconds(answer.get("lease_duration"))
        if lease_id is None or not duration:
            raise malformed(self.vault.name, doing, "lease")
        return Lease(lease_id, Term(asked_at, duration, renewable=answer.get("renewable") is True), self.parent)

    async def _static(self) -> Fetched:
        role, mount = self.options.static_role or "", self.options.mount
        doing = f"get {mount}/static-creds/{role}"
        answer = await self.vault.ask(
            Operation.READ_DATABASE, doing, lambda adapter: Database(adapter).get_static_credentials(role, mount)
        )
        ttl = seconds((block(answer, "data") or {}).get("ttl"))
        return Fetched(self._pair(answer, doing), again=None if ttl is None else ttl + LATE)

    def _pair(self, answer: Any, doing: str) -> dict[str, bytes]:
        data = block(answer, "data") or {}
        username, password = text(data, USERNAME), text(data, PASSWORD)
        if username is None or password is None:
            raise malformed(self.vault.name, doing, "username and password")
        try:
            return {USERNAME: username.encode(), PASSWORD: password.encode("utf-8", "surrogatepass")}
        except UnicodeEncodeError:  # half a character, which JSON can say
            raise malformed(self.vault.name, doing, "username") from None
