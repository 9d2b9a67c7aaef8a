"""What a new configuration changes: pure comparison of two models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ambassador.config.fault import dotted
from ambassador.config.schema import Config
from ambassador.config.walk import leaves

_SECTIONS = frozenset({"listeners", "upstreams", "credentials", "vaults"})


@dataclass(frozen=True, slots=True)
class Change:
    """The names of one section, sorted by what becomes of them. No name is in two of these sets."""

    kept: frozenset[str] = frozenset()
    changed: frozenset[str] = frozenset()
    started: frozenset[str] = frozenset()
    retired: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.changed or self.started or self.retired)


@dataclass(frozen=True, slots=True)
class Changes:
    """All that differs.

    An entry counts as changed when its own settings differ; that an upstream uses a changed credential is for the
    runtime to carry on.

    Args:
        listeners, upstreams, credentials, vaults: the named sections.
        restart_needed: key paths (`admin.listen`) that differ and cannot change while the daemon runs.
        settings: key paths outside the named sections that differ and can.
    """

    listeners: Change
    upstreams: Change
    credentials: Change
    vaults: Change
    restart_needed: tuple[str, ...]
    settings: tuple[str, ...]

    def __bool__(self) -> bool:
        named = (self.listeners, self.upstreams, self.credentials, self.vaults)
        return bool(any(named) or self.restart_needed or self.settings)


def diff(old: Config, new: Config) -> Changes:
    """Compare what runs with what is wanted."""
    differing = list(_differing(old, new))
    return Changes(
        listeners=_change(old.listeners, new.listeners),
        upstreams=_change(old.upstreams, new.upstreams),
        credentials=_change(old.credentials, new.credentials),
        vaults=_change(old.vaults, new.vaults),
        restart_needed=tuple(path for path, restart in differing if restart),
        settings=tuple(path for path, restart in differing if not restart),
    )


def _change(old: Mapping[str, Any], new: Mapping[str, Any]) -> Change:
    both = old.keys() & new.keys()
    changed = frozenset(name for name in both if old[name] != new[name])
    return Change(
        kept=frozenset(both - changed),
        changed=changed,
        started=frozenset(new.keys() - both),
        retired=frozenset(old.keys() - both),
    )


def _differing(old: Config, new: Config) -> Iterator[tuple[str, bool]]:
    """Key paths outside the named sections whose values differ, and whether the schema marks them `restart`."""
    before = {leaf.path: leaf for leaf in leaves(old) if leaf.path[0] not in _SECTIONS}
    for leaf in leaves(new):
        if leaf.path in before and before[leaf.path].value != leaf.value:
            extra = leaf.field.json_schema_extra
            yield dotted(leaf.path), isinstance(extra, dict) and bool(extra.get("restart"))
