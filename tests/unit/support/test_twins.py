from __future__ import annotations

import pytest

from tests.support.twins import TWINS, tracker_module, walk_class


def test_the_twins_are_two_classes() -> None:
    pure, compiled = map(walk_class, TWINS)
    assert pure is not compiled
    assert hasattr(pure, "_walk_server")
    assert not hasattr(compiled, "_walk_server"), "that is C's"


@pytest.mark.parametrize("twin", TWINS)
def test_a_tracker_stands_on_the_twin_asked_for(twin: str) -> None:
    assert issubclass(tracker_module(twin).Tracker, walk_class(twin))
