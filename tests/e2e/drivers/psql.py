"""psql, of every version that is here."""

from __future__ import annotations

import re
import signal
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from ambassador.demo.distributions import Distribution
from tests.e2e.drivers.base import CHANNEL, PAYLOAD, QUOTED, SLEEP, Driver, Seen
from tests.e2e.where import Where

TOLD = re.compile(r'Asynchronous notification "\w+" with payload "(.*)" received')


class Psql(Driver):
    """Reads its statements from stdin.

    Args:
        more: further connection parameters.
    """

    def __init__(self, distribution: Distribution, **more: str) -> None:
        super().__init__("-".join([f"psql{distribution.major}", *more.values()]))
        self._program = distribution.tool("psql")
        self._more = more

    def query(self, where: Where) -> Seen:
        quoted = QUOTED.replace("\\", "\\\\").replace("'", "''")
        script = f"SELECT current_user;\n\\set words '{quoted}'\nSELECT :'words';\n"
        script += "SELECT 1 / 0;\n\\echo :LAST_ERROR_SQLSTATE\nSELECT 42;\n"
        user, echo, error, after = self.run(where, script, errors=True).splitlines()
        return Seen(user, echo, error, int(after))

    def prepared(self, where: Where) -> list[int]:
        script = "PREPARE doubled (int) AS SELECT $1 * 2;\n" + "".join(f"EXECUTE doubled ({n});\n" for n in range(5))
        return [int(line) for line in self.run(where, script).split()]

    def copy(self, where: Where, source: Path, target: Path) -> None:
        script = "CREATE TEMP TABLE copied (id int, line text);\n"
        script += f"\\copy copied FROM '{source}'\n\\copy copied TO '{target}'\n"
        self.run(where, script)

    def notify(self, where: Where) -> str:
        said = self.run(where, f"LISTEN {CHANNEL};\nNOTIFY {CHANNEL}, '{PAYLOAD}';\nSELECT 1;\n")
        found = TOLD.search(said)
        assert found is not None, said
        return found[1]

    def cancel(self, where: Where, asleep: Callable[[], None]) -> list[str]:
        with tempfile.TemporaryDirectory() as home:
            process = subprocess.Popen(
                [*self._words(where), "-v", "VERBOSITY=sqlstate", "-c", SLEEP],
                env=where.env(Path(home)),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            with process:
                asleep()
                process.send_signal(signal.SIGINT)
                _, said = process.communicate(timeout=10)
        return re.findall(r"ERROR:\s+(\w{5})", said)

    def large(self, where: Where, size: int) -> tuple[int, int]:
        # It has no other way to send much than a statement's text.
        script = f"SELECT repeat('x', {size});\nSELECT length('{'x' * size}');\n"
        came, sent = self.run(where, script).split()
        return len(came), int(sent)

    def pipeline(self, where: Where, count: int) -> int:
        script = "CREATE TEMP TABLE counted (n int);\n\\startpipeline\n"
        script += "".join(f"INSERT INTO counted VALUES ($1) \\bind {n} \\sendpipeline\n" for n in range(count))
        script += "\\endpipeline\nSELECT count(DISTINCT n) FROM counted;\n"
        return int(self.run(where, script))

    def run(self, where: Where, script: str, *, errors: bool = False) -> str:
        """Run a script and return what it printed; without `errors` the first one fails the test."""
        with tempfile.TemporaryDirectory() as home:
            done = subprocess.run(
                [*self._words(where), "-v", f"ON_ERROR_STOP={int(not errors)}", "-f", "-"],
                env=where.env(Path(home)),
                input=script,
                capture_output=True,
                text=True,
                timeout=250,
                check=False,
            )
        assert errors or done.returncode == 0, done.stderr
        return done.stdout

    def fails(self, where: Where) -> str:
        """What it says when it cannot connect."""
        with tempfile.TemporaryDirectory() as home:
            done = subprocess.run(
                [*self._words(where), "-w", "-c", "SELECT 1"],
                env=where.env(Path(home)),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=30,
                check=False,
            )
        assert done.returncode == 2, f"psql connected: {done.stdout}"
        return done.stderr

    def _words(self, where: Where) -> list[str]:
        return [str(self._program), "-XAtq", "-d", where.conninfo(**self._more)]
