"""The model of the configuration: one frozen class per section, every key with its meaning, unit and default.

Durations are seconds (float), sizes bytes (int), whatever they looked like in the file. Kinds (protocol, source,
way of access) are keyed unions: the key names the kind and carries its options; see `keyed.Keyed`.
The JSON Schema in `config/schema.json` is generated from these classes.
"""

from __future__ import annotations

from functools import cache
from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, model_validator

from ambassador import registry
from ambassador.config import words
from ambassador.config.address import Address
from ambassador.config.keyed import Keyed, later
from ambassador.config.model import Model
from ambassador.config.tls import Certificate, ClientTls, ServerTls
from ambassador.config.types import (
    Addresses,
    Count,
    CredentialName,
    Duration,
    ExistingFile,
    FileMode,
    Name,
    Timeout,
    WholeSeconds,
    one_or_list,
    whole_number,
)
from ambassador.config.vault import VaultAuthSettings, VaultSettings, VaultTls

__all__ = [
    "AccessSettings",
    "Admin",
    "Certificate",
    "ClientTls",
    "Config",
    "CredentialSettings",
    "DiscoverySettings",
    "DrainSettings",
    "Keepalive",
    "Limits",
    "ListenerSettings",
    "Log",
    "ProxyProtocol",
    "ServerTls",
    "UnixSocket",
    "UpstreamSettings",
    "VaultAuthSettings",
    "VaultSettings",
    "VaultTls",
]

RESTART = {"restart": True}
"""Marks a field that cannot change while the daemon runs."""


def _none_means_empty(value: Any) -> Any:
    return {} if value is None else value


def _workers(value: int) -> int:
    if value != 1:
        raise ValueError(words.not_available("more than one worker"))
    return value


class Keepalive(Model):
    """TCP keepalive: how a peer that vanished without a word is noticed."""

    idle: WholeSeconds = 60
    """Silence before the first probe, in whole seconds. Below the 350 s after which common cloud load balancers and
    NAT gateways forget a silent connection."""

    interval: WholeSeconds = 10
    """Time between probes, in whole seconds."""

    count: Annotated[int, Field(ge=1, le=127), BeforeValidator(whole_number)] = 6
    """Unanswered probes after which the connection is dead: with the defaults, two minutes of silence in all."""


class Admin(Model):
    """The operator's door: metrics, probes, status, and the verbs of the command line."""

    listen: Annotated[Addresses, Field(json_schema_extra=RESTART)] = (Address("127.0.0.1", 9901),)
    """Address or addresses; unix sockets get mode 0600. Loopback by default: the status names what is configured.
    Changing it needs a restart."""

    token_file: Annotated[ExistingFile | None, Field(json_schema_extra=RESTART)] = None
    """File holding the token that `POST` and `PUT` must show as `Authorization: Bearer`. Without it these verbs
    answer only on a unix socket, whose owner the kernel vouches for. Its content may change at any time; naming
    another file needs a restart."""


class Log(Model):
    """What is written to standard output."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """Least important level that is written. `info` has a line per session and per change of state."""

    format: Annotated[Literal["json", "text"], Field(json_schema_extra=RESTART)] = "json"
    """`json`: an object a line, for collectors. `text`: for eyes. Changing it needs a restart."""


class DrainSettings(Model):
    """How the daemon leaves after SIGTERM. Kubernetes' terminationGracePeriodSeconds must exceed the sum by some
    seconds: those that are cut at the end are still told why."""

    delay: Duration = 5.0
    """How long new clients are still taken while readiness already says no: the time that endpoints lists and load
    balancers need to notice."""

    timeout: Duration = 25.0
    """After the delay, how long sessions may go on until they are cut. Where there are `vaults` a quarter of it, two
    seconds at most, is kept for revoking what they granted."""


class CredentialSettings(Keyed):
    """A secret that is shown upstream, or that our own clients must show; always kept current."""

    table: ClassVar[registry.Table] = "sources"
    kind_field: ClassVar[str] = "source"
    noun: ClassVar[str] = "source"
    wary: ClassVar[bool] = True
    later: ClassVar[frozenset[str]] = later("sources")

    source: str
    """Where the value comes from: a name of the registry's table of sources."""

    options: Model
    """The source's own settings."""

    verify: bool = True
    """Whether a new value is tried with a real login upstream before it replaces the one that works."""

    refused_wait: Duration = 2.0
    """How long a session whose login upstream was refused waits for a newer value. Long enough to ask the source
    once more, short enough for a client to be patient."""

    poll: Timeout = 30.0
    """Time between looks at a source that cannot tell of changes, and the safety net for one that can."""

    debounce: Duration = 0.25
    """Quiet time after a change before it is read, so that several files written in a row are read once."""

    min_interval: Duration = 0.25
    """Least time between two fetches, however many ask: a source is not flooded when logins fail."""


class UnixSocket(Model):
    """The file of a unix socket."""

    mode: FileMode = 0o660
    """Its permission bits, octal in quotes. Owner and group by default: connecting needs write permission."""

    owner: str | None = None
    """User to own it, by name or number; changing it needs privileges. By default who runs the daemon."""

    group: str | None = None
    """Group to own it, by name or number."""


class DiscoverySettings(Keyed):
    """Who knows where the servers of a service are."""

    table: ClassVar[registry.Table] = "discoveries"
    kind_field: ClassVar[str] = "kind"
    noun: ClassVar[str] = "way of discovery"
    later: ClassVar[frozenset[str]] = later("discoveries")

    kind: str
    """How they are found: a name of the registry's table of discoveries."""

    options: Model
    """Its own settings."""


def _endpoints_or_discovery(schema: dict[str, Any]) -> None:
    del schema["properties"]["endpoints"]["default"]
    schema["allOf"] = [{"oneOf": [{"required": ["endpoints"]}, {"required": ["discovery"]}]}]


class UpstreamSettings(Keyed):
    """A named service behind us: its `endpoints`, or a `discovery` that finds them."""

    model_config = ConfigDict(json_schema_extra=_endpoints_or_discovery)

    table: ClassVar[registry.Table] = "protocols"
    kind_field: ClassVar[str] = "protocol"
    options_attribute: ClassVar[str] = "UpstreamOptions"
    kind_required: ClassVar[bool] = False
    noun: ClassVar[str] = "protocol"
    later: ClassVar[frozenset[str]] = later("protocols")

    endpoints: Addresses = ()
    """Where the service is. Of several, the next is tried when one does not answer or has the wrong role."""

    discovery: DiscoverySettings | None = None
    """Who knows where it is, in the place of `endpoints`: then servers may come and go, and change their roles."""

    balance: Literal["ordered", "random"] = "ordered"
    """Order in which endpoints are tried: as written, which suits a primary and its stand-ins, or at random, which
    spreads sessions over equals. Those that failed of late come last either way."""

    credential: CredentialName | None = None
    """Credential to log in with. Without it the upstream is expected to ask for nothing."""

    tls: ClientTls | None = None
    """TLS towards the service; present without a mode it verifies fully. Without this key there is no TLS."""

    connect_timeout: Timeout = 5.0
    """Longest wait for one endpoint's TCP connection."""

    login_timeout: Timeout = 10.0
    """Longest wait for TLS and login on one endpoint, once connected."""

    allow_cleartext_password: bool = False
    """Whether the password may be sent in the clear beyond this machine without TLS, if the server asks for that.
    Never by default: one who poses as the server would get it."""

    reveal_errors: bool = False
    """Whether clients are told the address and the error text of the upstream. They are in the log in any case."""

    send_proxy_protocol: Literal["v1", "v2"] | None = None
    """Version of the PROXY protocol header sent first, to tell the upstream the client's address. None by default:
    a server that does not expect it breaks."""

    keepalive: Keepalive = Keepalive()
    """TCP keepalive towards the service."""

    protocol: str | None = None
    """Protocol whose options are given here; None leaves it to the listeners."""

    options: Model | None = None
    """That protocol's settings of an upstream."""

    def redacted(self, *, wary: bool = False) -> dict[str, Any]:
        shown = super().redacted(wary=wary)
        del shown["endpoints" if self.discovery is not None else "discovery"]
        return shown

    @model_validator(mode="after")
    def _somewhere(self) -> Self:
        if not self.endpoints and self.discovery is None:
            raise ValueError("say where this upstream is: by endpoints, or by discovery")
        if self.endpoints and self.discovery is not None:
            raise ValueError("where this upstream is comes from endpoints or from discovery: keep one")
        return self


class Limits(Model):
    """What one listener takes. A limit of time that is left out does not exist."""

    connections: Count = 1000
    """Clients at a time; one more is refused in its own protocol."""

    login_timeout: Timeout = 10.0
    """Longest time from a client's connect to its proven identity, TLS included."""

    idle_timeout: Timeout | None = None
    """Longest silence outside a transaction. Unlimited by default: drivers' pools hold idle connections on purpose."""

    idle_in_transaction_timeout: Timeout | None = None
    """Longest silence of a client inside a transaction, where it may hold locks."""

    session_timeout: Timeout | None = None
    """Longest life of a session; it ends at its next transaction boundary."""


class ProxyProtocol(Model):
    """Take the client's address from a PROXY protocol header, version 1 or 2."""

    trusted: Annotated[tuple[IPv4Network | IPv6Network, ...], Field(min_length=1), BeforeValidator(one_or_list)]
    """Networks whose word is believed; they must send the header, and nobody else may."""


class AccessSettings(Keyed):
    """Who may come in."""

    table: ClassVar[registry.Table] = "authenticators"
    kind_field: ClassVar[str] = "kind"
    noun: ClassVar[str] = "way of access"
    later: ClassVar[frozenset[str]] = later("authenticators")

    kind: str
    """How clients prove who they are: a name of the registry's table of authenticators."""

    options: Model
    """Its own settings."""

    allow_remote_trust: bool = False
    """Whether `trust` may stand on an address that other machines reach: everyone there is let in as anyone."""


@cache
def _trust() -> AccessSettings:
    return AccessSettings.model_validate({"trust": {}})


class ListenerSettings(Keyed):
    """An address where clients come in."""

    table: ClassVar[registry.Table] = "protocols"
    kind_field: ClassVar[str] = "protocol"
    options_attribute: ClassVar[str] = "ListenerOptions"
    noun: ClassVar[str] = "protocol"
    later: ClassVar[frozenset[str]] = later("protocols")

    listen: Addresses
    """Address or addresses."""

    protocol: str
    """What is spoken: a name of the registry's table of protocols."""

    options: Model
    """The protocol's settings of a listener, `upstream` among them."""

    access: AccessSettings = Field(default_factory=_trust)
    """Who may come in. Everyone (`trust`) on loopback and unix sockets; elsewhere it must be named."""

    tls: ServerTls | None = None
    """TLS towards clients."""

    limits: Limits = Limits()
    """How many, and for how long."""

    proxy_protocol: ProxyProtocol | None = None
    """Expect a PROXY protocol header from a load balancer in front of us."""

    unix: UnixSocket = UnixSocket()
    """Mode and owner of unix sockets among the addresses."""

    keepalive: Keepalive | None = Keepalive()
    """TCP keepalive towards clients; null turns it off."""


Vaults = Annotated[dict[Name, VaultSettings], BeforeValidator(_none_means_empty)]
Credentials = Annotated[dict[Name, CredentialSettings], BeforeValidator(_none_means_empty)]
Upstreams = Annotated[dict[Name, UpstreamSettings], BeforeValidator(_none_means_empty)]
Listeners = Annotated[dict[Name, ListenerSettings], Field(min_length=1), BeforeValidator(_none_means_empty)]


class Config(Model):
    """Everything the daemon is told."""

    admin: Admin = Admin()
    """The operator's door."""

    log: Log = Log()
    """What it says of its work."""

    workers: Annotated[Count, AfterValidator(_workers), Field(json_schema_extra=RESTART)] = 1
    """Processes. Only one in this version."""

    drain: DrainSettings = DrainSettings()
    """How the daemon leaves."""

    vaults: Vaults = Field(default_factory=dict)
    """Vaults that credentials come from, by name."""

    credentials: Credentials = Field(default_factory=dict)
    """Secrets by name."""

    upstreams: Upstreams = Field(default_factory=dict)
    """Services behind us by name."""

    listeners: Listeners
    """Addresses where clients come in, by name."""
