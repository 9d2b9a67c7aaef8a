"""Proxies before a real PostgreSQL: what a transaction costs, and what an idle session weighs."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from statistics import median

from ambassador.demo.distributions import find
from ambassador.demo.postgres import PostgresServer
from ambassador.demo.servers import Certificates
from tests.bench import idle, postgres_peers
from tests.bench.peers import Start, started
from tests.bench.pgbench import CLIENTS, Cost, pgbench
from tests.bench.postgres_peers import Backend
from tests.support.certificates import Authority

EVERYONE: tuple[Start[Backend], ...] = (
    postgres_peers.ambassador,
    postgres_peers.pgbouncer,
    postgres_peers.haproxy,
    postgres_peers.envoy,
)
REFERENCE = "pgbouncer"
PASSWORD = "bench-password-of-no-account"


def measure(directory: Path, *, seconds: int, rounds: int) -> None:
    """Print all tables.

    Args:
        directory: for the files of everything that is started; every user may look into it.
        seconds: of each run.
        rounds: of each row.
    """
    authority = Authority(directory)
    pair = authority.server("localhost", "127.0.0.1")
    # Trusting, because a client behind a proxy that only copies cannot take part in SCRAM-SHA-256-PLUS.
    hba = ("host all all 127.0.0.1/32 trust",)
    with PostgresServer(find(17), hba=hba, certificates=Certificates(pair.cert, pair.key)) as server:
        server.create_role("bench", PASSWORD)
        server.create_database("bench", "bench")
        backend = Backend(server.port, "bench", PASSWORD, "bench")
        fill(server, backend)
        print(f"PostgreSQL: {CLIENTS} clients, {rounds} rounds of {seconds} s, alternating\n")
        for title, behind in (("plain upstream", backend), ("TLS upstream", replace(backend, ca=authority.file))):
            compare(title, directory, behind, server.tool("pgbench"), seconds=seconds, rounds=rounds)
    weigh(directory)


def fill(server: PostgresServer, backend: Backend) -> None:
    """pgbench's tables."""
    server.psql(
        "CREATE TABLE pgbench_accounts (aid int PRIMARY KEY, bid int, abalance int, filler char(84));"
        "INSERT INTO pgbench_accounts SELECT n, 1, 0, '' FROM generate_series(1, 100000) n;"
        "CREATE TABLE pgbench_branches (bid int PRIMARY KEY, bbalance int, filler char(88));"
        "INSERT INTO pgbench_branches VALUES (1, 0, '');"
        "CREATE TABLE pgbench_tellers (tid int PRIMARY KEY, bid int, tbalance int, filler char(84));"
        "GRANT SELECT ON ALL TABLES IN SCHEMA public TO PUBLIC; ANALYZE;",
        database=backend.database,
    )


def compare(title: str, directory: Path, backend: Backend, tool: Path, *, seconds: int, rounds: int) -> None:
    """One table: every peer and none, simple and prepared statements."""
    with ExitStack() as stack:
        running = started(stack, EVERYONE, directory, backend)
        for prepared in (False, True):
            costs: dict[str, list[Cost]] = {name: [] for name in ("direct", *(peer.name for peer in running))}
            for _ in range(rounds):
                for peer in (None, *running):
                    name = "direct" if peer is None else peer.name
                    costs[name].append(pgbench(tool, backend, peer, prepared=prepared, seconds=seconds))
            print(f"{title}, {'-M prepared' if prepared else 'simple'}")
            show(costs)
    for peer in running:
        if peer.name != "ambassador":
            print(f"--- {peer.name}\n{peer.configuration}")


def show(costs: dict[str, list[Cost]]) -> None:
    """A table: the ratio is the median over the rounds of the cost against the reference's in the same round."""
    print(f"{'':12} {'tx/s':>8} {'CPU us/tx':>10} {'of ' + REFERENCE:>13}")
    for name, runs in costs.items():
        rate, cost = median(run.rate for run in runs), median(run.microseconds for run in runs)
        ratio = "-"
        if name != "direct" and REFERENCE in costs:
            pairs = zip(runs, costs[REFERENCE], strict=True)
            ratio = f"{median(mine.microseconds / theirs.microseconds for mine, theirs in pairs):.2f}"
        print(f"{name:12} {rate:8.0f} {cost:10.1f} {ratio:>13}")
    print()


def weigh(directory: Path) -> None:
    """The table of idle sessions."""
    with ExitStack() as stack:
        backend = Backend(stack.enter_context(idle.stand_in()), "bench", PASSWORD, "bench")
        print(f"{idle.SESSIONS} idle sessions: resident memory of the proxy")
        for peer in started(stack, EVERYONE, directory, backend):
            print(f"{peer.name:12} {idle.kibibytes_per_session(peer, 'bench', 'bench'):8.1f} KiB per session")
