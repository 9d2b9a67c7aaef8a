"""A password that the client must show, held in the credential store and rotated like any other."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import Callable, Iterable
from typing import Annotated, Any, ClassVar, Final, Self

from pydantic import Field, model_validator

from ambassador.access import candidates
from ambassador.access.base import Authenticator, Check, Claim, Method, Principal, Refused, Verdict
from ambassador.access.candidates import Candidate
from ambassador.config.model import Model, Need
from ambassador.config.types import CredentialName, Duration
from ambassador.credentials.credential import Credential
from ambassador.credentials.store import Store
from ambassador.errors import CredentialError, Reason
from ambassador.kit.clock import SYSTEM, Clock
from ambassador.kit.tasks import Tasks
from ambassador.telemetry.logs import logger
from ambassador.wire.scram import Verifier

METHOD: Final = "password"

_LOG = logger(__name__)


class PasswordOptions(Model):
    """`password:` of a listener's access."""

    credential: CredentialName | None = None
    """The credential whose user name and password clients must show."""

    credentials: Annotated[tuple[CredentialName, ...], Field(max_length=256)] = ()
    """Several credentials, where there are several users. Two may name the same user: both passwords are accepted."""

    method: Method = "scram-sha-256"
    """How the password is shown. `md5` and `cleartext` only for clients that cannot do better: what passes the
    connection then lets an eavesdropper in."""

    grace: Duration = 120.0
    """How long a password is still accepted after its credential has changed, so that clients can change over.
    Longer than the minute or so in which a changed Secret reaches all pods."""

    @property
    def needs(self) -> frozenset[Need]:
        return frozenset({"passwords", "tls"} if self.method == "cleartext" else {"passwords"})

    @model_validator(mode="after")
    def _named(self) -> Self:
        if (self.credential is None) == (not self.credentials):
            raise ValueError("name either one `credential` or a list of `credentials`")
        if len(set(self.credentials)) != len(self.credentials):
            raise ValueError("a credential is listed twice")
        return self


class Password(Authenticator):
    """Checks passwords without keeping them: what a check needs is derived when a credential changes, not at login."""

    Options: ClassVar[type[Model]] = PasswordOptions
    options: PasswordOptions

    def __init__(self, options: Any, store: Store, clock: Clock = SYSTEM) -> None:
        super().__init__(options, store, clock)
        self._candidates: tuple[Candidate, ...] = ()
        # As many as one user can have: every credential may name the same one.
        self._decoys = tuple(candidates.decoy() for _ in range(candidates.KEPT * len(self.credentials())))
        self._deriving: set[asyncio.Task[None]] = set()
        self._tasks = Tasks(lambda name, error: _LOG.exception("task failed", error, task=name))
        self._unsubscribe: list[Callable[[], None]] = []

    def credentials(self) -> tuple[str, ...]:
        one = self.options.credential
        return self.options.credentials if one is None else (one,)

    async def start(self) -> None:
        for name in self.credentials():
            self._unsubscribe.append(self.store.subscribe(name, self._changed))
            current = self.store.current(name)
            if current is not None:
                self._changed(current)

    async def stop(self) -> None:
        while self._unsubscribe:
            self._unsubscribe.pop()()
        await self._tasks.stop(timeout=1.0)

    async def identify(self, claim: Claim) -> Verdict:
        if claim.user is None:
            return Refused("the protocol has no way to ask for a password")
        # Whoever it is waits for the same: time must not tell whose password has just changed.
        while self._deriving:
            await asyncio.wait(tuple(self._deriving))
        accepted = candidates.of_user(
            self._candidates, claim.user, now=self.clock.now(), wall=self.clock.wall(), decoys=self._decoys
        )
        if not accepted:
            names = ", ".join(self.credentials())
            raise CredentialError(
                Reason.NO_CREDENTIAL,
                f"no valid password to check clients against in {names}",
                public="the proxy cannot check passwords at the moment",
            )
        return PasswordCheck(claim.user, self.options.method, accepted)

    def _changed(self, credential: Credential) -> None:
        task = self._tasks.start(self._derive(credential), name=f"derive keys of {credential.name}")
        self._deriving.add(task)
        task.add_done_callback(self._deriving.discard)

    async def _derive(self, credential: Credential) -> None:
        new = await candidates.derive(credential)
        if new is None:
            _LOG.warning(
                "credential of clients not usable",
                credential=credential.name,
                version=credential.version,
                error="it needs both a user name and a password",
            )
            return
        grace_ends = self.clock.now() + self.options.grace
        self._candidates = candidates.succeed(self._candidates, new, grace_ends=grace_ends)


class PasswordCheck(Check):
    """A check against the accepted candidates of a user, decoys among them. Always compares with all of them."""

    __slots__ = ("_accepted",)

    def __init__(self, user: str, method: Method, accepted: tuple[Candidate, ...]) -> None:
        super().__init__(Principal(user, METHOD), method)
        self._accepted = accepted

    def scram_verifier(self) -> Verifier:
        salt = candidates.salt_of(self.principal.name)
        return Verifier(salt, candidates.ITERATIONS, tuple(one.scram for one in self._accepted))

    def md5_matches(self, user: str, salt: bytes, digest: bytes) -> bool:
        expected = (b"md5" + _md5(one.md5 + salt) for one in self._accepted)
        return user == self.principal.name and _any_equal(expected, digest)

    def password_matches(self, password: bytes) -> bool:
        return _any_equal((one.tag for one in self._accepted), candidates.tag_of(password))


def _md5(data: bytes) -> bytes:
    # The method is what it is; who wants better does not choose it.
    return hashlib.md5(data, usedforsecurity=False).hexdigest().encode()


def _any_equal(expected: Iterable[bytes], shown: bytes) -> bool:
    """Whether any is equal, having compared all."""
    return sum(hmac.compare_digest(one, shown) for one in expected) > 0
