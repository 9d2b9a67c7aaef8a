"""What is promised of the Redis protocol's cost, and whether a run kept it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from tests.bench.redis_load import Cost, Row

Costs = Mapping[str, Sequence[Cost]]
"""The runs of each peer in one row, round by round; `direct` is none."""

Figure = Callable[[Cost], float]


@dataclass(frozen=True)
class Target:
    """One promise: a ratio of ours to a reference's in the same round.

    Args:
        ours: which of ours.
        of: the reference.
        what: which of a run's figures, for people.
        figure: the same, for us.
        bound: the ratio promised.
        least: whether it is the least, not the most.
        rows: where it holds.
    """

    ours: str
    of: str
    what: str
    figure: Figure
    bound: float
    rows: Callable[[Row], bool]
    least: bool = False

    def check(self, costs: Costs) -> tuple[bool, str]:
        """Whether it was reached, and the line that says so."""
        found = ratio(costs[self.ours], costs[self.of], self.figure)
        reached = found >= self.bound if self.least else found <= self.bound
        sign = ">=" if self.least else "<="
        verdict = "reached" if reached else "MISSED"
        return reached, f"{self.ours}: {self.what} {found:.2f} of {self.of}'s ({sign} {self.bound:g}): {verdict}"


def ratio(mine: Sequence[Cost], theirs: Sequence[Cost], figure: Figure) -> float:
    """The median over the rounds of one's figure to the other's in the same round."""
    return median(figure(one) / max(figure(other), 1e-9) for one, other in zip(mine, theirs, strict=True))


def proxy(cost: Cost) -> float:
    """CPU of the proxy."""
    return cost.proxy


def server(cost: Cost) -> float:
    """CPU of the server."""
    return cost.server


def rate(cost: Cost) -> float:
    """Operations per second."""
    return cost.rate


def _single(row: Row) -> bool:
    return row.pipeline == 1 and row.clients == 50


def _pipelined(row: Row) -> bool:
    return row.pipeline >= 16


MULTIPLEX, DEDICATED = "ambassador multiplex", "ambassador dedicated"

TARGETS = (
    Target(MULTIPLEX, "twemproxy", "CPU", proxy, 1.0, _single),
    Target(MULTIPLEX, "envoy", "CPU", proxy, 0.8, _single),
    Target(MULTIPLEX, "direct", "the server's CPU", server, 0.35, _single),
    Target(MULTIPLEX, "twemproxy", "CPU", proxy, 0.4, _pipelined),
    Target(MULTIPLEX, "envoy", "CPU", proxy, 0.4, _pipelined),
    Target(MULTIPLEX, "twemproxy", "throughput", rate, 2.0, _pipelined, least=True),
    Target(MULTIPLEX, "envoy", "throughput", rate, 2.0, _pipelined, least=True),
    Target(DEDICATED, "haproxy", "CPU", proxy, 1.15, lambda row: True),
)


def checked(row: Row, costs: Costs) -> Iterator[tuple[bool, str]]:
    """The targets of a row whose peers all ran: whether each was reached, and the line that says so."""
    for target in TARGETS:
        if target.rows(row) and target.ours in costs and target.of in costs:
            yield target.check(costs)
