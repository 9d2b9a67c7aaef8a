"""pgbench as a load that must not see a single failure."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

from tests.e2e.where import Where
from tests.support.processes import Child

CLIENTS = 20


class Bench:
    """pgbench with 20 clients, for some seconds; a context manager.

    Args:
        program: of any version.
        reconnect: a new connection for each transaction.
        script: what one transaction is.
    """

    def __init__(
        self,
        program: Path,
        where: Where,
        home: Path,
        *,
        seconds: int,
        reconnect: bool = False,
        script: str = "SELECT 1;\n",
        clients: int = CLIENTS,
    ) -> None:
        (home / "script.sql").write_text(script)
        # A thread for each client: connecting blocks a thread, and all are to connect at once.
        words = ["-n", "-c", str(clients), "-j", str(clients), "-T", str(seconds), "-f", str(home / "script.sql")]
        words += ["-C"] if reconnect else []
        self._child = Child([program, *words, where.conninfo()], directory=home, env=where.env(home), name="pgbench")
        self._seconds = seconds

    def during(self, act: Callable[[int], None], *, every: float) -> int:
        """Do something at intervals, counting from 1, for as long as pgbench runs; returns how often."""
        count = 0
        due = time.monotonic() + every
        while self._child.exit_code is None:
            if time.monotonic() < due:
                time.sleep(0.02)
                continue
            count += 1
            act(count)
            due = max(due + every, time.monotonic())
        return count

    def enough(self) -> None:
        """End before the time is over, as at its end: this signal is its own alarm clock's."""
        if self._child.exit_code is None:
            self._child.signal(signal.SIGALRM)

    def finished(self) -> int:
        """Transactions done. Fails the test if one failed, or a client was lost."""
        code = self._child.wait(self._seconds + 30)
        said, complaint = self._child.out, self._child.err
        assert "failed" not in complaint.replace("number of failed", ""), complaint[-3000:]
        assert code == 0, complaint[-3000:]
        failed = re.search(r"number of failed transactions: (\d+)", said)
        done = re.search(r"number of transactions actually processed: (\d+)", said)
        assert failed is not None
        assert done is not None
        assert failed[1] == "0", said
        return int(done[1])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._child.stop()
