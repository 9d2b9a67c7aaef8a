"""Which endpoint next: pure choice from facts already known."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Literal

from ambassador.upstreams.endpoint import Endpoint
from ambassador.upstreams.health import Health

Policy = Literal["ordered", "random"]


def order(
    endpoints: Sequence[Endpoint], health: Mapping[Endpoint, Health], policy: Policy, now: float, rng: random.Random
) -> list[Endpoint]:
    """All endpoints in the order in which to try them.

    `ordered` keeps the configured order, `random` shuffles (libpq's `load_balance_hosts`). Those that are ejected
    come last but are not left out: when all are, the least bad is better than none.
    """
    candidates = list(endpoints)
    if policy == "random":
        rng.shuffle(candidates)
    return sorted(candidates, key=lambda endpoint: not health[endpoint].usable(now))
