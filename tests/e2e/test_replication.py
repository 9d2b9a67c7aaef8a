"""Whole databases through the ambassador: dumps, base backups, logical replication."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.e2e.clusters import Cluster
from tests.e2e.drivers.psycopg3 import connect, value
from tests.e2e.house import FEW_FRONTS, Front, House
from tests.e2e.where import Where
from tests.support.processes import Child, wait_until

CHECKSUM = "SELECT md5(string_agg(a::text, '|' ORDER BY aid)) FROM pgbench_accounts a"

few_fronts = pytest.mark.parametrize("front", FEW_FRONTS, ids=str)


def run(*words: object, where: Where, home: Path, **more: object) -> subprocess.CompletedProcess[bytes]:
    """Run one of PostgreSQL's programs; fails the test if it does."""
    done = subprocess.run(
        [str(word) for word in words], env=where.env(home), stderr=subprocess.PIPE, timeout=120, check=False, **more
    )  # type: ignore[call-overload]  # the rest is passed on
    assert done.returncode == 0, done.stderr.decode()
    return done  # type: ignore[no-any-return]  # see above


@pytest.fixture
def filled(house: House, front: Front, tmp_path: Path) -> Iterator[Where]:
    """The front, with the tables of pgbench behind it, and an empty database `copy` next to them."""
    where = house.where(front)
    cluster = house.clusters[front.major]
    cluster.server.create_database("copy", "app")
    run(tool(cluster, "pgbench"), "-i", "-q", "-s", "1", where.conninfo(), where=where, home=tmp_path)
    yield where
    cluster.server.psql("DROP DATABASE copy WITH (FORCE)")
    with connect(where) as connection:
        connection.execute("DROP TABLE pgbench_accounts, pgbench_branches, pgbench_history, pgbench_tellers CASCADE")


def tool(cluster: Cluster, name: str) -> Path:
    """A program of a version that has TLS: that of 18 was built without."""
    return cluster.server.tool(name)


@pytest.mark.timeout(120)
@few_fronts
def test_a_dump_goes_straight_into_another_database(house: House, front: Front, filled: Where, tmp_path: Path) -> None:
    cluster = house.clusters[front.major]
    copy = filled.but(database="copy")
    with subprocess.Popen(
        [str(cluster.server.tool("pg_dump")), "-d", filled.conninfo()], env=filled.env(tmp_path), stdout=subprocess.PIPE
    ) as dump:
        run(
            cluster.server.tool("psql"), "-Xq", "-v", "ON_ERROR_STOP=1", "-d", copy.conninfo(),
            where=copy, home=tmp_path, stdin=dump.stdout, stdout=subprocess.DEVNULL,
        )  # fmt: skip
    assert dump.returncode == 0
    with connect(filled) as there, connect(copy) as here:
        expected = value(there.execute(CHECKSUM))
        assert value(here.execute(CHECKSUM)) == expected


@pytest.mark.timeout(120)
@few_fronts
@pytest.mark.parametrize("wal", ["fetch", "stream"])
def test_a_base_backup_is_whole(house: House, front: Front, wal: str, filled: Where, tmp_path: Path) -> None:
    server = house.clusters[front.major].server
    backup = tmp_path / "backup"
    words = ["-D", backup, "-X", wal, "-c", "fast", "-d", filled.conninfo()]
    run(server.tool("pg_basebackup"), *words, where=filled, home=tmp_path)
    run(server.tool("pg_verifybackup"), "-q", backup, where=filled, home=tmp_path)


@pytest.mark.timeout(60)
@few_fronts
def test_changes_are_streamed_as_they_happen(house: House, front: Front, filled: Where, tmp_path: Path) -> None:
    server = house.clusters[front.major].server
    program, words = server.tool("pg_recvlogical"), ["-d", filled.conninfo(), "-S", "stream"]
    run(program, *words, "--create-slot", "-P", "test_decoding", where=filled, home=tmp_path)
    out = tmp_path / "changes"
    try:
        with (
            Child(
                [program, *words, "--start", "-f", out, "-s", "1", "-F", "1"],
                directory=tmp_path,
                env=filled.env(tmp_path),
                name="recvlogical",
            ),
            connect(filled) as connection,
        ):
            connection.execute("UPDATE pgbench_branches SET bbalance = 4711 WHERE bid = 1")
            wait_until("the change to arrive", lambda: out.exists() and "bbalance[integer]:4711" in out.read_text(), 20)
    finally:
        wait_until("the stream to end", lambda: server.psql("SELECT active FROM pg_replication_slots") in {"f", ""})
        run(program, *words, "--drop-slot", where=filled, home=tmp_path)


@pytest.mark.timeout(60)
def test_a_subscription_follows_a_publication(house: House, clusters: Mapping[int, Cluster], tmp_path: Path) -> None:
    publisher, subscriber = house.where("pg17-tls-plain"), clusters[18].server
    subscriber.create_database("replica")
    with connect(publisher) as connection:
        connection.execute("CREATE TABLE news (id int PRIMARY KEY, line text)")
        connection.execute("INSERT INTO news SELECT n, repeat('x', 1000) FROM generate_series(1, 1000) n")
        connection.execute("CREATE PUBLICATION ours FOR TABLE news")
        try:
            subscriber.psql("CREATE TABLE news (id int PRIMARY KEY, line text)", database="replica")
            subscriber.psql(
                f"CREATE SUBSCRIPTION ours CONNECTION $${publisher.conninfo()}$$ PUBLICATION ours", database="replica"
            )

            def count() -> int:
                return int(subscriber.psql("SELECT count(*) FROM news", database="replica"))

            wait_until("the first copy", lambda: count() == 1000, 20)
            connection.execute("INSERT INTO news VALUES (1001, 'the latest')")
            wait_until("the latest", lambda: count() == 1001, 20)
        finally:
            subscriber.psql("DROP SUBSCRIPTION IF EXISTS ours", database="replica")
            subscriber.psql("DROP DATABASE replica WITH (FORCE)")
            connection.execute("DROP PUBLICATION ours; DROP TABLE news")
