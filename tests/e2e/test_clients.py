"""What applications do, by every client there is, through the ambassador to every PostgreSQL there is."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

import pytest

from tests.e2e.drivers.alchemy import Alchemy, AsyncAlchemy
from tests.e2e.drivers.asyncpg import Asyncpg
from tests.e2e.drivers.base import PAYLOAD, QUOTED, Driver, Seen
from tests.e2e.drivers.node import Node
from tests.e2e.drivers.pg8000 import Pg8000
from tests.e2e.drivers.psql import Psql
from tests.e2e.drivers.psycopg2 import Psycopg2
from tests.e2e.drivers.psycopg3 import AsyncPsycopg, Psycopg
from tests.e2e.house import FEW_FRONTS, FRONTS, Front, House
from tests.support.postgres import distribution
from tests.support.processes import wait_until

# Made when a test runs: one that only apt could have brought then skips that test, and no other.
CLIENTS: dict[str, Callable[[], Driver]] = {
    "psql15": lambda: Psql(distribution(15)),
    "psql17": lambda: Psql(distribution(17)),
    "psql18": lambda: Psql(distribution(18)),
    "psql18-latest": lambda: Psql(distribution(18), max_protocol_version="latest"),
    "psycopg": lambda: Psycopg("psycopg"),
    "psycopg-latest": lambda: Psycopg("psycopg", max_protocol_version="latest"),
    "psycopg-async": lambda: AsyncPsycopg("psycopg-async"),
    "psycopg2": lambda: Psycopg2("psycopg2"),
    "asyncpg": lambda: Asyncpg("asyncpg"),
    "pg8000": lambda: Pg8000("pg8000"),
    "sqlalchemy": lambda: Alchemy("sqlalchemy"),
    "sqlalchemy-async": lambda: AsyncAlchemy("sqlalchemy-async"),
    "node-pg": lambda: Node("pg"),
    "node-postgres": lambda: Node("postgres"),
}

TLS_CLIENTS: dict[str, Callable[[], Driver]] = {
    "psql17-direct": lambda: Psql(distribution(17), sslnegotiation="direct"),
    "psql17-bound": lambda: Psql(distribution(17), channel_binding="require"),
    "psql15-bound": lambda: Psql(distribution(15), channel_binding="require"),
    "psycopg-direct": lambda: Psycopg("psycopg", sslnegotiation="direct", channel_binding="require"),
    "asyncpg-direct": lambda: Asyncpg("asyncpg", direct=True),
    "node-pg-bound": lambda: Node("pg", enableChannelBinding=True),
    "node-pg-direct": lambda: Node("pg", sslnegotiation="direct"),
    "node-postgres-direct": lambda: Node("postgres", sslnegotiation="direct"),
}


WITHOUT_TLS = {"psql18", "psql18-latest"}
"""Clients that were built without."""

CANNOT = {
    "prepared": {"psycopg2"},
    "notify": {"sqlalchemy", "sqlalchemy-async"},
    "cancel": {"sqlalchemy", "sqlalchemy-async", "pg8000"},
    "copy": {"sqlalchemy", "sqlalchemy-async"},
    "pipeline": {"psql15", "psql17", "psycopg2", "pg8000"},
}
"""What clients have no way to do."""


@cache
def client(name: str) -> Driver:
    """The client of that name."""
    return (CLIENTS | TLS_CLIENTS)[name]()


def through(fronts: Iterable[Front], names: Iterable[str], verb: str = "query") -> pytest.MarkDecorator:
    """Each of these clients through each of these fronts, where the client can."""
    pairs = [
        pytest.param(name, front, id=f"{name}-{front}")
        for name in names
        for front in fronts
        if name not in CANNOT.get(verb, ()) and not (front.down == "tls" and name in WITHOUT_TLS)
    ]
    return pytest.mark.parametrize(("name", "front"), pairs)


@through(FRONTS, CLIENTS)
def test_a_client_asks_and_errs_and_asks_again(house: House, name: str, front: Front) -> None:
    assert client(name).query(house.where(front)) == Seen("app", QUOTED, "22012", 42)


@through([front for front in FRONTS if front.down == "tls"], TLS_CLIENTS)
def test_a_client_insists_on_how_it_speaks_tls(house: House, name: str, front: Front) -> None:
    assert client(name).query(house.where(front)) == Seen("app", QUOTED, "22012", 42)


@through(FEW_FRONTS, CLIENTS, "prepared")
def test_a_client_prepares_a_statement(house: House, name: str, front: Front) -> None:
    assert client(name).prepared(house.where(front)) == [0, 2, 4, 6, 8]


@through(FEW_FRONTS, CLIENTS, "notify")
def test_a_client_is_notified(house: House, name: str, front: Front) -> None:
    assert client(name).notify(house.where(front)) == PAYLOAD


@through(FEW_FRONTS, CLIENTS, "cancel")
def test_a_client_cancels_its_query(house: House, name: str, front: Front) -> None:
    driver = client(name)
    where = house.where(front)
    cluster = house.clusters[front.major]

    def asleep() -> None:
        wait_until("the server to be at it", cluster.sleeping)

    codes = driver.cancel(where, asleep)
    assert codes
    assert set(codes) == {"57014"}
    wait_until("the server to have stopped", lambda: not cluster.sleeping())


@pytest.mark.slow
@pytest.mark.timeout(300)
@through(FEW_FRONTS, CLIENTS, "copy")
def test_a_client_copies_in_and_out(house: House, name: str, front: Front, copied: Path, tmp_path: Path) -> None:
    client(name).copy(house.where(front), copied, tmp_path / "out")
    assert digest(tmp_path / "out") == digest(copied)


@pytest.mark.slow
@pytest.mark.timeout(300)
@through(FEW_FRONTS, CLIENTS, "large")
def test_a_client_moves_a_large_value(house: House, name: str, front: Front, long: bool) -> None:
    driver = client(name)
    size = 100_000_000 if long else 3_000_000
    assert driver.large(house.where(front), size) == (size, size)


@pytest.mark.timeout(120)
@through(FEW_FRONTS, CLIENTS, "pipeline")
def test_a_client_sends_ten_thousand_statements_without_waiting(house: House, name: str, front: Front) -> None:
    assert client(name).pipeline(house.where(front), 10_000) == 10_000


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory, long: bool) -> Path:
    """A file for COPY: lines of a hundred bytes, 200 MB of them or far fewer."""
    path = tmp_path_factory.mktemp("copy") / "in"
    with path.open("w") as file:
        file.writelines(f"{n}\t{n * 7919 % 1_000_003:088}\n" for n in range(2_000_000 if long else 50_000))
    return path


def digest(path: Path) -> str:
    """What tells two files apart, whatever their size."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
