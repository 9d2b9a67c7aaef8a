"""One configuration at work: its upstreams, its listeners' plans, its credentials' keepers, its TLS contexts.

`build` makes a new world beside the old one and touches nothing that runs; it may fail, and then the old world never
noticed. What both configurations agree on is carried over as the same object.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from ambassador import registry
from ambassador.access.base import Authenticator
from ambassador.config.schema import (
    ClientTls,
    Config,
    CredentialSettings,
    ListenerSettings,
    ServerTls,
    UpstreamSettings,
    VaultSettings,
)
from ambassador.credentials.credential import Credential
from ambassador.credentials.leases import Leases
from ambassador.credentials.rotation import Keeper, TrialResult
from ambassador.credentials.sources.base import Source
from ambassador.credentials.store import Store
from ambassador.discovery.base import Discovery
from ambassador.discovery.static import Static, StaticOptions
from ambassador.kit.clock import Clock
from ambassador.kit.drain import Drain
from ambassador.net.tls import ClientContexts, Contexts, ServerContexts
from ambassador.protocols.base import Protocol
from ambassador.proxy.routes import Routes
from ambassador.proxy.session import Plan
from ambassador.runtime.certificates import Certificates
from ambassador.telemetry.metrics import Metrics
from ambassador.upstreams.upstream import Upstream

if TYPE_CHECKING:
    from ambassador.credentials.vault.vault import Vault


@dataclass(slots=True)
class Commons:
    """What all worlds of one daemon share."""

    clock: Clock
    metrics: Metrics
    store: Store
    drains: dict[str, Drain] = field(default_factory=dict)
    """By listener: sessions belong to it through all reloads, until it is taken out."""
    shared: dict[str, Any] = field(default_factory=dict)
    """By protocol: see `Protocol.make_shared`."""
    upstreams: dict[str, WeakSet[Upstream]] = field(default_factory=dict)
    """By name: all that were ever in force and are still used, by clients who outlived a reload."""
    current: World | None = None
    """The world in force."""
    leases: Leases = field(init=False)

    def __post_init__(self) -> None:
        self.leases = Leases(self.store, self.clock, self.metrics.credential)

    def shared_of(self, protocol: str) -> Any:
        """What all listeners of a protocol have in common, made when first asked for."""
        if protocol not in self.shared:
            self.shared[protocol] = protocol_class(protocol).make_shared()
        return self.shared[protocol]


@dataclass(slots=True)
class World:
    """The running counterpart of one `Config`."""

    config: Config
    upstreams: dict[str, Upstream] = field(default_factory=dict)
    plans: dict[str, Plan] = field(default_factory=dict)
    keepers: dict[str, Keeper] = field(default_factory=dict)
    vaults: dict[str, Vault] = field(default_factory=dict)
    discoveries: dict[str, Discovery] = field(default_factory=dict)
    """By upstream: of those whose endpoints are not written in the configuration."""
    certificates: Certificates | None = None

    def needed_credentials(self) -> set[str]:
        """Names of the credentials without which some listener cannot serve."""
        names: set[str] = set()
        for plan in self.plans.values():
            settings = plan.routes.upstream.settings
            names.update(plan.access.credentials())
            names.update(filter(None, (settings.credential, _shown(settings.tls), _shown(plan.settings.tls))))
        for discovery in self.discoveries.values():
            names.update(discovery.credentials())
        return names


def build(commons: Commons, config: Config, before: World | None = None) -> World:
    """The world of `config`; objects of `before` whose settings did not change are carried over.

    Raises:
        ConfigError: a certificate cannot be used.
    """
    world = World(config)
    for name, listener in config.listeners.items():
        upstream = upstream_of(listener)
        if upstream not in world.upstreams:
            world.upstreams[upstream] = _upstream(commons, world, upstream, listener.protocol, before)
        world.plans[name] = _plan(commons, name, listener, world.upstreams[upstream], before)
    for name, vault in config.vaults.items():
        old = None if before is None else before.vaults.get(name)
        kept = old if old is not None and old.settings == vault else None
        world.vaults[name] = kept or make_vault(name, vault, commons.metrics, commons.clock)
        if old is not None and kept is None:
            world.vaults[name].inherit(old)
    for name, credential in config.credentials.items():
        world.keepers[name] = _keeper(commons, name, credential, world, before)
    world.certificates = _certificates(commons, world)
    return world


def protocol_class(name: str) -> type[Protocol]:
    """The protocol of this name."""
    found: type[Protocol] = registry.resolve("protocols", name)
    return found


def upstream_of(listener: ListenerSettings) -> str:
    """The name of the upstream a listener leads to; every protocol's options have one."""
    name: str = getattr(listener.options, "upstream")  # noqa: B009 - the base class of options has no such field
    return name


def resolved(settings: UpstreamSettings, protocol: str) -> UpstreamSettings:
    """An upstream's settings with the options of the protocol spoken to it, its defaults where none are given."""
    if settings.protocol is not None:
        return settings
    return settings.model_copy(update={"protocol": protocol, "options": protocol_class(protocol).UpstreamOptions()})


def client_contexts(settings: UpstreamSettings) -> ClientContexts | None:
    """TLS contexts for an upstream whose protocol is resolved; None when TLS is off.

    Raises:
        ConfigError: a certificate cannot be used.
    """
    if settings.tls is None or settings.tls.mode == "disable" or settings.protocol is None:
        return None
    return ClientContexts(settings.tls, alpn=protocol_class(settings.protocol).alpn)


def make_source(name: str, settings: CredentialSettings, vaults: Mapping[str, Vault]) -> Source:
    """The source that a credential's settings name."""
    source: Source = registry.resolve("sources", settings.source)(name, settings.options, vaults)
    return source


def make_vault(name: str, settings: VaultSettings, metrics: Metrics, clock: Clock) -> Vault:
    """A Vault of the configuration.

    Raises:
        ConfigError: a certificate cannot be used.
    """
    # Its libraries take a tenth of a second and 18 MB, which those who have no Vault need not pay.
    from ambassador.credentials.vault.vault import Vault  # noqa: PLC0415 - see above

    contexts = None if settings.is_cleartext else ClientContexts(settings.tls)
    return Vault(name, settings, contexts, metrics=metrics.vault(name), clock=clock)


def make_discovery(name: str, settings: UpstreamSettings, store: Store, clock: Clock) -> Discovery:
    """What finds the endpoints of an upstream.

    Raises:
        ConfigError: a certificate cannot be used.
    """
    if settings.discovery is None:
        return Static(name, StaticOptions(endpoints=settings.endpoints), store, clock)
    kind: type[Discovery] = registry.resolve("discoveries", settings.discovery.kind)
    return kind(name, settings.discovery.options, store, clock)


def _upstream(commons: Commons, world: World, name: str, protocol: str, before: World | None) -> Upstream:
    settings = resolved(world.config.upstreams[name], protocol)
    old = before.upstreams.get(name) if before is not None else None
    discovery = _discovery(commons, name, settings, before)
    if settings.discovery is not None:
        world.discoveries[name] = discovery
    if old is not None and old.settings == settings:
        return old
    tls = old.tls if old is not None and old.settings.tls == settings.tls else client_contexts(settings)
    credential = settings.credential
    return Upstream(
        name,
        settings,
        # Until a discovery has found something, what served so far serves on.
        endpoints=discovery.known or (() if old is None else old.endpoints),
        tls=tls,
        store=commons.store,
        metrics=commons.metrics.upstream(name),
        credential_metrics=None if credential is None else commons.metrics.credential(credential),
        clock=commons.clock,
    )


def _discovery(commons: Commons, name: str, settings: UpstreamSettings, before: World | None) -> Discovery:
    old = None if before is None else before.discoveries.get(name)
    if before is not None and old is not None and before.upstreams[name].settings.discovery == settings.discovery:
        return old
    return make_discovery(name, settings, commons.store, commons.clock)


def _plan(commons: Commons, name: str, settings: ListenerSettings, upstream: Upstream, before: World | None) -> Plan:
    old = before.plans.get(name) if before is not None else None
    if old is not None and old.settings == settings and old.routes.upstream is upstream:
        return old
    protocol = protocol_class(settings.protocol)
    return Plan(
        name=name,
        settings=settings,
        protocol=protocol(settings.options, commons.shared_of(settings.protocol)),
        access=_access(commons, settings, old),
        routes=Routes(upstream),
        tls=_server_contexts(settings, protocol, old),
        metrics=commons.metrics.listener(name),
        requests=tuple(commons.metrics.requests(name, upstream.name, kind) for kind in protocol.request_kinds),
        drain=commons.drains.setdefault(name, Drain()),
    )


def _access(commons: Commons, settings: ListenerSettings, old: Plan | None) -> Authenticator:
    if old is not None and old.settings.access == settings.access:
        return old.access
    kind: type[Authenticator] = registry.resolve("authenticators", settings.access.kind)
    return kind(settings.access.options, commons.store, commons.clock)


def _server_contexts(settings: ListenerSettings, protocol: type[Protocol], old: Plan | None) -> ServerContexts | None:
    if old is not None and old.settings.tls == settings.tls:
        return old.tls
    return None if settings.tls is None else ServerContexts(settings.tls, alpn=protocol.alpn)


def _keeper(commons: Commons, name: str, settings: CredentialSettings, world: World, before: World | None) -> Keeper:
    tried = bool(_users(name, world))
    if (
        before is not None
        and before.config.credentials.get(name) == settings
        and bool(_users(name, before)) is tried
        and _vault_of(settings, before) is _vault_of(settings, world)
    ):
        return before.keepers[name]

    async def trial(candidate: Credential) -> TrialResult:
        return await _try_everywhere(candidate, _users(name, commons.current or world))

    return Keeper(
        name,
        make_source(name, settings, world.vaults),
        settings,
        store=commons.store,
        metrics=commons.metrics.credential(name),
        clock=commons.clock,
        trial=trial if tried else None,
        leases=commons.leases,
    )


def _vault_of(settings: CredentialSettings, world: World) -> Vault | None:
    return world.vaults.get(getattr(settings.options, "vault", ""))


def _users(credential: str, world: World) -> list[Upstream]:
    """The upstreams that log in with a credential."""
    return [
        upstream
        for upstream in world.upstreams.values()
        if upstream.settings.credential == credential and protocol_class(upstream.settings.protocol or "").logs_in
    ]


async def _try_everywhere(candidate: Credential, upstreams: list[Upstream]) -> TrialResult:
    """A real login at every upstream: one refusal is enough to refuse, one acceptance enough to accept."""
    results = {
        await upstream.trial(candidate, protocol_class(upstream.settings.protocol or "").try_login)
        for upstream in upstreams
    }
    return next(
        (verdict for verdict in (TrialResult.REFUSED, TrialResult.ACCEPTED) if verdict in results), TrialResult.UNKNOWN
    )


def _certificates(commons: Commons, world: World) -> Certificates:
    users: list[tuple[str, Contexts | None, str | None]] = [
        *((f"listener {name}", one.tls, _shown(one.settings.tls)) for name, one in world.plans.items()),
        *((f"upstream {name}", one.tls, _shown(one.settings.tls)) for name, one in world.upstreams.items()),
        *((f"discovery {name}", one.tls, one.issuer) for name, one in world.discoveries.items()),
        *((f"vault {name}", one.contexts, None) for name, one in world.vaults.items()),
    ]
    return Certificates(
        {where: contexts for where, contexts, _ in users if contexts is not None},
        {where: credential for where, contexts, credential in users if contexts is not None and credential is not None},
        store=commons.store,
        metrics=commons.metrics,
        clock=commons.clock,
    )


def _shown(tls: ServerTls | ClientTls | None) -> str | None:
    """The credential whose certificate is shown."""
    return None if tls is None else tls.credential
