from __future__ import annotations

import pytest

from tests.support.twins import TWINS, tracker_module, walk_class


def test_the_twins_are_two_classes() -> None:
    pure, compiled = map(walk_class, TWINS)
    assert pure.__module__ == "ambassador.wire.scan"
    assert compiled.__module__ == "ambassador.wire._scan"


@pytest.mark.parametrize("twin", TWINS)
def test_a_tracker_stands_on_the_twin_asked_for(twin: str) -> None:
    assert issubclass(tracker_module(twin).Tracker, walk_class(twin))
