"""What the admin server asks of the daemon; `runtime` fulfils it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from ambassador.admin.status import Snapshot
from ambassador.telemetry.logs import Level
from ambassador.telemetry.metrics import Metrics


@dataclass(frozen=True, slots=True)
class ReloadResult:
    """How a reload ended.

    Args:
        applied: whether the new configuration is in force; if not, nothing changed.
        message: one sentence for a person.
        faults: everything that is wrong with the file, as `file:line: path: text`.
        restart_needed: settings whose change takes effect only after a restart.
    """

    applied: bool
    message: str
    faults: tuple[str, ...] = ()
    restart_needed: tuple[str, ...] = ()


class Daemon(Protocol):
    """The running daemon, as far as an operator may see and move it. No method but `reload` waits."""

    @property
    def metrics(self) -> Metrics:
        """Its counts."""

    def snapshot(self) -> Snapshot:
        """What it is doing now."""

    def held(self) -> tuple[str, ...]:
        """Names of what keeps it from being ready: latches still held, and `draining` once it leaves."""

    def started(self) -> tuple[str, ...]:
        """Names of what start-up still waits for; empty for good once it was empty."""

    async def reload(self) -> ReloadResult:
        """Read the configuration again and apply it, or change nothing."""

    def drain(self) -> None:
        """Begin to leave: as SIGTERM does."""

    def quit(self) -> None:
        """End the daemon, for a Job whose work is done."""

    def set_log_level(self, level: Level) -> None:
        """Write log lines of this level and above."""
