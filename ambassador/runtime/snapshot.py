"""The daemon at one moment, put together from its parts for the admin server. Reads; changes nothing."""

from __future__ import annotations

import os
import platform
from heapq import nsmallest
from typing import TYPE_CHECKING

from ambassador import __version__
from ambassador.admin.status import (
    MAX_SESSIONS,
    CertificateStatus,
    CredentialStatus,
    DaemonStatus,
    EndpointStatus,
    ListenerStatus,
    ReloadStatus,
    SessionStatus,
    Snapshot,
    UpstreamStatus,
    VaultStatus,
)
from ambassador.proxy.listener import Listener
from ambassador.proxy.session import Session
from ambassador.runtime.world import World
from ambassador.telemetry import logs
from ambassador.telemetry.metrics import Metrics
from ambassador.upstreams.upstream import Upstream
from ambassador.wire.scan import SCAN

if TYPE_CHECKING:
    from ambassador.runtime.daemon import Daemon


def take(daemon: Daemon) -> Snapshot:
    """Everything the status shows."""
    world, metrics, now = daemon.world, daemon.metrics, daemon.clock.now()
    sessions = [session for listener in daemon.running.everyone for session in listener.sessions]
    return Snapshot(
        taken=daemon.clock.wall(),
        daemon=_daemon(daemon, now),
        held=daemon.held(),
        listeners=tuple(_listener(one, metrics) for one in daemon.running.listeners.values()),
        upstreams=tuple(_upstream(one, metrics, world) for one in world.upstreams.values()),
        vaults=tuple(_vaults(world, metrics)),
        credentials=tuple(_credentials(daemon, metrics)),
        sessions=tuple(_session(one, now) for one in nsmallest(MAX_SESSIONS, sessions, key=lambda one: one.started)),
        sessions_total=len(sessions),
        certificates=tuple(_certificates(world)),
    )


def _daemon(daemon: Daemon, now: float) -> DaemonStatus:
    reload = None
    if daemon.last_reload is not None:
        result, at = daemon.last_reload
        reload = ReloadStatus(applied=result.applied, at=at, message=" | ".join((result.message, *result.faults)))
    uptime = now - daemon.started_at
    return DaemonStatus(
        version=__version__,
        python=platform.python_version(),
        scan=SCAN,
        pid=os.getpid(),
        host=platform.node(),
        state=daemon.state,
        started=daemon.clock.wall() - uptime,
        uptime=uptime,
        log_level=logs.level(),
        config_file=None if daemon.file is None else str(daemon.file),
        last_reload=reload,
    )


def _listener(listener: Listener, metrics: Metrics) -> ListenerStatus:
    plan, counts = listener.plan, metrics.listener(listener.plan.name)
    return ListenerStatus(
        name=plan.name,
        addresses=tuple(str(address) for address in listener.addresses),
        protocol=plan.settings.protocol,
        access=plan.settings.access.kind,
        tls=plan.tls is not None,
        active=len(listener.sessions),
        limit=plan.settings.limits.connections,
        total=sum(counts.results.values()),
        bytes_in=counts.bytes_in,
        bytes_out=counts.bytes_out,
        upstream=plan.routes.upstream.name,
        results=dict(counts.results),
    )


def _upstream(upstream: Upstream, metrics: Metrics, world: World) -> UpstreamStatus:
    counts = metrics.upstream(upstream.name)
    endpoints = tuple(
        EndpointStatus(
            address=str(endpoint),
            healthy=counts.endpoint(str(endpoint)).healthy,
            state=health.standing,
            connections=sum(counts.endpoint(str(endpoint)).states.values()),
            last_error=health.last_error,
            role=endpoint.role,
        )
        for endpoint, health in upstream.health.items()
    )
    tls = upstream.settings.tls
    mode = "off" if tls is None or upstream.tls is None else tls.mode
    settings, discovery = upstream.settings, world.discoveries.get(upstream.name)
    return UpstreamStatus(
        name=upstream.name,
        endpoints=endpoints,
        tls=mode,
        credential=settings.credential,
        discovery=None if settings.discovery is None else settings.discovery.kind,
        discovery_error=(discovery.trouble if discovery is not None else "") or None,
    )


def _credentials(daemon: Daemon, metrics: Metrics) -> list[CredentialStatus]:
    return [
        CredentialStatus(
            name=one.name,
            source=one.source,
            version=one.version or None,
            age=one.age,
            expires=one.expires,
            lease=daemon.commons.leases.current(one.name) is not None,
            next_renewal=_next_renewal(daemon, one.name),
            last_success=metrics.credential(one.name).last_success,
            last_error=one.error,
            warnings=one.warnings,
            connections=dict(metrics.credential(one.name).connections),
        )
        for one in daemon.commons.store.snapshot()
    ]


def _next_renewal(daemon: Daemon, name: str) -> float | None:
    """When a credential's keeper looks at its source next, unless it is told to before; wall seconds."""
    keeper = daemon.world.keepers.get(name)
    seconds = None if keeper is None else keeper.next_look
    return None if seconds is None else daemon.clock.wall() + seconds


def _vaults(world: World, metrics: Metrics) -> list[VaultStatus]:
    return [
        VaultStatus(
            name=name,
            login=vault.describe(),
            logged_in=vault.logged_in,
            token_expires=metrics.vault(name).token_expires,
            error=vault.trouble or (None if vault.token is None else vault.token.trouble),
        )
        for name, vault in world.vaults.items()
    ]


def _session(session: Session, now: float) -> SessionStatus:
    link, connection = session.link, session.connection
    return SessionStatus(
        id=session.id,
        listener=session.plan.name,
        client=session.client.address,
        phase=session.phase,
        age=now - session.started,
        idle=session.idle(now),
        bytes_in=0 if link is None else link.bytes_in,
        bytes_out=0 if link is None else link.bytes_out,
        user=session.hello.user,
        database=session.hello.database,
        endpoint=None if connection is None else str(connection.endpoint),
        credential_version=None if connection is None else connection.credential_version,
    )


def _certificates(world: World) -> list[CertificateStatus]:
    if world.certificates is None:
        return []
    return [
        CertificateStatus(where=where, not_after=contexts.not_after, error=world.certificates.errors.get(where))
        for where, contexts in world.certificates.contexts.items()
        if contexts.not_after is not None
    ]
