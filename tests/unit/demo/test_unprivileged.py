"""Not being root: the decision as a table, and the chosen way for real."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from ambassador.demo import unprivileged
from ambassador.demo.unprivileged import NAMESPACE, NOBODY, Guise, choose, guise, mortal


@pytest.mark.parametrize(
    ("euid", "namespaces", "expected"),
    [
        (1000, True, Guise((), None)),
        (1000, False, Guise((), None)),
        (0, True, Guise(NAMESPACE, None)),
        (0, False, Guise((), NOBODY)),
    ],
)
def test_the_least_intrusive_way_is_chosen(euid: int, namespaces: bool, expected: Guise) -> None:
    def works(prefix: Sequence[str]) -> bool:
        assert prefix == NAMESPACE
        return namespaces

    assert choose(euid, works) == expected


def test_a_child_in_our_guise_does_not_believe_to_be_root() -> None:
    ours = guise()
    done = subprocess.run(
        ours.command(["id", "-u"]), user=ours.uid, group=ours.uid, capture_output=True, text=True, check=True
    )
    assert int(done.stdout) == (os.geteuid() or NOBODY)


def test_words_may_be_paths() -> None:
    assert Guise(("run",), None).command([Path("/bin/true"), "x"]) == ["run", "/bin/true", "x"]


def test_a_tool_that_is_missing_or_fails_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not unprivileged._works(["no-such-program-here"])
    assert not unprivileged._works(["false"])
    mortal.cache_clear()
    monkeypatch.setattr(unprivileged, "_works", lambda prefix: False)
    assert mortal() == ()
    mortal.cache_clear()
