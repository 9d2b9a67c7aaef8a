"""Proxies before a real Redis: what an operation costs the proxy, and what it costs the server."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from itertools import product
from pathlib import Path
from statistics import median

from ambassador.demo.valkey import ValkeyServer
from tests.bench import redis_peers
from tests.bench.peers import Missing, Peer, Start, program, started
from tests.bench.redis_load import Cost, Load, LoadFailed, Row
from tests.bench.redis_peers import Backend
from tests.bench.redis_targets import Figure, checked, proxy, rate, ratio, server
from tests.support.certificates import Authority
from tests.support.valkey import Kind, certificates
from tests.support.valkey import program as server_program

EVERYONE: tuple[Start[Backend], ...] = (
    redis_peers.ambassador_multiplex,
    redis_peers.ambassador_dedicated,
    redis_peers.twemproxy,
    redis_peers.twemproxy_untuned,
    redis_peers.envoy,
    redis_peers.haproxy,
)
PASSWORD = "bench-password-of-no-account"
MOST_UNDER_WAY = 128 << 20
"""Bytes of values that may be under way at once; a row beyond that measures memory, and is left out."""

SAID = 1000
"""Most characters of the last words of a peer that is left out."""

MANY, LONGER = 500, 3
"""With so many clients a run takes so many times as long: most of a short one goes by while they connect and log in,
which is not what is measured."""

Verdict = tuple[bool, str]
"""Whether a target was reached, and the line that says so."""

ROWS = tuple(
    row
    for row in (Row(*way) for way in product(("GET", "SET"), (64, 16384), (1, 16, 100), (50, 2000)))
    if row.under_way <= MOST_UNDER_WAY
)
SHORT = tuple(row for row in ROWS if row.size == 64 and row.clients == 50)


def measure(directory: Path, kind: Kind, rows: Sequence[Row], *, seconds: int, rounds: int) -> None:
    """Print all tables, and which targets were reached.

    Args:
        directory: for the files of everything that is started.
        kind: which server.
        rows: what to ask; each with a plain upstream, and with TLS where the server has it.
        seconds: of each run, about.
        rounds: of each row.
    """
    try:
        tool = program("redis-benchmark", "redis-tools")
    except Missing as error:
        print(f"no measurement of Redis: it needs {error}")
        return
    print(f"{server_program(kind).origin}: {rounds} rounds of about {seconds} s, alternating; every key is there\n")
    authority = Authority(directory)
    verdicts = []
    for tls in (False, True) if server_program(kind).tls else (False,):
        behind = certificates(authority) if tls else None
        with ValkeyServer(server_program(kind), requirepass=PASSWORD, certificates=behind) as redis:
            load = Load(tool, redis)
            for size in sorted({row.size for row in rows}):
                backend = Backend(redis.port, PASSWORD, size, authority.file if tls else None)
                chosen = [row for row in rows if row.size == size]
                verdicts += tables(load, directory, backend, chosen, seconds=seconds, rounds=rounds)
    summarise(verdicts)


def tables(
    load: Load, directory: Path, backend: Backend, rows: Sequence[Row], *, seconds: int, rounds: int
) -> list[Verdict]:
    """The tables of some rows before one server, the configuration of those who took part, and the verdicts."""
    upstream = "TLS" if backend.ca else "plain"
    verdicts = []
    with ExitStack() as stack:
        peers = started(stack, EVERYONE, directory, backend)
        for row in rows:
            print(f"{row}, {upstream} upstream", flush=True)
            costs = compare(load, backend, peers, row, seconds=seconds, rounds=rounds)
            show(costs)
            for reached, line in checked(row, costs):
                verdicts.append((reached, f"{row}, {upstream}: {line}"))
                print(line)
            print(flush=True)
    for peer in peers:
        if not peer.name.startswith("ambassador"):
            print(f"--- {peer.name}\n{peer.configuration}")
    return verdicts


def compare(
    load: Load, backend: Backend, peers: Sequence[Peer], row: Row, *, seconds: int, rounds: int
) -> dict[str, list[Cost]]:
    """The runs of one row, everyone in turn, begun by another in each round; who fails is named and left out."""
    load.fill(row.size, row.keys)
    seconds *= LONGER if row.clients >= MANY else 1
    everyone: list[Peer | None] = [None, *peers]
    requests: dict[str, int] = {}
    costs: dict[str, list[Cost]] = {_name(peer): [] for peer in everyone}
    for number in range(rounds):
        turn = number % len(everyone)
        for peer in (*everyone[turn:], *everyone[:turn]):
            name = _name(peer)
            if name not in costs:
                continue
            try:
                if name not in requests:
                    requests[name] = load.requests(backend, peer, row, seconds)
                costs[name].append(load.run(backend, peer, row, requests[name], seconds))
            except LoadFailed as error:
                print(f"left out {name}: {error}")
                if peer is not None and (said := peer.said().strip()):
                    print(f"it had said: {said[-SAID:]}")
                del costs[name]
    return costs


def show(costs: dict[str, list[Cost]]) -> None:
    """A table of medians: the ratios are medians over the rounds, each to the reference in the same round."""
    references = [name for name in ("twemproxy", "envoy", "haproxy") if name in costs]
    heads = "".join(f"{'of ' + name:>14}" for name in references)
    print(f"{'':22}{'op/s':>9}{'of direct':>11}{'server us/op':>14}{'of direct':>11}{'us/op':>9}{heads}")
    for name, runs in costs.items():
        line = f"{name:22}{median(map(rate, runs)):9.0f}{_of(costs, name, 'direct', rate):>11}"
        line += f"{median(map(server, runs)):14.2f}{_of(costs, name, 'direct', server):>11}"
        if name != "direct":
            line += f"{median(map(proxy, runs)):9.2f}"
            line += "".join(f"{_of(costs, name, other, proxy):>14}" for other in references)
        print(line)


def summarise(verdicts: Sequence[Verdict]) -> None:
    """How many targets were reached, and which were missed."""
    if not verdicts:
        return
    missed = [line for reached, line in verdicts if not reached]
    print(f"targets: {len(verdicts) - len(missed)} reached, {len(missed)} missed")
    for line in missed:
        print(f"  {line}")


def _of(costs: dict[str, list[Cost]], mine: str, theirs: str, figure: Figure) -> str:
    if mine == theirs or theirs not in costs:
        return "-"
    return f"{ratio(costs[mine], costs[theirs], figure):.2f}"


def _name(peer: Peer | None) -> str:
    return "direct" if peer is None else peer.name
