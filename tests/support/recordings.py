"""Conversations of real clients and servers, recorded once, for tests that cut them up and spoil them.

A file holds one chunk per line: what it belongs to, its direction (`>` from the client, `<` from the server), its
bytes in hexadecimal digits.

    login     a client's login with our ServerLogin, whose nonce was `server-nonce`
    session   what followed, with PostgreSQL 17 behind
    upstream  our ClientLogin's login with PostgreSQL 17, with the nonce `client-nonce`
    redis     a client's whole connection with Valkey 9; paths in what the server said are made x's
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

DIRECTORY = Path(__file__).parents[1] / "fuzz" / "recordings"

Part = Literal["login", "session", "upstream", "redis"]


@dataclass(frozen=True)
class Chunk:
    """Bytes that arrived at once; `sent` by the client, or else by the server."""

    sent: bool
    data: bytes


def recorded(part: Part) -> dict[str, list[Chunk]]:
    """Every recording's chunks of that part, by the recording's name; recordings without it are left out."""
    found = {}
    for path in sorted(DIRECTORY.glob("*.txt")):
        lines = [line.split() for line in path.read_text().splitlines() if line.startswith(part)]
        if lines:
            found[path.stem] = [Chunk(side == ">", bytes.fromhex(data)) for _, side, data in lines]
    return found


def of_side(chunks: list[Chunk], *, sent: bool) -> bytes:
    """All that one side said."""
    return b"".join(chunk.data for chunk in chunks if chunk.sent == sent)
