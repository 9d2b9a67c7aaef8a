"""What the daemon is doing, as plain values, and as JSON. `page.py` makes the same values a page for a person.

Times are wall seconds since 1970, durations and ages seconds. Nothing here may hold a secret.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ambassador.telemetry.lines import timestamp
from ambassador.telemetry.redaction import reveal_nothing

MAX_SESSIONS = 200
"""Most sessions a snapshot lists; their total is told beside."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReloadStatus:
    """The last time a configuration was read: whether it was applied, when, and what was said."""

    applied: bool
    at: float
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonStatus:
    """The process.

    `state` is starting, ready, leaving, draining or stopped; `scan` compiled or pure; `host` the machine's name, in
    Kubernetes the pod's.
    """

    version: str
    python: str
    scan: str
    pid: int
    state: str
    started: float
    uptime: float
    host: str | None = None
    log_level: str = "info"
    config_file: str | None = None
    last_reload: ReloadStatus | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerStatus:
    """A listener. `total` counts the sessions that ended, `results` the same by reason word; `limit` None is none."""

    name: str
    addresses: tuple[str, ...]
    protocol: str
    access: str
    tls: bool
    active: int
    limit: int | None
    total: int
    bytes_in: int
    bytes_out: int
    upstream: str | None = None
    results: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointStatus:
    """One address of an upstream.

    `state` is its health's word, `last_error` a reason word, `role` what discovery says it is there for.
    """

    address: str
    healthy: bool
    state: str
    connections: int
    last_error: str | None = None
    role: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamStatus:
    """A named service.

    `tls` is its mode's word, or `off`; `discovery` says who knows its endpoints, if they are not written down, and
    `discovery_error` why nobody can be asked for them just now.
    """

    name: str
    endpoints: tuple[EndpointStatus, ...]
    tls: str
    credential: str | None = None
    discovery: str | None = None
    discovery_error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialStatus:
    """A credential, never its value.

    `version` is None while there is no value; `age` is that of the current value; `source` says where it comes
    from; `next_renewal` is when it will be renewed or replaced; `lease` says whether it was made for us and is revoked
    after use; `connections` counts the open upstream connections by the version they logged in with; `warnings` are
    what its operator should know (a mount that never changes).
    """

    name: str
    source: str
    version: int | None
    age: float | None = None
    expires: float | None = None
    lease: bool = False
    next_renewal: float | None = None
    last_success: float | None = None
    last_error: str | None = None
    connections: Mapping[int, int] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class VaultStatus:
    """A Vault that credentials come from.

    `login` says where and as whom we log in, `token_expires` is when our token ends unless it is renewed, and `error`
    why the last request failed, None when it did not.
    """

    name: str
    login: str
    logged_in: bool
    token_expires: float | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionStatus:
    """A client's connection. `user` and `database` are the client's own words, None before it said them."""

    id: str
    listener: str
    client: str
    phase: str
    age: float
    idle: float
    bytes_in: int
    bytes_out: int
    user: str | None = None
    database: str | None = None
    endpoint: str | None = None
    credential_version: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateStatus:
    """A certificate in use; `error` says why a newer one was refused."""

    where: str
    not_after: float
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The daemon at one moment (`taken`). `held` names what keeps it from being ready."""

    taken: float
    daemon: DaemonStatus
    held: tuple[str, ...] = ()
    listeners: tuple[ListenerStatus, ...] = ()
    upstreams: tuple[UpstreamStatus, ...] = ()
    vaults: tuple[VaultStatus, ...] = ()
    credentials: tuple[CredentialStatus, ...] = ()
    sessions: tuple[SessionStatus, ...] = ()
    sessions_total: int = 0
    certificates: tuple[CertificateStatus, ...] = ()


def to_json(snapshot: Snapshot) -> dict[str, Any]:
    """A snapshot as what JSON knows.

    Moments are RFC 3339 texts, durations end in `_seconds`. Every string can be encoded as UTF-8, and errors are
    cleaned of known secrets once more.
    """
    return {
        "time": timestamp(snapshot.taken),
        "daemon": _daemon(snapshot.daemon),
        "ready": not snapshot.held,
        "held": [clean(name) for name in snapshot.held],
        "listeners": [_listener(one) for one in snapshot.listeners],
        "upstreams": [_upstream(one) for one in snapshot.upstreams],
        "vaults": [_vault(one) for one in snapshot.vaults],
        "credentials": [_credential(one) for one in snapshot.credentials],
        "sessions": [_session(one) for one in snapshot.sessions[:MAX_SESSIONS]],
        "sessions_total": max(snapshot.sessions_total, len(snapshot.sessions)),
        "certificates": [
            {"where": one.where, "not_after": moment(one.not_after), "error": safe(one.error)}
            for one in snapshot.certificates
        ],
    }


def clean(text: str) -> str:
    """A text that UTF-8 can carry: what a client sent may hold halves of surrogate pairs."""
    return text.encode("utf-8", "backslashreplace").decode()


def safe(text: str | None) -> str | None:
    """Free text, made by a failure or a source, without any known secret."""
    return None if text is None else reveal_nothing(clean(text))


def moment(wall: float | None) -> str | None:
    """Wall seconds as RFC 3339, UTC; None stays None, and so does what no calendar holds."""
    if wall is None:
        return None
    try:
        return timestamp(wall)
    except (OverflowError, ValueError, OSError):
        return None


def _seconds(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def _daemon(one: DaemonStatus) -> dict[str, Any]:
    reload = one.last_reload
    return {
        "version": one.version,
        "python": one.python,
        "scan": one.scan,
        "pid": one.pid,
        "host": one.host,
        "state": one.state,
        "started": moment(one.started),
        "uptime_seconds": _seconds(one.uptime),
        "log_level": one.log_level,
        "config_file": None if one.config_file is None else clean(one.config_file),
        "last_reload": reload
        and {"applied": reload.applied, "time": moment(reload.at), "message": safe(reload.message)},
    }


def _listener(one: ListenerStatus) -> dict[str, Any]:
    return {
        "name": one.name,
        "addresses": list(one.addresses),
        "protocol": one.protocol,
        "upstream": one.upstream,
        "access": one.access,
        "tls": one.tls,
        "active": one.active,
        "limit": one.limit,
        "total": one.total,
        "results": {str(result): count for result, count in one.results.items()},
        "bytes_in": one.bytes_in,
        "bytes_out": one.bytes_out,
    }


def _upstream(one: UpstreamStatus) -> dict[str, Any]:
    endpoints = [
        {
            "address": endpoint.address,
            "role": endpoint.role,
            "healthy": endpoint.healthy,
            "state": endpoint.state,
            "connections": endpoint.connections,
            "last_error": safe(endpoint.last_error),
        }
        for endpoint in one.endpoints
    ]
    return {
        "name": one.name,
        "credential": one.credential,
        "tls": one.tls,
        "discovery": one.discovery,
        "discovery_error": safe(one.discovery_error),
        "endpoints": endpoints,
    }


def _credential(one: CredentialStatus) -> dict[str, Any]:
    return {
        "name": one.name,
        "source": safe(one.source),
        "version": one.version,
        "age_seconds": _seconds(one.age),
        "expires": moment(one.expires),
        "lease": one.lease,
        "next_renewal": moment(one.next_renewal),
        "last_success": moment(one.last_success),
        "last_error": safe(one.last_error),
        "connections": {str(version): count for version, count in one.connections.items()},
        "warnings": [safe(warning) for warning in one.warnings],
    }


def _vault(one: VaultStatus) -> dict[str, Any]:
    return {
        "name": one.name,
        "login": safe(one.login),
        "logged_in": one.logged_in,
        "token_expires": moment(one.token_expires),
        "last_error": safe(one.error),
    }


def _session(one: SessionStatus) -> dict[str, Any]:
    return {
        "id": one.id,
        "listener": one.listener,
        "client": one.client,
        "user": None if one.user is None else clean(one.user),
        "database": None if one.database is None else clean(one.database),
        "phase": one.phase,
        "endpoint": one.endpoint,
        "credential_version": one.credential_version,
        "age_seconds": _seconds(one.age),
        "idle_seconds": _seconds(one.idle),
        "bytes_in": one.bytes_in,
        "bytes_out": one.bytes_out,
    }
