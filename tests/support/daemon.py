"""The installed `ambassador run` as a child process, watched from outside as an operator would."""

from __future__ import annotations

import http.client
import json
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from prometheus_client.parser import text_string_to_metric_families

from ambassador.demo.servers import free_port
from tests.support import secrets as canaries
from tests.support.processes import Child, exposed, wait_until

COMMAND = Path(sys.executable).with_name("ambassador")

# Quick to stop, unless a test says otherwise.
QUICK_DRAIN = "drain: {delay: 0s, timeout: 5s}\n"


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


@dataclass(frozen=True)
class Answer:
    """An answer of the admin server."""

    code: int
    body: bytes
    kind: str

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode()


class Daemon:
    """One daemon with an admin address of its own; a context manager that waits until it is ready, and always ends it.

    On leaving, what it logged, shows and exposes is searched for the test's secrets.

    Args:
        config: YAML without `admin`; a short `drain` is added where it says nothing.
        env: added to a small environment.
        secrets: texts that must appear nowhere, besides the canaries of this test.
        expect: exit code it must end with.
        ready: wait until it is ready on entering.

    Attributes:
        directory: its files; short, so that unix sockets fit.
        file: its configuration.
        socket: its admin's unix socket.
        port: its admin's TCP port, on 127.0.0.1.
    """

    def __init__(
        self,
        config: str,
        *,
        env: Mapping[str, str] | None = None,
        secrets: Iterable[str | bytes] = (),
        expect: int = 0,
        ready: bool = True,
    ) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="daemon-", dir="/tmp"))
        self.file = self.directory / "ambassador.yaml"
        self.socket = self.directory / "admin.sock"
        self.port = free_port()
        self._env = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", **(env or {})}
        self._secrets = [secret if isinstance(secret, bytes) else secret.encode() for secret in secrets]
        self._expect = expect
        self._ready = ready
        self._seen: list[tuple[str, bytes]] = []
        self._child: Child | None = None
        self.rewrite(config)

    def __enter__(self) -> Self:
        try:
            self._child = Child(
                [COMMAND, "run", "-c", self.file], directory=self.directory, env=self._env, name="daemon"
            )
            if self._ready:
                self.wait_ready()
        except BaseException as error:
            self._end(error)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end(error)

    # Its life

    @property
    def child(self) -> Child:
        """The process."""
        assert self._child is not None, "the daemon has not been started"
        return self._child

    def rewrite(self, config: str) -> None:
        """Replace the configuration file in one step; the daemon is not told (but may be watching)."""
        assert "\nadmin:" not in "\n" + config, "the admin block is added here"
        admin = f"admin: {{listen: ['unix:{self.socket}', '127.0.0.1:{self.port}']}}\n"
        drain = "" if "\ndrain:" in "\n" + config else QUICK_DRAIN
        fresh = self.file.with_suffix(".new")
        fresh.write_text(admin + drain + config)
        fresh.replace(self.file)

    def wait_ready(self, timeout: float = 10.0) -> None:
        """Wait until /readyz says yes."""

        def ready() -> bool:
            assert self.child.exit_code is None, f"the daemon ended with {self.child.exit_code}"
            return self.ready

        wait_until("the daemon to be ready", ready, timeout)

    def sighup(self) -> None:
        """Ask for a reload."""
        self.child.signal(signal.SIGHUP)

    def sigterm(self) -> None:
        """Ask for a drain; a second one cuts it short."""
        self.child.signal(signal.SIGTERM)

    def wait(self, timeout: float = 10.0) -> int:
        """Wait for its end and return its exit code."""
        return self.child.wait(timeout)

    def rss(self) -> int:
        """Resident memory, bytes."""
        return self.child.rss()

    def cpu_seconds(self) -> float:
        """Processor time used so far, seconds."""
        return self.child.cpu_seconds()

    # What it says

    def log_lines(self) -> list[dict[str, Any]]:
        """Its log so far: one object a line; a line that is none fails the test."""
        text = self.child.out
        whole = text[: text.rfind("\n") + 1]
        return [json.loads(line) for line in whole.splitlines()]

    def logged(self, event: str, **fields: object) -> list[dict[str, Any]]:
        """Its log lines of one event that have these fields."""
        return [line for line in self.log_lines() if line["event"] == event and fields.items() <= line.items()]

    def log_contains(self, event: str, *, timeout: float = 5.0, **fields: object) -> dict[str, Any]:
        """Wait for a log line of one event with these fields; returns the first such line."""
        wait_until(f"log line {event!r} with {fields}", lambda: bool(self.logged(event, **fields)), timeout)
        return self.logged(event, **fields)[0]

    def ask(self, method: str, path: str, *, unix: bool = True, timeout: float = 10.0, **headers: str) -> Answer:
        """One request to the admin server, over its unix socket or its TCP port."""
        connection: http.client.HTTPConnection
        connection = (
            UnixConnection(self.socket, timeout)
            if unix
            else http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        )
        try:
            connection.request(method, path, headers=headers)
            answer = connection.getresponse()
            return Answer(answer.status, answer.read(), answer.getheader("Content-Type", ""))
        finally:
            connection.close()

    @property
    def ready(self) -> bool:
        """Whether /readyz says yes; no, too, while nobody listens."""
        try:
            return self.ask("GET", "/readyz").code == 200
        except (OSError, http.client.HTTPException):
            return False

    def metrics(self) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        """Every sample of its metrics page by name and labels."""
        text = self.ask("GET", "/metrics").text
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def metric(self, name: str, **labels: str) -> float:
        """The sum of the samples of one name that have these labels; 0 if there is none."""
        return sum(value for (key, own), value in self.metrics().items() if key == name and labels.items() <= set(own))

    def status(self) -> dict[str, Any]:
        """Its status page as data."""
        found: dict[str, Any] = json.loads(self.ask("GET", "/status", Accept="application/json").body)
        return found

    # Its end

    def look(self) -> None:
        """Remember everything it shows just now, to be searched for secrets at the end."""
        if self.child.exit_code is not None:
            return
        self._seen.append(("the command line or environment of a process", exposed(self.child.pid)))
        for path, accept in (("/metrics", "text/plain"), ("/status", "application/json"), ("/status", "text/html")):
            try:
                self._seen.append((f"{path} as {accept}", self.ask("GET", path, Accept=accept).body))
            except (OSError, http.client.HTTPException):
                return

    def _end(self, error: BaseException | None) -> None:
        try:
            if self._child is None:
                return
            self.look()
            code = self._finish()
            said = [*self._seen, ("its log", self.child.out.encode()), ("stderr", self.child.err.encode())]
            if error is not None:
                error.add_note(f"the daemon said:\n{self.child.out[-6000:]}{self.child.err[-3000:]}")
            else:
                self._judge(code, said)
        finally:
            shutil.rmtree(self.directory, ignore_errors=True)

    def _finish(self) -> int | None:
        """Drain, then cut, then kill; None means that it had to be killed."""
        for patience in (2.0, 10.0):
            self.sigterm()
            try:
                return self.child.wait(patience)
            except subprocess.TimeoutExpired:
                continue
        self.child.stop(0.1)
        return None

    def _judge(self, code: int | None, said: Iterable[tuple[str, bytes]]) -> None:
        unwanted = [*self._secrets, *(canary.encode() for canary in canaries.MINTED)]
        found = [where for where, text in said for secret in unwanted if secret in text]
        assert not found, f"a secret of this test appeared in {found}"
        assert code == self._expect, f"the daemon ended with {code}, not {self._expect}:\n{self.child.err[-3000:]}"
        assert self._expect or self.child.err == "", f"the daemon wrote to stderr:\n{self.child.err[-3000:]}"
        self.log_lines()
