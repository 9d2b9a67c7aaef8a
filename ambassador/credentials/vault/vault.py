"""Vault: one configured Vault at work. It logs in when first needed, keeps the token alive, and asks.

ask ──► token? ──no──► log in (one at a time, however many ask; not sooner after a failure than its back-off)
            │
            └─► request in a thread ──403──► one new login, then once more
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final, TypeVar

from hvac.adapters import JSONAdapter

from ambassador import registry
from ambassador.config.vault import VaultSettings
from ambassador.credentials.term import ROUNDING
from ambassador.credentials.vault.answers import block, seconds
from ambassador.credentials.vault.attempts import Attempts
from ambassador.credentials.vault.failure import (
    AWAY,
    LOGIN_WORDS,
    TOKEN_WORDS,
    Kind,
    VaultError,
    explained,
    malformed,
)
from ambassador.credentials.vault.http import Http
from ambassador.credentials.vault.logins.base import NotReady, VaultLogin
from ambassador.credentials.vault.operation import Operation
from ambassador.credentials.vault.threads import Threads
from ambassador.credentials.vault.token import Token, from_auth, renew_self, revoke_self
from ambassador.errors import CredentialError
from ambassador.kit.backoff import Backoff
from ambassador.kit.clock import Clock, ticks
from ambassador.kit.tasks import Tasks
from ambassador.net.tls import ClientContexts
from ambassador.telemetry.logs import logger
from ambassador.telemetry.metrics import VaultMetrics

T = TypeVar("T")
Work = Callable[[JSONAdapter], T]
Late = Callable[[T], None]

KEEPING: Final = frozenset({Operation.LOGIN, Operation.RENEW_TOKEN, Operation.REVOKE_TOKEN, Operation.RENEW_LEASE})
"""What keeps alive what we have. It never waits for the others, of which any may hang: a Vault answers for databases
that may be gone."""

MOST_KEEPING: Final = 32
MOST_OTHERS: Final = 16
"""Requests to one Vault at a time, of these and of the others: one that hangs holds its place until it is given up."""

GRACE: Final = 2.0
"""Seconds that a request may outlast its own deadline before whoever waits for it is told."""

GROWN: Final = 2 * ROUNDING
"""Seconds by which the end of a token must have moved for it to have been renewed: of what is left of it a Vault tells
whole seconds, and that there is one in the last of them."""

LAST_MOMENTS: Final = 2.0
"""Seconds to give back a token that was not needed."""

FIRST_DOUBT: Final = 5.0
LONGEST_DOUBT: Final = 300.0
"""Seconds between two logins that are made because a request was denied: where a policy is missing, none helps."""

_LOG = logger(__name__)


class Vault:
    """One Vault.

    Args:
        contexts: how it is verified; None for a cleartext address.
        rng: source of chance for spreading renewals and retries.

    Attributes:
        login: how we log in.
        token: what the last login gave; None before the first one, and while there is no usable one.
        another: set when another token has become ours; for `Upkeep`, which clears it.
        trouble: why the last request failed, None when it did not.
    """

    def __init__(
        self,
        name: str,
        settings: VaultSettings,
        contexts: ClientContexts | None,
        *,
        metrics: VaultMetrics,
        clock: Clock,
        rng: random.Random | None = None,
    ) -> None:
        rng = rng or random.Random()  # noqa: S311 - spreads load, protects nothing
        self.name = name
        self.settings = settings
        self.contexts = contexts
        self.token: Token | None = None
        self.trouble: str | None = None
        self._metrics = metrics
        self.clock = clock
        self._http = Http(settings, contexts, MOST_KEEPING + MOST_OTHERS)
        method: type[VaultLogin] = registry.resolve("vault_logins", settings.auth.method)
        self.login = method(settings.auth.options)
        self._keeping = Threads(f"vault {name}", MOST_KEEPING)
        self._others = Threads(f"vault {name}", MOST_OTHERS)
        self._tasks = Tasks(lambda task, error: _LOG.exception("task failed", error, vault=name, task=task))
        self._logging_in = asyncio.Lock()
        self._doubting = asyncio.Lock()
        self._attempts = Attempts(clock, rng, locks=self.login.locks)
        self._doubt_at = float("-inf")
        self._doubts = Backoff(FIRST_DOUBT, LONGEST_DOUBT, floor=FIRST_DOUBT, rng=rng)
        self.another = asyncio.Event()
        self._listeners: list[Callable[[], None]] = []
        self._givings: set[asyncio.Task[Any]] = set()

    def inherit(self, before: Vault) -> None:
        """Take the place of `before`, which a reload takes out."""
        self.login.inherit(before.login)

    @property
    def logged_in(self) -> bool:
        """Whether there is a token that has not ended."""
        return self.token is not None and self.clock.now() < self.token.term.ends_at

    def describe(self) -> str:
        """Where it is and as whom we log in, for the status."""
        return f"{self.settings.address}, {self.login.describe()}"

    def on_token(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` when a token has taken another's place, whose leases end with it, and when it has become
        known that ours will end, or will not. Returns what ends that; callbacks must not raise.
        """
        self._listeners.append(callback)

        def unsubscribe() -> None:
            if callback in self._listeners:
                self._listeners.remove(callback)

        return unsubscribe

    # ---- asking

    async def ask(
        self, operation: Operation, doing: str, work: Work[T], *, insist: bool = True, late: Late[T] | None = None
    ) -> T:
        """What `work` returns, given hvac's adapter with our token. It runs in a thread, and may be cancelled here.

        Args:
            doing: for errors, what it is to do: "read secret/app".
            late: is given what comes when nobody waits for it any more.
            insist: where it is denied, log in anew and try once more. Not for what another token does not help.

        Raises:
            VaultError: it failed, or the login did.
        """
        token = await self._usable()
        try:
            return await self._with(token, operation, doing, work, late)
        except VaultError as error:
            if error.kind is not Kind.DENIED or not insist:
                raise
            return await self._doubt(token, error, operation, doing, work)

    async def reach(self) -> None:
        """Log in, if that was not done yet.

        Raises:
            VaultError: it failed.
        """
        await self._usable()

    async def _with(
        self, token: Token, operation: Operation, doing: str, work: Work[T], late: Late[T] | None = None
    ) -> T:
        return await self._try(operation, doing, lambda: work(self._http.adapter(token.secret.reveal())), late)

    async def _try(self, operation: Operation, doing: str, act: Callable[[], T], late: Late[T] | None = None) -> T:
        started, result = ticks(), "cancelled"
        try:
            threads = self._keeping if operation in KEEPING else self._others
            found = await threads.run(act, self.settings.timeout + GRACE, late)
            result = "ok"
        except Exception as error:  # noqa: BLE001 - whatever hvac and what is beneath it raise
            failure = self._understood(error, operation, doing)
            result = failure.kind
        finally:
            self._metrics.asked(operation, result, ticks() - started)
        # Raised out here, so that what hvac raised, which quotes what was sent, is not carried along as context.
        if result != "ok":
            self.trouble = str(failure)
            raise failure
        self.trouble = None
        return found

    def _understood(self, error: Exception, operation: Operation, doing: str) -> VaultError:
        if isinstance(error, NotReady):
            return VaultError(Kind.NOT_READY, self.name, doing, str(error))
        if isinstance(error, VaultError):
            return error
        of_login = LOGIN_WORDS if self.login.ours else TOKEN_WORDS
        words = of_login if operation is Operation.LOGIN else None
        return explained(error, vault=self.name, address=self.settings.address, doing=doing, words=words)

    # ---- the token

    def worry(self, token: Token, why: str | None) -> None:
        """It could not be renewed or replaced, and `why`; None: all is well. Whoever depends on it is told."""
        if token.trouble == why:
            return
        token.trouble = why
        if why is not None:
            left = max(0.0, token.term.ends_at - self.clock.now())
            _LOG.warning("vault token not renewed", vault=self.name, error=why, lifetime=f"{left:.0f} s left")
        self._tell()

    def _tell(self) -> None:
        for callback in tuple(self._listeners):
            callback()

    def rest(self, token: Token) -> float:
        """Seconds to wait after a renewal or a login in the place of `token` failed; not for as long as one that was
        refused is not to be tried again, for what is shown may change before. The less is left, the shorter."""
        return self._attempts.pause(token.term.ends_at - self.clock.now())

    async def close(self, timeout: float) -> None:
        """Revoke the token if it is ours and we are to, within `timeout` seconds; forget it in any case."""
        until, waited = self.clock.now() + timeout, self.clock.sleep(timeout / 2)
        # What is under way may lend something that is to be given back.
        await self._tasks.first(self._settled(), waited, name=f"last requests to vault {self.name}")
        token, self.token = self.token, None
        if token is not None:
            await self._revoke(token, until - self.clock.now())
        await self._tasks.stop(timeout=1.0)
        self._http.close()

    async def _settled(self) -> None:
        await self._keeping.quiet()
        await self._others.quiet()
        await asyncio.gather(*self._givings)

    def give_back(self, giving: Coroutine[Any, Any, Any]) -> None:
        """Have something given back that came too late for whoever asked for it."""
        task = self._tasks.start(giving, name=f"late answer of vault {self.name}")
        self._givings.add(task)
        task.add_done_callback(self._givings.discard)

    async def _revoke(self, token: Token, timeout: float) -> None:
        if not token.ours or not self.settings.revoke:
            return
        try:
            async with asyncio.timeout(timeout):
                await self._with(token, Operation.REVOKE_TOKEN, "revoke our token", revoke_self)
        except (CredentialError, TimeoutError) as error:
            _LOG.warning("vault token not revoked", vault=self.name, error=str(error) or "it took too long")

    async def _usable(self) -> Token:
        token = self.token
        if token is None or self.clock.now() >= token.term.ends_at:
            token = await self.log_in(token)
        return token

    async def _doubt(self, denied: Token, error: VaultError, operation: Operation, doing: str, work: Work[T]) -> T:
        """Try once more with another token: is it the token that is no good, or is there no policy?

        The other becomes ours only if it helps: leases end with the token they came with, and it may be good.
        """
        async with self._doubting:
            if self.token is denied:
                if self.clock.now() < self._doubt_at:
                    raise error
                self._doubt_at = self.clock.now() + self._doubts.next()
                newer = await self._new_token()
                if newer.secret == denied.secret:
                    raise error
                try:
                    found = await self._with(newer, operation, doing, work)
                except VaultError:
                    await self._revoke(newer, LAST_MOMENTS)
                    raise
                self._doubts.reset()
                self._take(newer)
                return found
        return await self._with(await self._usable(), operation, doing, work)

    async def log_in(self, instead_of: Token | None) -> Token:
        """A token that is not `instead_of`, unless another login gives the very same; whoever comes first logs in.

        Raises:
            VaultError: it failed, or failed a moment ago.
        """
        async with self._logging_in:
            if self.token is not None and self.token is not instead_of:
                return self.token
            return self._take(await self._new_token())

    async def _new_token(self) -> Token:
        """What a login gives.

        Raises:
            VaultError: it failed, or failed a moment ago.
        """
        shown = self.login.stamp()
        self._attempts.begin(shown)
        doing, asked_at = f"log in ({self.login.describe()})", self.clock.now()
        try:
            answer = await self._try(Operation.LOGIN, doing, lambda: self.login.log_in(self._http), self._decline)
            token = self._token_in(answer, doing, asked_at)
        except VaultError as error:
            if self._attempts.failed(error, shown):
                _LOG.warning("vault login failed", vault=self.name, error=str(error), reason=error.kind)
            raise
        if self._attempts.succeeded():
            _LOG.info("vault login recovered", vault=self.name)
        return token

    def _token_in(self, answer: Any, doing: str, asked_at: float) -> Token:
        auth = block(answer, "auth")
        renews, ours = self.login.renews, self.login.ours
        token = None if auth is None else from_auth(auth, now=asked_at, renews=renews, ours=ours)
        if token is None:
            raise malformed(self.name, doing, "token")
        return token

    def _decline(self, answer: Any) -> None:
        """A login succeeded when nobody waited for it any more: what it gave is not left to its end."""
        with contextlib.suppress(VaultError):
            self.give_back(self._revoke(self._token_in(answer, "log in", self.clock.now()), LAST_MOMENTS))

    def _take(self, token: Token) -> Token:
        before = self.token
        if before is not None and before.secret == token.secret:
            grown = token.term.ends_at > before.term.ends_at + GROWN
            before.term = token.term
            self._note()
            if grown:
                self.worry(before, None)
            return before
        self.token = token
        self._note()
        self.another.set()
        _LOG.info("vault login", vault=self.name, login=self.login.describe(), lifetime=token.lifetime)
        if before is not None:
            before.replaced, before.trouble = True, None
            self._tell()
        return token

    def _note(self) -> None:
        token = self.token
        left = float("inf") if token is None else token.term.ends_at - self.clock.now()
        self._metrics.token_expires = None if left == float("inf") else self.clock.wall() + left

    async def renew(self, token: Token) -> None:
        """Renew `token`; where that is refused, log in for another.

        Raises:
            VaultError: neither could be done.
        """
        asked_at, before = self.clock.now(), token.term.ends_at
        try:
            answer = await self._with(token, Operation.RENEW_TOKEN, "renew our token", renew_self)
        except VaultError as error:
            if error.kind in AWAY:
                raise
            # Past its maximum a token is answered in many ways: OpenBao says 500.
            if await self.log_in(token) is token and token.term.ends_at <= before + ROUNDING:
                raise
            return
        ttl = seconds((block(answer, "auth") or {}).get("lease_duration"))
        if ttl is None or ttl == 0:
            raise malformed(self.name, "renew our token", "lease_duration")
        token.renew(ttl, asked_at)
        self._attempts.pause_anew()
        if token.term.ends_at > before + ROUNDING:  # at its maximum a renewal grants what is left
            self.worry(token, None)
        self._note()
        _LOG.debug("vault token renewed", vault=self.name, lifetime=token.lifetime)


Vaults = Mapping[str, Vault]
"""All Vaults of a configuration, by name."""
