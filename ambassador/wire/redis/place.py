"""Place: where a server listens, as Sentinels and the nodes of a cluster tell of it."""

from __future__ import annotations

from typing import NamedTuple


class Place(NamedTuple):
    """Where something listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
