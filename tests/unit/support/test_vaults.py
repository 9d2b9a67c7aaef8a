"""A Vault without a daemon around it."""

from __future__ import annotations

import asyncio

import pytest

from ambassador.telemetry.metrics import Metrics
from tests.support.fake_vault import FakeVault
from tests.support.house import until
from tests.support.vaults import opened


async def test_it_logs_in_when_asked_and_leaves_nothing_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENED", "p")
    with FakeVault().login("auth/userpass/login/app", password="p") as server:
        metrics = Metrics()
        login = {"userpass": {"username": "app", "password_env": "OPENED"}}
        async with opened(server.url, login, metrics=metrics, name="v") as vault:
            assert [*server.contents.tokens] == [server.root]
            await vault.reach()
            assert len(server.contents.tokens) == 2
            assert dict(metrics.vaults())["v"].requests == {("login", "ok"): 1}
        assert [*server.contents.tokens] == [server.root]


async def test_one_that_is_kept_has_its_token_renewed(monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeVault() as server:
        monkeypatch.setenv("OPENED", server.token(ttl=2))
        async with opened(server.url, {"token": {"env": "OPENED"}}, kept=True) as vault:
            await vault.reach()
            await until("a renewal", lambda: bool(server.asked("auth/token/renew-self")))
            await asyncio.sleep(0)
