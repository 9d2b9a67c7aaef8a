"""VaultSource: what the sources that ask a Vault have in common."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any, Final

from hvac.adapters import JSONAdapter
from hvac.api import SystemBackend

from ambassador.credentials.sources.base import Change, Lease, LeaseLost, Source
from ambassador.credentials.term import Term
from ambassador.credentials.vault.answers import seconds, text
from ambassador.credentials.vault.failure import Kind, VaultError, malformed
from ambassador.credentials.vault.operation import Operation
from ambassador.credentials.vault.token import Token
from ambassador.credentials.vault.vault import T, Vault, Vaults, Work
from ambassador.errors import Reason
from ambassador.kit.clock import Clock
from ambassador.telemetry.logs import logger

HINT: Final = (
    'it is left to its end. Its policy needs `path "sys/leases/revoke" { capabilities = ["update"] }`, '
    "or set revoke: false for this vault"
)

PACE: Final = (5, 1.0)
PACE_OF_NEW: Final = (3, 5.0)
"""How many fetches at once, and in how many seconds one more: of what is there, and of what is made for us."""

GONE: Final = "lease not found"
NO_LONGER: Final = ("max TTL", "not renewable")
"""Words of a Vault that has no such lease; and of one that will not renew it."""

_LOG = logger(__name__)


class VaultSource(Source):
    """A source that asks the Vault its options name."""

    def __init__(self, name: str, options: Any, vaults: Vaults) -> None:
        super().__init__(name, options, vaults)
        self.vault: Vault = vaults[options.vault]

    @property
    def pace(self) -> tuple[int, float] | None:
        return PACE if not self.makes_new else PACE_OF_NEW

    def error(self, kind: Kind, doing: str, words: str) -> VaultError:
        """An error of this source's own."""
        return VaultError(kind, self.vault.name, doing, words)


class LeasingSource(VaultSource):
    """One whose values come with leases, which end with the token that they were asked for with."""

    def __init__(self, name: str, options: Any, vaults: Vaults) -> None:
        super().__init__(name, options, vaults)
        self.parent: Token | None = None  # that the last lease came with

    async def borrow(self, operation: Operation, doing: str, work: Work[T]) -> T:
        """Ask for what comes with a lease; raises as `Vault.ask`."""
        before, shown = self.vault.token, b""

        def noting(adapter: JSONAdapter) -> T:
            nonlocal shown
            shown = (adapter.token or "").encode()
            return work(adapter)

        answer: T = await self.vault.ask(operation, doing, noting, late=self.decline)
        # Another may have taken its place meanwhile; the lease ends with the one that was shown.
        self.parent = before if before is not None and before.secret.reveal() == shown else self.vault.token
        return answer

    def decline(self, answer: Any) -> None:
        """What was lent is of no use, or nobody waits for it any more: it goes back, and is not left to its end."""
        lease_id = text(answer, "lease_id") if isinstance(answer, dict) else None
        if lease_id is not None:
            self.vault.give_back(self._return(Lease(lease_id, Term(self.vault.clock.now(), 0.0, renewable=False))))

    async def _return(self, lease: Lease) -> None:
        try:
            await self.revoke(lease)
        except VaultError as error:
            _LOG.warning("lease not revoked", credential=self.name, error=str(error))

    def changes(self, *, poll: float, debounce: float, clock: Clock) -> AsyncGenerator[Change] | None:  # noqa: ARG002 - told at once, never polled
        changed = asyncio.Event()
        unsubscribe = self.vault.on_token(changed.set)

        async def told() -> AsyncGenerator[Change]:
            try:
                while True:
                    await changed.wait()
                    changed.clear()
                    # It is the same where the login was for that lease's sake.
                    yield Change.END if self.vault.token is self.parent else Change.VALUE
            finally:
                unsubscribe()

        return told()

    async def renew(self, lease: Lease) -> Lease | None:
        doing = f"renew a lease of credential {self.name!r}"
        increment = int(lease.term.first or lease.term.duration)
        asked_at = self.vault.clock.now()
        try:
            answer = await self.vault.ask(
                Operation.RENEW_LEASE,
                doing,
                lambda adapter: SystemBackend(adapter).renew_lease(lease.id, increment=increment),
                insist=False,
            )
        except VaultError as error:
            if error.kind is Kind.DENIED or error.says(*NO_LONGER):
                return None
            if not error.says(GONE):  # other refusals may be the database's
                raise
            problem = str(error)
        else:
            duration = seconds(answer.get("lease_duration")) if isinstance(answer, dict) else None
            if duration is None:
                raise malformed(self.vault.name, doing, "lease_duration")
            return replace(lease, term=lease.term.renewed(duration, asked_at))
        raise LeaseLost(Reason.SOURCE_FAILED, problem)

    async def revoke(self, lease: Lease) -> bool:
        if not self.vault.settings.revoke:
            return False
        doing = f"revoke a lease of credential {self.name!r}"
        try:
            await self.vault.ask(
                Operation.REVOKE_LEASE,
                doing,
                lambda adapter: SystemBackend(adapter).revoke_lease(lease.id),
                insist=False,
            )
        except VaultError as error:
            if error.kind is Kind.DENIED:
                _LOG.warning("lease not revoked", credential=self.name, error=f"{error}; {HINT}")
                return False
            if not error.says(GONE):
                raise
        return True
