from __future__ import annotations

import dataclasses
import inspect

import pytest

from ambassador.admin import daemon
from ambassador.runtime.daemon import Daemon as RunningDaemon


def test_a_result_cannot_be_changed_once_told() -> None:
    result = daemon.ReloadResult(applied=True, message="applied")
    assert (result.faults, result.restart_needed) == ((), ())
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.applied = False  # type: ignore[misc]  # what must fail


def test_the_running_daemon_has_every_verb_that_is_asked_of_it() -> None:
    verbs = {name: verb for name, verb in vars(daemon.Daemon).items() if not name.startswith("_")}
    assert set(verbs) == {"metrics", "snapshot", "held", "started", "reload", "drain", "quit", "set_log_level"}
    for name, verb in verbs.items():
        fulfilled = getattr(RunningDaemon, name)
        assert inspect.iscoroutinefunction(fulfilled) is inspect.iscoroutinefunction(verb)
