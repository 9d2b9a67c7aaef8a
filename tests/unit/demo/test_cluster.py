"""A cluster's files: whose they are, what they say, and that both ways of not being root make one."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ambassador.demo.cluster import Cluster
from ambassador.demo.distributions import find
from ambassador.demo.servers import Certificates, ServerFailed, environment
from ambassador.demo.unprivileged import NOBODY, Guise, guise
from tests.support.certificates import Authority


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory that `nobody` can reach, as pytest's own are not."""
    with tempfile.TemporaryDirectory(prefix="cluster-", dir="/tmp") as name:
        yield Path(name)


@pytest.fixture
def cluster(directory: Path) -> Cluster:
    """A cluster whose data directory is there without initdb's work, which takes a second."""
    made = Cluster(directory, find(17), Guise((), None))
    made.data.mkdir()
    return made


def test_initdb_makes_a_cluster_in_our_guise(directory: Path) -> None:
    cluster = Cluster(directory, find(17), guise())
    cluster.initialise()
    assert (cluster.data / "PG_VERSION").read_text() == "17\n"
    assert cluster.password in cluster.passfile.read_text()
    assert not (directory / "superuser").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("major", [17, 18])
def test_initdb_makes_a_cluster_as_nobody_where_namespaces_are_forbidden(directory: Path, major: int) -> None:
    cluster = Cluster(directory, find(major), Guise((), NOBODY))
    cluster.initialise()
    assert (cluster.data / "PG_VERSION").stat().st_uid == NOBODY
    cluster.write_hba([])
    assert (cluster.data / "pg_hba.conf").stat().st_uid == NOBODY
    assert cluster.passfile.stat().st_uid == 0
    assert cluster.programs.open_to_all


def test_initdb_s_own_words_are_in_the_error(directory: Path) -> None:
    cluster = Cluster(directory, find(17), guise())
    cluster.data.mkdir()
    (cluster.data / "in the way").touch()
    with pytest.raises(ServerFailed, match=r"initdb: .* not empty"):
        cluster.initialise()


def test_the_superuser_s_way_in_comes_before_any_other_line(cluster: Cluster) -> None:
    cluster.write_hba(["host all all all reject"])
    lines = (cluster.data / "pg_hba.conf").read_text().splitlines()
    assert lines == ["local all postgres scram-sha-256", "host all all all reject"]


def test_settings_are_quoted(cluster: Cluster) -> None:
    cluster.write_settings({"application_name": "it's", "port": "1"})
    written = (cluster.data / "postgresql.auto.conf").read_text()
    assert written == "application_name = 'it''s'\nport = '1'\n"


def test_keys_are_readable_by_their_owner_alone(cluster: Cluster, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    pair = authority.server("localhost")
    settings = cluster.write_certificates(Certificates(pair.cert, pair.key))
    assert (cluster.data / settings["ssl_key_file"]).stat().st_mode & 0o777 == 0o600
    assert "ssl_ca_file" not in settings
    settings = cluster.write_certificates(Certificates(pair.cert, pair.key, client_ca=authority.file))
    assert (cluster.data / settings["ssl_ca_file"]).read_text() == authority.file.read_text()


def test_programs_see_nothing_of_the_caller_s_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PGHOST", "elsewhere")
    monkeypatch.delenv("PATH")
    shown = environment(tmp_path)
    assert shown.keys() == {"PATH", "HOME", "LC_ALL", "TZ"}
    assert shown["HOME"] == str(tmp_path)


def test_removing_a_cluster_leaves_nothing(cluster: Cluster) -> None:
    cluster.remove()
    assert not cluster.directory.exists()
    cluster.directory.mkdir()  # for the fixture, which removes it
