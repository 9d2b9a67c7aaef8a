"""How a Vault that is none puts things: requests, answers, errors, and what ends."""

from __future__ import annotations

import secrets
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

Json = dict[str, Any]
Said = tuple[int, Json | None]
"""Status, and JSON; None is no body at all."""


class No(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, *errors: str, said: Json | None = None) -> None:
        super().__init__(*errors)
        self.said: Said = (status, {"errors": list(errors)} if said is None else said)


@dataclass
class Loan:
    """What ends: a token or a lease. Times are Unix seconds.

    Args:
        ttl: seconds it is given, and given again by a renewal that names none.
        last: when it ends at the latest.
        owner: the token that it ends with; "" is none.
        path: where it was asked for.
        explicit: the longest life that it was made with, seconds; 0 where its mount sets that.
    """

    ttl: int
    last: float
    renewable: bool
    owner: str = ""
    path: str = ""
    meta: Mapping[str, str] | None = None
    issued: float = field(default_factory=time.time)
    renewed: float = 0.0
    accessor: str = field(default_factory=lambda: secrets.token_urlsafe(18))
    entity: str = ""
    ends: float = 0.0
    explicit: int = 0

    def __post_init__(self) -> None:
        self.ends = min(self.issued + self.ttl, self.last)

    def left(self, now: float) -> int:
        """Whole seconds, begun ones counted."""
        return -int(-(self.ends - now) // 1)

    def renew(self, increment: int, now: float, past: tuple[int, str]) -> list[str] | None:
        """Warnings that come with it.

        Raises:
            No: it cannot.
        """
        if not self.renewable:
            raise No(400, "lease is not renewable")
        rest, asked = round(self.last - now), increment or self.ttl
        if rest <= 0:
            raise No(*past)
        self.renewed, self.ends = now, min(now + asked, self.last)
        if asked <= rest:
            return None
        wanted, had = duration(asked), duration(rest)
        return [f'TTL of "{wanted}" exceeded the effective max_ttl of "{had}"; TTL value is capped accordingly']


@dataclass(frozen=True)
class Request:
    """What somebody asked.

    Args:
        path: after `/v1/`, without the query.
        time: Unix seconds.
    """

    method: str
    path: str
    token: str
    namespace: str
    query: str = ""
    body: Json = field(default_factory=dict)
    time: float = field(default_factory=time.time)


def frame(data: Json | None = None, *, auth: Json | None = None, warnings: list[str] | None = None) -> Json:
    """What stands around every answer."""
    return {
        "request_id": str(uuid.uuid4()),
        "lease_id": "",
        "renewable": False,
        "lease_duration": 0,
        "data": data,
        "wrap_info": None,
        "warnings": warnings,
        "auth": auth,
    }


def stamp(moment: float) -> str:
    """As Go writes it, with nanoseconds."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f") + "000Z"


def duration(seconds: int) -> str:
    """A duration as it stands in a warning: `1h30m`, `45s`."""
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    parts = ((hours, "h"), (minutes, "m"), (rest, "s"))
    return "".join(f"{number}{unit}" for number, unit in parts if number) or "0s"
