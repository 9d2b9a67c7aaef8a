"""What an authenticator is asked, and what it answers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeAlias

from ambassador.config.model import Model
from ambassador.credentials.store import Store
from ambassador.kit.clock import SYSTEM, Clock
from ambassador.net.facts import TlsFacts
from ambassador.net.peer import Peer
from ambassador.wire.scram import Verifier

Method = Literal["scram-sha-256", "md5", "cleartext"]
"""How a password may be shown."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Who a client proved to be, and by which way of access."""

    name: str
    method: str


@dataclass(frozen=True, slots=True)
class Claim:
    """Who a client says it is, and what its connection shows by itself.

    `user` is None where the protocol has no user names (tcp). `peer` is the other end of the socket, not what a PROXY
    header says; `tls` its certificate and more, None without TLS.
    """

    user: str | None
    peer: Peer
    tls: TlsFacts | None = None


@dataclass(frozen=True, slots=True)
class Proven:
    """The connection itself proves who this is."""

    principal: Principal


@dataclass(frozen=True, slots=True)
class Refused:
    """Not allowed, whatever it may show. `reason` is for the operator's log."""

    reason: str


class Check(ABC):
    """The client must show a password; the protocol conducts the exchange.

    A check of an unknown user looks and costs like any other and never passes.
    """

    __slots__ = ("method", "principal")

    def __init__(self, principal: Principal, method: Method) -> None:
        self.principal = principal
        self.method = method

    @abstractmethod
    def scram_verifier(self) -> Verifier:
        """What a SCRAM exchange is checked against."""

    @abstractmethod
    def md5_matches(self, user: str, salt: bytes, digest: bytes) -> bool:
        """Whether `digest` is PostgreSQL's md5 answer (`md5` and 32 hex digits) to `salt` for an accepted password."""

    @abstractmethod
    def password_matches(self, password: bytes) -> bool:
        """Whether `password` is an accepted one."""


Verdict: TypeAlias = Proven | Check | Refused


class Authenticator(ABC):
    """One listener's way of access.

    Args:
        options: an instance of the class's own `Options`.
        store: where passwords of clients lie.
    """

    Options: ClassVar[type[Model]]

    def __init__(self, options: Any, store: Store, clock: Clock = SYSTEM) -> None:
        self.options = options
        self.store = store
        self.clock = clock

    def credentials(self) -> tuple[str, ...]:
        """Names of the credentials it needs; the listener is not ready before they have values."""
        return ()

    async def start(self) -> None:  # noqa: B027 - most have nothing to follow
        """Begin to follow the store. Call once, before `identify`."""

    async def stop(self) -> None:  # noqa: B027 - as above
        """Let go of the store; sessions being checked may still finish."""

    @abstractmethod
    async def identify(self, claim: Claim) -> Verdict:
        """Decide about a client. The caller brings the deadline.

        Raises:
            CredentialError: there is no password of any user to check against.
        """
