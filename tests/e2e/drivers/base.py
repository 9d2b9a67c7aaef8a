"""What is asked of every client: seven things that applications do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.where import Where

SLEEP = "SELECT pg_sleep(60)"
CHANNEL = "news"
PAYLOAD = "a word to all"
QUOTED = """it's a "test" \\ ☃"""


@dataclass(frozen=True)
class Seen:
    """What a client saw.

    Args:
        user: whom the server believes it to be.
        echo: what came back of `QUOTED`, sent as a parameter.
        error: SQLSTATE of a division by zero.
        after: what came back of 42, asked on the same connection after the error.
    """

    user: str
    echo: str
    error: str
    after: int


class Driver(ABC):
    """One client library or program. What it has no way to do is left out."""

    def __init__(self, name: str) -> None:
        self.name = name

    @abstractmethod
    def query(self, where: Where) -> Seen:
        """Connect, ask, make a mistake, ask again."""

    def prepared(self, where: Where) -> list[int]:
        """Prepare doubling a number at the server, and ask for 0 to 4; all on one connection."""
        raise NotImplementedError

    def copy(self, where: Where, source: Path, target: Path) -> None:
        """COPY a file into a temporary table `copied (id int, line text)`, and out again."""
        raise NotImplementedError

    def notify(self, where: Where) -> str:
        """LISTEN on a channel, be told by another connection, and return the payload."""
        raise NotImplementedError

    def cancel(self, where: Where, asleep: Callable[[], None]) -> list[str]:
        """Cancel `SLEEP` once in every way the driver has, each time asking 42 afterwards.

        `asleep` returns when the server is at it. Returns the SQLSTATEs; those of a cancel are 57014.
        """
        raise NotImplementedError

    def large(self, where: Where, size: int) -> tuple[int, int]:
        """Ask for a value of `size` bytes, and send one; returns what came, and what the server says it got."""
        raise NotImplementedError

    def pipeline(self, where: Where, count: int) -> int:
        """Send `count` statements without waiting for answers in between; returns how many were carried out."""
        raise NotImplementedError


def pieces(path: Path, size: int = 1 << 16) -> Iterable[bytes]:
    """A file, bit by bit."""
    with path.open("rb") as file:
        while piece := file.read(size):
            yield piece
