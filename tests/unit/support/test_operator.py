from __future__ import annotations

import dataclasses

import pytest

from ambassador.admin.daemon import Daemon
from tests.support.operator import NotedDaemon, full_snapshot


def test_the_full_snapshot_leaves_nothing_empty_but_what_is_held() -> None:
    snapshot = full_snapshot()
    assert [f.name for f in dataclasses.fields(snapshot) if not getattr(snapshot, f.name)] == ["held"]


async def test_a_noted_daemon_does_what_the_admin_room_asks_and_notes_it() -> None:
    daemon = NotedDaemon()
    asked: Daemon = daemon
    assert (await asked.reload()).applied
    asked.drain()
    asked.quit()
    asked.set_log_level("debug")
    assert daemon.asked == ["reload", "drain", "quit", "loglevel debug"]


def test_a_noted_daemon_fails_when_told_to() -> None:
    with pytest.raises(ZeroDivisionError):
        NotedDaemon(fault=ZeroDivisionError()).snapshot()
