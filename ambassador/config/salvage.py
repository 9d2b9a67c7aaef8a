"""What is left of a configuration when its faulty parts are cut away, so that the rest can be checked all the same."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic import Field, ValidationError

from ambassador.config.fault import KeyPath
from ambassador.config.schema import Config, ListenerSettings
from ambassador.config.types import FROM_FILE, Name


class Remains(Config):
    """A configuration of which parts may be missing; never run, only looked at."""

    listeners: dict[Name, ListenerSettings] = Field(default_factory=dict)


def salvage(data: Any, faulty: Iterable[KeyPath]) -> Remains | None:
    """The model of `data` without the values at `faulty`; None when too little is left.

    Cutting a value may leave its entry without something it needs: then the entry goes, then its section.
    """
    cuts = set(faulty)
    for longest in (None, 2, 1):
        for path in sorted(cuts, key=_later_items_first, reverse=True):
            data = _without(data, path[:longest])
        try:
            return Remains.model_validate(data, context=FROM_FILE)
        except ValidationError as error:
            cuts = {path for path, _ in Remains.explain(error)}
    return None


def _later_items_first(path: KeyPath) -> tuple[tuple[bool, int, str], ...]:
    return tuple((True, step, "") if isinstance(step, int) else (False, 0, step) for step in path)


def _without(data: Any, path: KeyPath) -> Any:
    """A copy of `data` lacking the value at `path`, or the nearest one around it where there is none."""
    if not path:
        return data
    step, rest = path[0], path[1:]
    inner: Any
    if isinstance(data, dict) and step in data:
        inner = data[step]
        if rest and _leads_on(inner, rest[0]):
            return data | {step: _without(inner, rest)}
        return {key: value for key, value in data.items() if key != step}
    if isinstance(data, list) and isinstance(step, int) and step < len(data):
        if rest and _leads_on(data[step], rest[0]):
            return [*data[:step], _without(data[step], rest), *data[step + 1 :]]
        return [*data[:step], *data[step + 1 :]]
    return data


def _leads_on(data: Any, step: str | int) -> bool:
    if isinstance(data, dict):
        return step in data
    return isinstance(data, list) and isinstance(step, int) and step < len(data)
