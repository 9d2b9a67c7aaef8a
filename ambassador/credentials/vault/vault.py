"""Vault: one configured Vault at work. It logs in when first needed, keeps the token alive, and asks.

ask ──► token? ──no──► log in (one at a time, however many ask; not sooner after a failure than its back-off)
            │
            └─► request in a thread ──403──► one new login, then once more
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Mapping
from contextlib import aclosing
from typing import Any, Final, TypeVar

from hvac.adapters import JSONAdapter

from ambassador import registry
from ambassador.config.vault import VaultSettings
from ambassador.config.watch import watch
from ambassador.credentials.term import SHARE, Care
from ambassador.credentials.vault.answers import block, seconds
from ambassador.credentials.vault.failure import AWAY, Kind, VaultError, explained, malformed
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

THREADS: Final = 4
"""Requests to one Vault at a time."""

GRACE: Final = 2.0
"""Seconds that a request may outlast its own deadline before whoever waits for it is told."""

LAST_MOMENTS: Final = 2.0
"""Seconds to give back a token that was not needed."""

FIRST_RETRY: Final = 0.5
LONGEST_RETRY: Final = 30.0
"""Seconds between two logins that fail."""

FIRST_REFUSAL: Final = 60.0
LONGEST_REFUSAL: Final = 300.0
"""Seconds between two logins that are refused where a Vault locks out who tries too often, unless what is shown has
changed."""

FIRST_DOUBT: Final = 5.0
LONGEST_DOUBT: Final = 300.0
"""Seconds between two logins that are made because a request was denied: where a policy is missing, none helps."""

FILE_POLL: Final = 10.0
FILE_DEBOUNCE: Final = 0.25
"""Seconds: how often the file with a token is looked at without being told, and how long a change must rest."""

_LOG = logger(__name__)


class Vault:
    """One Vault.

    Args:
        contexts: how it is verified; None for a cleartext address.
        rng: source of chance for spreading renewals and retries.

    Attributes:
        token: what the last login gave; None before the first one, and while there is no usable one.
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
        self._http = Http(settings, contexts)
        method: type[VaultLogin] = registry.resolve("vault_logins", settings.auth.method)
        self._login = method(settings.auth.options)
        self._threads = Threads(f"vault {name}", THREADS)
        self._tasks = Tasks(lambda task, error: _LOG.exception("task failed", error, vault=name, task=task))
        self._logging_in = asyncio.Lock()
        self._doubting = asyncio.Lock()
        self._failure: VaultError | None = None  # of the last login
        self._retry_at = float("-inf")
        self._backoff = Backoff(FIRST_RETRY, LONGEST_RETRY, floor=FIRST_RETRY / 2, rng=rng)
        self._refusals = Backoff(FIRST_REFUSAL, LONGEST_REFUSAL, floor=FIRST_REFUSAL, rng=rng)
        self._shown: tuple[object, ...] = ()  # stamps of the files of the login that failed
        self._doubt_at = float("-inf")
        self._doubts = Backoff(FIRST_DOUBT, LONGEST_DOUBT, floor=FIRST_DOUBT, rng=rng)
        self._share = SHARE * rng.uniform(0.9, 1.0)
        self._another = asyncio.Event()  # there is another token
        self._listeners: list[Callable[[], None]] = []
        self._givings: set[asyncio.Task[Any]] = set()

    def inherit(self, before: Vault) -> None:
        """Take the place of `before`, which a reload takes out."""
        self._login.inherit(before._login)

    def describe(self) -> str:
        """Where it is and as whom we log in, for the status."""
        return f"{self.settings.address}, {self._login.describe()}"

    def on_login(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` whenever a token has taken the place of another, with which its leases will end.

        Returns what ends that; callbacks must not raise.
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
            found = await self._threads.run(act, self.settings.timeout + GRACE, late)
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
        login = operation is Operation.LOGIN
        return explained(error, vault=self.name, address=self.settings.address, doing=doing, login=login)

    # ---- the token

    async def run(self) -> None:
        """Keep the token alive until cancelled: renewed when two thirds of its life are over, replaced at its end."""
        try:
            if self._login.file is not None:
                self._tasks.start(self._follow(self._login.file), name=f"token file of vault {self.name}")
            while True:
                await self._care()
        finally:
            await self._tasks.stop(timeout=1.0)

    async def close(self, timeout: float) -> None:
        """Revoke the token if it is ours and we are to, within `timeout` seconds; forget it in any case."""
        # What is under way may lend something that is to be given back.
        await self._tasks.first(self._settled(), self.clock.sleep(timeout), name=f"last requests to vault {self.name}")
        token, self.token = self.token, None
        if token is not None:
            await self._revoke(token, timeout)
        await self._tasks.stop(timeout=1.0)
        self._http.close()

    async def _settled(self) -> None:
        await self._threads.quiet()
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
            token = await self._log_in(token)
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

    async def _log_in(self, instead_of: Token | None) -> Token:
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
        shown = self._login.stamp()
        if self._failure is not None and self.clock.now() < self._retry_at and shown == self._shown:
            raise VaultError(self._failure.kind, *self._failure.told)
        doing, asked_at = f"log in ({self._login.describe()})", self.clock.now()
        try:
            answer = await self._try(Operation.LOGIN, doing, lambda: self._login.log_in(self._http))
            token = self._token_in(answer, doing, asked_at)
        except VaultError as error:
            self._shown = shown
            self._failed(error)
            raise
        self._backoff.reset()
        self._refusals.reset()
        if self._failure is not None:
            _LOG.info("vault login recovered", vault=self.name)
        self._failure = None
        return token

    def _token_in(self, answer: Any, doing: str, asked_at: float) -> Token:
        auth = block(answer, "auth")
        renews, ours = self._login.renews, self._login.ours
        token = None if auth is None else from_auth(auth, now=asked_at, renews=renews, ours=ours)
        if token is None:
            raise malformed(self.name, doing, "token")
        return token

    def _failed(self, error: VaultError) -> None:
        before, self._failure = self._failure, error
        refused = self._login.locks and error.kind in {Kind.DENIED, Kind.REJECTED}
        self._retry_at = self.clock.now() + (self._refusals if refused else self._backoff).next()
        if before is None or str(before) != str(error):
            _LOG.warning("vault login failed", vault=self.name, error=str(error), reason=error.kind)

    def _take(self, token: Token) -> Token:
        before = self.token
        if before is not None and before.secret == token.secret:
            before.term = token.term
            self._note()
            return before
        self.token = token
        self._note()
        self._another.set()
        _LOG.info("vault login", vault=self.name, login=self._login.describe(), lifetime=token.lifetime)
        if before is not None:
            for callback in tuple(self._listeners):
                callback()
        return token

    def _note(self) -> None:
        token = self.token
        left = float("inf") if token is None else token.term.ends_at - self.clock.now()
        self._metrics.token_expires = None if left == float("inf") else self.clock.wall() + left

    async def _care(self) -> None:
        """Wait until the token needs care, and give it."""
        self._another.clear()
        token = self.token
        if token is None:
            await self._another.wait()
            return
        wait = token.term.due_at(self._share) - self.clock.now()
        if wait > 0 and not await self._rest(wait):
            return
        try:
            if token.term.care is Care.RENEW and self.clock.now() < token.term.ends_at:
                await self._renew(token)
            elif self._login.ours or self._login.file is None:
                await self._log_in(token)
            else:  # whoever keeps it there will put another in its place
                await self._rest(FILE_POLL)
        except VaultError as error:
            _LOG.debug("vault token not renewed", vault=self.name, error=str(error))
            await self._rest(max(self._retry_at - self.clock.now(), self._backoff.next()))

    async def _rest(self, seconds: float) -> bool:
        """Wait so long; False when there was another token before."""
        await self._tasks.first(self.clock.sleep(seconds), self._another.wait(), name=f"rest of vault {self.name}")
        return not self._another.is_set()

    async def _renew(self, token: Token) -> None:
        asked_at = self.clock.now()
        try:
            answer = await self._with(token, Operation.RENEW_TOKEN, "renew our token", renew_self)
        except VaultError as error:
            if error.kind in AWAY:
                raise
            # Past its maximum a token is answered in many ways: OpenBao says 500.
            await self._log_in(token)
            return
        ttl = seconds((block(answer, "auth") or {}).get("lease_duration"))
        if ttl is None or ttl == 0:
            raise malformed(self.name, "renew our token", "lease_duration")
        token.renew(ttl, asked_at)
        self._note()
        _LOG.debug("vault token renewed", vault=self.name, lifetime=token.lifetime)

    async def _follow(self, path: Any) -> None:
        async with aclosing(watch({path}, poll=FILE_POLL, debounce=FILE_DEBOUNCE, clock=self.clock)) as changes:
            async for _ in changes:
                try:
                    self._retry_at = float("-inf")  # what failed with the old content may not fail now
                    await self._log_in(self.token)
                except VaultError:
                    continue  # said in `_failed`; the token we have serves as long as it can


Vaults = Mapping[str, Vault]
"""All Vaults of a configuration, by name."""
