"""The pure and the compiled twin side by side, whichever of them the package has chosen."""

from __future__ import annotations

import importlib.util
from types import ModuleType
from unittest import mock

import pytest

from ambassador.wire import scan
from ambassador.wire.postgres import tracker
from ambassador.wire.scan import PostgresWalk

TWINS = ("pure", "compiled")


def walk_class(twin: str) -> type[PostgresWalk]:
    """`PostgresWalk` as the twin has it; skips the test where the compiled one was not built."""
    if twin == "pure":
        return scan.PostgresWalk
    try:
        return importlib.import_module("ambassador.wire._scan").PostgresWalk  # type: ignore[no-any-return]  # a compiled module has no types
    except ImportError:
        pytest.skip("the compiled twin was not built (pip install .)")


def tracker_module(twin: str) -> ModuleType:
    """The module `tracker`, made anew upon that twin."""
    spec = importlib.util.spec_from_file_location(tracker.__name__, tracker.__file__)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with mock.patch.object(scan, "Walk", walk_class(twin)):
        spec.loader.exec_module(module)
    return module
