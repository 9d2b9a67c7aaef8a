"""pgbench through a proxy, and what each transaction cost the proxy's process."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.bench.peers import Peer
from tests.bench.postgres_peers import Backend
from tests.support.processes import cpu_seconds

_DONE = re.compile(r"number of transactions actually processed: (\d+)")
_FAILED = re.compile(r"number of failed transactions: (\d+)")

CLIENTS = 16


@dataclass(frozen=True)
class Cost:
    """One run: transactions per second, and processor microseconds per transaction of the proxy (0 without one)."""

    rate: float
    microseconds: float


def pgbench(tool: Path, backend: Backend, peer: Peer | None, *, prepared: bool, seconds: int) -> Cost:
    """Run `pgbench -S` with `CLIENTS` clients; without a peer straight at the server."""
    words = [tool, "-S", "-n", "-c", str(CLIENTS), "-T", str(seconds), "-M", "prepared" if prepared else "simple"]
    words += ["-h", "127.0.0.1", "-p", str(backend.port if peer is None else peer.port), "-U", backend.user]
    env = {"PATH": os.defpath, "PGSSLMODE": "disable"}
    before = 0.0 if peer is None else cpu_seconds(peer.pid)
    done = subprocess.run(
        [*map(str, words), backend.database], env=env, capture_output=True, text=True, timeout=seconds + 60, check=False
    )
    spent = 0.0 if peer is None else cpu_seconds(peer.pid) - before
    found, failed = _DONE.search(done.stdout), _FAILED.search(done.stdout)
    if done.returncode or found is None or failed is None or int(failed[1]):
        raise RuntimeError(f"pgbench through {peer.name if peer else 'nothing'} failed:\n{done.stdout}{done.stderr}")
    transactions = int(found[1])
    return Cost(transactions / seconds, spent * 1e6 / transactions)
