"""The clients of Node.js: one script for each below `node/`, told what to do through stdin."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.drivers.base import CHANNEL, PAYLOAD, QUOTED, SLEEP, Driver, Seen
from tests.e2e.where import Where

HERE = Path(__file__).parents[1] / "node"


class Node(Driver):
    """A script, named like the package it uses.

    Args:
        options: further settings for the client.
    """

    def __init__(self, package: str, **options: object) -> None:
        super().__init__("-".join([f"node-{package}", *options]))
        self._package = package
        self._options = options

    def missing(self) -> str | None:
        """Why it cannot run here; None if it can."""
        if shutil.which("node") is None:
            return "Node.js is not installed (`make apt`)"
        if not (HERE / "node_modules" / self._package).is_dir():
            return f"the package {self._package} of Node.js is not installed: npm ci in {HERE}"
        return None

    def query(self, where: Where) -> Seen:
        return Seen(**self.call("query", where, quoted=QUOTED))

    def prepared(self, where: Where) -> list[int]:
        return list(self.call("prepared", where))

    def copy(self, where: Where, source: Path, target: Path) -> None:
        self.call("copy", where, source=str(source), target=str(target))

    def notify(self, where: Where) -> str:
        return str(self.call("notify", where, channel=CHANNEL, payload=PAYLOAD))

    def cancel(self, where: Where, asleep: Callable[[], None]) -> list[str]:
        with self._start("cancel", where, {"sleep": SLEEP}) as process:
            asleep()
            return [self._answer(process, "go\n")]

    def large(self, where: Where, size: int) -> tuple[int, int]:
        came, sent = self.call("large", where, size=size)
        return came, sent

    def pipeline(self, where: Where, count: int) -> int:
        return int(self.call("pipeline", where, count=count))

    def call(self, verb: str, where: Where, **words: object) -> Any:
        """Run one of the script's functions and return what it found."""
        with self._start(verb, where, words) as process:
            return self._answer(process)

    def _start(self, verb: str, where: Where, words: dict[str, object]) -> subprocess.Popen[str]:
        if (reason := self.missing()) is not None:
            pytest.skip(reason)
        process = subprocess.Popen(
            ["node", str(HERE / f"{self._package}.mjs"), verb],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdin is not None
        process.stdin.write(json.dumps({**where.as_json(), **words, "options": self._options}) + "\n")
        process.stdin.flush()
        return process

    def _answer(self, process: subprocess.Popen[str], words: str | None = None) -> Any:
        said, complaint = process.communicate(words, timeout=250)
        assert process.returncode == 0, f"{self.name}: {complaint}"
        return json.loads(said)
