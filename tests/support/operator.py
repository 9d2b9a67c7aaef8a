"""The operator's side of the admin room: a daemon that only takes notes, and a status with something in every place."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from ambassador.admin.daemon import ReloadResult
from ambassador.admin.status import (
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
from ambassador.telemetry.logs import Level
from ambassador.telemetry.metrics import Metrics

NOW = 1_790_000_000.0


def daemon_status(**changes: object) -> DaemonStatus:
    """A daemon that has been up for an hour."""
    facts: dict[str, object] = {
        "version": "1.2.3",
        "python": "3.11.7",
        "scan": "compiled",
        "pid": 42,
        "state": "ready",
        "started": NOW - 3600,
        "uptime": 3600.0,
        "host": "orders-0",
        "config_file": "/etc/ambassador/ambassador.yaml",
        "last_reload": ReloadStatus(applied=True, at=NOW - 60, message="applied"),
    }
    return DaemonStatus(**(facts | changes))  # type: ignore[arg-type]  # a test names fields as the class does


def session_status(number: int = 1, *, user: str | None = "app", database: str | None = "orders") -> SessionStatus:
    """A session in the middle of its life."""
    return SessionStatus(
        id=f"run-{number:x}",
        listener="orders",
        client=f"10.0.0.1:{number}",
        user=user,
        database=database,
        phase="relay",
        endpoint="db.example.com:5432",
        credential_version=7,
        age=12.5,
        idle=0.25,
        bytes_in=100,
        bytes_out=200,
    )


def full_snapshot() -> Snapshot:
    """One of everything, in good order."""
    return Snapshot(
        taken=NOW,
        daemon=daemon_status(),
        listeners=(
            ListenerStatus(
                name="orders",
                addresses=("127.0.0.1:5432", "unix:/run/orders"),
                protocol="postgres",
                access="trust",
                tls=True,
                active=1,
                limit=500,
                total=9,
                bytes_in=1000,
                bytes_out=2000,
                upstream="orders-main",
                results={"client_closed": 8, "idle_timeout": 1},
            ),
        ),
        upstreams=(
            UpstreamStatus(
                name="orders-main",
                tls="verify-full",
                credential="orders-db",
                endpoints=(
                    EndpointStatus(address="db1:5432", healthy=True, state="healthy", connections=1),
                    EndpointStatus(
                        address="db2:5432", healthy=False, state="ejected", connections=0, last_error="connect_timeout"
                    ),
                ),
            ),
        ),
        vaults=(
            VaultStatus(
                name="main",
                login="https://vault.example.com:8200, kubernetes role orders",
                logged_in=True,
                token_expires=NOW + 1800,
                error="vault 'main', to read secret/app: gave no answer in time",
            ),
        ),
        credentials=(
            CredentialStatus(
                name="orders-db",
                source="file /etc/secrets/orders",
                version=7,
                age=90.0,
                expires=NOW + 7200,
                lease=True,
                next_renewal=NOW + 3600,
                last_success=NOW - 5,
                connections={7: 1, 6: 2},
            ),
        ),
        sessions=(session_status(),),
        sessions_total=1,
        certificates=(CertificateStatus(where="listener orders", not_after=NOW + 30 * 86400),),
    )


@dataclass
class NotedDaemon:
    """Fulfils `admin.daemon.Daemon` and notes what it was asked.

    Args:
        shown: what `snapshot` gives.
        missing: what `held` gives.
        starting: what `started` gives.
        result: how a reload ends.
        reloading: set when a reload has begun.
        go_on: a reload waits for it.
    """

    shown: Snapshot = field(default_factory=full_snapshot)
    missing: tuple[str, ...] = ()
    starting: tuple[str, ...] = ()
    result: ReloadResult = field(default_factory=lambda: ReloadResult(applied=True, message="applied"))
    metrics: Metrics = field(default_factory=Metrics)
    asked: list[str] = field(default_factory=list)
    reloading: asyncio.Event = field(default_factory=asyncio.Event)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)
    fault: Exception | None = None

    def __post_init__(self) -> None:
        self.go_on.set()

    def snapshot(self) -> Snapshot:
        """What is shown; raises `fault` if there is one."""
        if self.fault is not None:
            raise self.fault
        return self.shown

    def held(self) -> tuple[str, ...]:
        """What is missing."""
        return self.missing

    def started(self) -> tuple[str, ...]:
        """What start-up waits for."""
        return self.starting

    async def reload(self) -> ReloadResult:
        """Note it, wait for `go_on`, and answer."""
        self.asked.append("reload")
        self.reloading.set()
        await self.go_on.wait()
        return self.result

    def drain(self) -> None:
        """Note it."""
        self.asked.append("drain")

    def quit(self) -> None:
        """Note it."""
        self.asked.append("quit")

    def set_log_level(self, level: Level) -> None:
        """Note it."""
        self.asked.append(f"loglevel {level}")
