"""What every protocol can do: accept · login · relay · refuse.

accept   find out who the client is and what it wants         (client side, awaits)
login    make a fresh socket to an endpoint ready for use      (server side, awaits)
relay    lease a server connection and join the two until the end
refuse   say no in the client's own tongue                     (pure)
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

from ambassador.access.base import Authenticator, Check, Claim, Principal, Proven, Refused
from ambassador.config.model import Model
from ambassador.errors import AmbassadorError, ClientError, Reason
from ambassador.net.relay import End
from ambassador.net.stream import Peer, Stream
from ambassador.net.tls import ServerContexts
from ambassador.telemetry.requests import RequestMetrics
from ambassador.upstreams.pool import ServerConnection
from ambassador.upstreams.target import Target
from ambassador.upstreams.upstream import Attempt


@dataclass(frozen=True, slots=True)
class Hello:
    """What a client asked for. `details` is the protocol's own; the rest is for routes and the log."""

    user: str | None = None
    database: str | None = None
    details: Any = None


@dataclass(slots=True)
class Downstream:
    """The client's side of a session, as a protocol is given it.

    `client` is where the client is: the socket's peer, or what a trusted PROXY header said.
    `admit` raises Overloaded when the listener takes no more; a protocol calls it once it knows how to say so.
    `requests` counts finished transactions or commands, by their kind: as many as the protocol's `request_kinds`.
    `introduce` tells the session what the client says of itself, before it is known whether it may come in.
    """

    stream: Stream
    client: Peer
    access: Authenticator
    tls: ServerContexts | None
    tls_required: bool
    admit: Callable[[], None]
    requests: tuple[RequestMetrics, ...]
    introduce: Callable[[Hello], None] = lambda _: None

    def claim(self, user: str | None) -> Claim:
        """What the client claims to be, with the evidence its connection brings."""
        return Claim(user=user, peer=self.stream.peer, tls=self.stream.tls)


class Link(ABC):
    """What serves a client, as far as its session's limits, its drain and its log line need to know."""

    __slots__ = ()

    @property
    @abstractmethod
    def bytes_in(self) -> int:
        """How much came from the client."""

    @property
    @abstractmethod
    def bytes_out(self) -> int:
        """How much went to it."""

    @property
    def in_transaction(self) -> bool:
        """Whether the client has a transaction open."""
        return False

    @property
    def waiting(self) -> bool:
        """Whether it is the client's turn to speak: a server at work is not idle."""
        return True

    @abstractmethod
    def leave(self, reason: Reason) -> None:
        """End at the next safe point, telling the client why where its protocol can. Does not wait."""

    @abstractmethod
    def expel(self, reason: Reason) -> None:
        """End now, telling the client why where its protocol can."""


Attach: TypeAlias = Callable[[Link, ServerConnection | None], None]
"""How a protocol shows its session the link, as soon as there is one, and the server connection if it has its own."""


class Protocol(ABC):
    """One protocol at one listener.

    Args:
        options: the listener's part of the configuration for this protocol.
        shared: what `make_shared` returned; one for all listeners of this protocol and through all reloads.
    """

    ListenerOptions: ClassVar[type[Model]]
    UpstreamOptions: ClassVar[type[Model]]

    alpn: ClassVar[tuple[str, ...]] = ()
    """Protocol names for TLS handshakes (RFC 7301), both sides."""

    negotiates_tls: ClassVar[bool] = False
    """Whether TLS is begun in the protocol's own words; otherwise the session begins it before `accept`."""

    client_speaks_first: ClassVar[bool] = False
    """Whether the first bytes are always the client's, so that they tell whether it speaks TLS."""

    names_users: ClassVar[bool] = False
    """Whether every client says which user it wants to be before it is let in."""

    asks_for_passwords: ClassVar[bool] = False
    """Whether it has words for asking a client for a password."""

    logs_in: ClassVar[bool] = False
    """Whether a login shows the upstream's credential, so that one can be tried."""

    request_kinds: ClassVar[tuple[str, ...]] = ("session",)
    """What `requests_total` counts for this protocol: a closed list of kinds."""

    def __init__(self, options: Any, shared: Any) -> None:
        self.options = options
        self.shared = shared

    @classmethod
    def make_shared(cls) -> Any:
        """State that outlives reloads and is common to all listeners of the protocol."""
        return None

    @classmethod  # noqa: B027 - most have nothing to end
    async def stop_shared(cls, shared: Any) -> None:
        """The daemon ends: let go of what `make_shared` returned holds."""

    @abstractmethod
    async def accept(self, downstream: Downstream) -> tuple[Hello, Principal]:
        """Hear the client out and authenticate it. The caller brings the deadline.

        Raises:
            ClientError: it broke the protocol, was refused, or only wanted something that is now done.
            Overloaded: from `downstream.admit`.
        """

    @abstractmethod
    async def relay(self, downstream: Downstream, hello: Hello, target: Target, attach: Attach) -> End:
        """Lease a server connection, tell the client it is in, and join the two until the end.

        Raises:
            UpstreamError, CredentialError: no server connection was to be had.
        """

    @classmethod
    @abstractmethod
    async def try_login(cls, attempt: Attempt) -> None:
        """Log in for nobody in particular, to see whether the credential is accepted.

        Raises:
            UpstreamError: as a session's login would.
        """

    def refuse(self, error: AmbassadorError, *, reveal: bool) -> bytes:  # noqa: ARG002 - a protocol with words overrides
        """What to tell the client before closing; nothing, where the protocol has no words for it.

        `reveal`: tell the operator's text, which may name addresses, and not the public one.
        """
        return b""


async def identify(downstream: Downstream, user: str | None) -> Principal:
    """Who the client is, for protocols that carry no password exchange.

    Raises:
        ClientError: the authenticator refused, or wants a password.
    """
    verdict = await downstream.access.identify(downstream.claim(user))
    match verdict:
        case Proven():
            return verdict.principal
        case Refused():
            raise ClientError(Reason.ACCESS_DENIED, verdict.reason, public="access denied")
        case Check():
            raise ClientError(
                Reason.ACCESS_DENIED, "this protocol has no way to ask for a password", public="access denied"
            )
