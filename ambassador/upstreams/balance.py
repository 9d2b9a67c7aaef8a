"""Which endpoint next: pure choice from facts already known."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Literal

from ambassador.upstreams.endpoint import Endpoint, Role
from ambassador.upstreams.health import Health

Policy = Literal["ordered", "random"]

ReadFrom = Literal["primary", "replica", "prefer-replica"]
"""Which role of server is wanted."""

_WANTED: Mapping[ReadFrom, tuple[Role, ...]] = MappingProxyType(
    {"primary": ("primary",), "replica": ("replica",), "prefer-replica": ("replica", "primary")}
)


def eligible(endpoint: Endpoint, read_from: ReadFrom) -> bool:
    """Whether an endpoint has a wanted role. One of which nobody said what it is always has."""
    return endpoint.role is None or endpoint.role in _WANTED[read_from]


def preferred(endpoint: Endpoint, read_from: ReadFrom) -> int:
    """How far down an eligible endpoint is on the list of wanted roles; 0 is best."""
    return 0 if endpoint.role is None else _WANTED[read_from].index(endpoint.role)


def order(
    endpoints: Sequence[Endpoint],
    health: Mapping[Endpoint, Health],
    policy: Policy,
    now: float,
    rng: random.Random,
    *,
    read_from: ReadFrom = "primary",
) -> list[Endpoint]:
    """All eligible endpoints in the order in which to try them.

    `ordered` keeps the configured order, `random` shuffles (libpq's `load_balance_hosts`); the better role comes
    first either way. Those that are ejected come last but are not left out: when all are, the least bad is better
    than none.
    """
    candidates = [endpoint for endpoint in endpoints if eligible(endpoint, read_from)]
    if policy == "random":
        rng.shuffle(candidates)
    return sorted(candidates, key=lambda one: (not health[one].usable(now), preferred(one, read_from)))
