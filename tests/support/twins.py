"""The source and its compiled twin side by side, whichever of them the package runs on."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from unittest import mock

import pytest

from ambassador.wire import scan
from ambassador.wire.postgres import tracker
from ambassador.wire.scan import PostgresWalk

TWINS = ("pure", "compiled")


def _from_source(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SOURCE = _from_source("ambassador.wire.scan", Path(scan.__file__).with_name("scan.py"))
"""The module `scan` as it is written, with its constants, which the compiled one keeps to itself."""


def walk_class(twin: str) -> type[PostgresWalk]:
    """`PostgresWalk` as the twin has it; skips the test where the compiled one was not built."""
    if twin == "pure":
        return SOURCE.PostgresWalk  # type: ignore[no-any-return]  # a module loaded by hand has no types
    if scan.SCAN == "pure":
        pytest.skip("there is no compiled twin here: it was not built (pip install .), or AMBASSADOR_PURE is set")
    return scan.PostgresWalk


def tracker_module(twin: str) -> ModuleType:
    """The module `tracker`, made anew upon that twin."""
    with mock.patch.object(scan, "PostgresWalk", walk_class(twin)):
        return _from_source(tracker.__name__, Path(tracker.__file__))
