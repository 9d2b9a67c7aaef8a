"""The source and its compiled twin side by side, whichever of them the package runs on."""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path
from types import ModuleType
from unittest import mock

import pytest

from ambassador.wire import scan
from ambassador.wire.postgres import tracker
from ambassador.wire.scan import PostgresWalk

TWINS = ("pure", "compiled")


def _load(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def source_of(module: ModuleType) -> ModuleType:
    """A module as it is written, with its constants, which a compiled one keeps to itself."""
    return load_source(module)


def load_source(module: ModuleType) -> ModuleType:
    """The same, made anew upon the modules that are there now."""
    assert module.__file__ is not None
    path = Path(module.__file__)
    return _load(module.__name__, path.with_name(f"{path.name.partition('.')[0]}.py"))


def twin_of(module: ModuleType, twin: str) -> ModuleType:
    """A module as the twin has it; skips the test where the compiled one was not built."""
    if twin == "pure":
        return source_of(module)
    if str(module.__file__).endswith(".py"):
        pytest.skip("there is no compiled twin here: it was not built (pip install .), or AMBASSADOR_PURE is set")
    return module


SOURCE = source_of(scan)


def walk_class(twin: str) -> type[PostgresWalk]:
    """`PostgresWalk` as the twin has it; skips the test where the compiled one was not built."""
    return twin_of(scan, twin).PostgresWalk  # type: ignore[no-any-return]  # a module loaded by hand has no types


def tracker_module(twin: str) -> ModuleType:
    """The module `tracker`, made anew upon that twin."""
    with mock.patch.object(scan, "PostgresWalk", walk_class(twin)):
        return _load(tracker.__name__, Path(tracker.__file__))
