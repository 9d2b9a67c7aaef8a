"""A fake Vault that lets us in."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.clock import ManualClock
from tests.support.fake_vault import FakeVault
from tests.support.vaults import LOGIN


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeVault]:
    """Lets in whoever is `app`, for an hour at a time; has one secret."""
    monkeypatch.setenv("DOOR", "open")
    with FakeVault().login(LOGIN, password="open").key_value("kv", 1) as found:
        found.put("kv", "app", username="u")
        yield found


@pytest.fixture
def clock() -> ManualClock:
    """One that stands still."""
    return ManualClock()
