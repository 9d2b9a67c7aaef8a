"""The registry: names to classes, imported when asked for, extended by installed packages."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from types import ModuleType

import pytest

from ambassador import registry
from ambassador.registry import Table, entries, resolve

TABLES: tuple[Table, ...] = ("protocols", "sources", "authenticators", "discoveries", "vault_logins")


@pytest.fixture(autouse=True)
def no_cache() -> Iterator[None]:
    """Entry points are read once for a process; here they change."""
    entries.cache_clear()
    resolve.cache_clear()
    yield
    entries.cache_clear()
    resolve.cache_clear()


def installed(monkeypatch: pytest.MonkeyPatch, **points: str) -> None:
    """Make `points` (dots of the names as __) the entry points of installed packages."""
    found = [EntryPoint(name.replace("__", "."), value, registry.PLUGIN_GROUP) for name, value in points.items()]
    monkeypatch.setattr(registry, "entry_points", lambda group: found if group == registry.PLUGIN_GROUP else [])


@pytest.mark.parametrize("table", TABLES)
def test_every_entry_of_ours_can_be_imported(table: Table) -> None:
    assert entries(table)
    for name in entries(table):
        assert isinstance(resolve(table, name), type)


def test_a_table_cannot_be_written_to() -> None:
    with pytest.raises(TypeError):
        entries("sources")["mine"] = "x:Y"  # type: ignore[index]  # that it cannot be done is what is tested


def test_an_unknown_name_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        resolve("protocols", "gopher")


def test_an_installed_package_adds_to_its_table(monkeypatch: pytest.MonkeyPatch) -> None:
    plugin = ModuleType("memcached_plugin")
    plugin.Memcached = type("Memcached", (), {})  # type: ignore[attr-defined]  # a module made for this test
    monkeypatch.setitem(sys.modules, "memcached_plugin", plugin)
    installed(monkeypatch, protocols__memcached="memcached_plugin:Memcached")
    assert resolve("protocols", "memcached") is plugin.Memcached
    assert "memcached" not in entries("sources")


def test_an_installed_package_may_not_replace_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, protocols__postgres="evil:Postgres")
    assert entries("protocols")["postgres"] == registry.PROTOCOLS["postgres"]


def test_entry_points_without_a_table_are_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, sources="x:Y", sources__="x:Y")
    assert entries("sources") == registry.SOURCES


def test_nothing_is_imported_before_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, sources__lost="no_such_module:Source")
    assert "lost" in entries("sources")
    with pytest.raises(ModuleNotFoundError):
        resolve("sources", "lost")
