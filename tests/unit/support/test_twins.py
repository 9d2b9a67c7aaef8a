from __future__ import annotations

from types import ModuleType

import pytest

from ambassador.wire import scan
from ambassador.wire.redis import replies, requests
from tests.support.twins import TWINS, source_of, tracker_module, twin_of, walk_class


def test_the_twins_are_two_classes() -> None:
    pure, compiled = map(walk_class, TWINS)
    assert pure is not compiled
    assert hasattr(pure, "_walk_server")
    assert not hasattr(compiled, "_walk_server"), "that is C's"


@pytest.mark.parametrize("twin", TWINS)
def test_a_tracker_stands_on_the_twin_asked_for(twin: str) -> None:
    assert issubclass(tracker_module(twin).Tracker, walk_class(twin))


@pytest.mark.parametrize("module", [scan, requests, replies], ids=lambda module: module.__name__)
def test_the_source_shows_what_its_twin_hides(module: ModuleType) -> None:
    assert source_of(module) is source_of(module)
    assert str(twin_of(module, "pure").__file__).endswith(".py")
    compiled = twin_of(module, "compiled")
    assert compiled is module
    assert len(vars(compiled)) < len(vars(source_of(module)))
