"""A token is kept alive, and whoever depends on it hears in time when it cannot be."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ambassador.credentials.vault.upkeep import Upkeep
from ambassador.kit.clock import SYSTEM
from tests.support.clock import ManualClock
from tests.support.fake_vault import FakeVault
from tests.support.house import until
from tests.support.openbao import OpenBao
from tests.support.vaults import LOGIN, at, counted, opened

Logged = Callable[[], list[dict[str, Any]]]


async def renewals(server: FakeVault, number: int) -> None:
    """Wait for the threads, which know nothing of the clock by hand."""
    await until(f"renewal {number}", lambda: counted(server, "auth/token/renew-self") >= number)
    await asyncio.sleep(0.05)


async def test_it_is_renewed_at_about_two_thirds_and_again_and_again(server: FakeVault, clock: ManualClock) -> None:
    async with at(server, clock, kept=True) as found:
        await found.vault.reach()
        token = found.vault.token
        assert token is not None
        for number in range(1, 4):
            await clock.advance(0.59 * 3600 - (clock.now() - token.term.granted_at))
            assert counted(server, "auth/token/renew-self") == number - 1
            await clock.advance(0.08 * 3600)
            await renewals(server, number)
            assert found.vault.token is token
            # From when it was asked for.
            assert token.term.ends_at == pytest.approx(clock.now() + 3600, abs=0.08 * 3600)
            assert found.metrics.token_expires == pytest.approx(clock.wall() + token.term.ends_at - clock.now())
        assert counted(server, LOGIN) == 1


async def test_near_its_maximum_it_is_replaced_while_the_old_one_still_works(
    server: FakeVault, clock: ManualClock
) -> None:
    told = []
    server.on("auth/token/renew-self", change=lambda said: said | {"auth": said["auth"] | {"lease_duration": 1000}})
    async with at(server, clock, kept=True) as found:
        found.vault.on_token(lambda: told.append(1))
        await found.vault.reach()
        first = found.shown
        await clock.advance(0.67 * 3600)
        await renewals(server, 1)
        assert (found.shown, told) == (first, [])
        await clock.advance(670)
        await until("another token", lambda: found.shown != first)
        assert told == [1]
        assert first in server.contents.tokens


async def test_one_that_will_not_be_renewed_is_replaced(server: FakeVault, clock: ManualClock) -> None:
    server.login(LOGIN, password="open", renewable=False)
    async with at(server, clock, kept=True) as found:
        await found.vault.reach()
        first = found.shown
        await clock.advance(0.67 * 3600)
        await until("another token", lambda: found.shown != first)
        assert counted(server, "auth/token/renew-self") == 0


@pytest.mark.parametrize("status", [400, 403, 500])
async def test_one_whose_renewal_is_refused_in_whatever_way_is_replaced(
    server: FakeVault, clock: ManualClock, status: int
) -> None:
    async with at(server, clock, kept=True) as found:
        await found.vault.reach()
        first = found.shown
        server.on("auth/token/renew-self", status=status, errors=["past the max TTL, cannot renew"])
        await clock.advance(0.67 * 3600)
        await until("another token", lambda: found.shown != first)
        assert counted(server, "auth/token/renew-self") == 1


async def test_while_the_vault_is_away_it_is_kept_and_few_requests_are_made(
    server: FakeVault, clock: ManualClock
) -> None:
    async with at(server, clock, kept=True) as found:
        await found.vault.reach()
        first = found.shown
        server.seal()
        for _ in range(300):
            await clock.advance(10)
            await asyncio.sleep(0.002)
        assert found.shown == first
        assert 5 < len(server.asked()) < 200
        server.unseal()
        for _ in range(200):  # its requests take time that this clock does not know of
            await clock.advance(10)
            await asyncio.sleep(0.01)
            if found.vault.trouble is None:
                break
        assert found.vault.trouble is None
        assert found.vault.token is not None
        assert found.vault.token.term.ends_at > clock.now()


@pytest.mark.parametrize("granted", [0, None, "1h", -5])
async def test_a_renewal_that_grants_nothing_is_none(server: FakeVault, clock: ManualClock, granted: Any) -> None:
    async with at(server, clock, kept=True) as found:
        await found.vault.reach()
        assert found.vault.token is not None
        term = found.vault.token.term
        server.on("auth/token/renew-self", body=f'{{"auth": {{"lease_duration": {json(granted)}}}}}')
        await clock.advance(0.67 * 3600)
        await until("it to be asked for", lambda: len(server.asked("auth/token/renew-self")) >= 1)
        assert found.vault.token.term is term
        server.as_usual()
        for _ in range(200):  # its requests take time that this clock does not know of
            await clock.advance(10)
            await asyncio.sleep(0.01)
            if found.vault.token.term is not term:
                break
        assert found.vault.token.term.granted_at > term.granted_at


def json(value: Any) -> str:
    return {None: "null", "1h": '"1h"'}.get(value, str(value))


async def test_one_that_was_given_to_us_and_meets_its_maximum_is_looked_up_and_not_in_a_busy_loop(
    server: FakeVault, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIVEN", server.token(ttl=3600))
    server.on("auth/token/renew-self", change=lambda said: said | {"auth": said["auth"] | {"lease_duration": 1000}})
    async with opened(server.url, {"token": {"env": "GIVEN"}}, clock=clock, kept=True) as vault:
        await vault.reach()
        token = vault.token
        assert token is not None
        for _ in range(40):
            await clock.advance(90)
            await asyncio.sleep(0.01)
        assert vault.token is token
        assert 2 < len(server.asked()) < 20


async def test_one_that_was_given_to_us_is_said_to_end_once_though_renewals_grant_what_is_left(
    openbao: OpenBao, monkeypatch: pytest.MonkeyPatch, logged: Logged
) -> None:
    monkeypatch.setenv("GIVEN", openbao.token(ttl=4, explicit_max_ttl=6))
    async with opened(openbao.url, {"token": {"env": "GIVEN"}}, kept=True) as vault:
        await vault.reach()
        token = vault.token
        assert token is not None
        end = SYSTEM.now() + 6
        told: list[float] = []
        vault.on_token(lambda: told.append(token.ends_at))
        await until("its end to be known", lambda: bool(told), timeout=8)
        assert told == [pytest.approx(end, abs=1.5)]
        await asyncio.sleep(0.5)
        assert (len(told), len(warned(logged()))) == (1, 1)


async def test_one_without_an_end_is_left_alone(
    server: FakeVault, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIVEN", server.root)
    endless = {"expire_time": None, "ttl": 0}
    server.on("auth/token/lookup-self", change=lambda said: said | {"data": said["data"] | endless})
    async with opened(server.url, {"token": {"env": "GIVEN"}}, clock=clock, kept=True) as vault:
        await vault.reach()
        await clock.advance(1e7)
        assert len(server.asked()) == 1


async def test_a_file_s_token_is_left_to_whoever_keeps_it(
    server: FakeVault, clock: ManualClock, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text(server.token(ttl=600))
    async with opened(server.url, {"token_file": {"path": tmp_path / "token"}}, clock=clock, kept=True) as vault:
        await vault.reach()
        for _ in range(60):
            await clock.advance(10)
            await asyncio.sleep(0.002)
        assert {request.path for request in server.asked()} == {"auth/token/lookup-self"}
        await clock.advance(3600)
        assert len(server.asked()) < 20


async def test_nobody_cares_for_what_was_never_needed(server: FakeVault, clock: ManualClock) -> None:
    async with at(server, clock, kept=True):
        await clock.advance(1e6)
    assert server.asked() == []


async def test_renewals_of_many_daemons_are_spread(server: FakeVault, clock: ManualClock) -> None:
    async with at(server, clock) as found:
        await found.vault.reach()
        token = found.vault.token
        assert token is not None
        moments = {Upkeep(found.vault, random.Random(seed)).due_at(token) for seed in range(20)}
        assert len(moments) == 20
        assert all(0.6 <= (moment - token.term.granted_at) / token.term.duration <= 2 / 3 for moment in moments)


# What comes of it when it cannot be kept alive


def warned(lines: list[dict[str, Any]]) -> list[str]:
    """What was said of a token that was not renewed."""
    return [line["error"] for line in lines if line["event"] == "vault token not renewed"]


async def test_while_the_vault_is_away_its_end_is_known_and_told_once_and_then_taken_back(
    server: FakeVault, clock: ManualClock, logged: Logged
) -> None:
    told: list[float] = []
    async with at(server, clock, kept=True) as found:
        await found.vault.reach()
        token = found.vault.token
        assert token is not None
        found.vault.on_token(lambda: told.append(token.ends_at))
        end = token.term.ends_at
        assert token.ends_at == float("inf")
        server.seal()
        for _ in range(60):
            await clock.advance(60)
            await asyncio.sleep(0.005)
            if clock.now() > end - 600:
                break
        assert told == [end]
        assert token.ends_at == end
        (said,) = warned(logged())
        assert "sealed" in said
        server.unseal()
        await until_kept(clock, lambda: token.trouble is None)
        assert told == [end, float("inf")]
        assert token.term.ends_at > end


async def test_at_its_maximum_without_another_login_its_end_is_known_in_time(
    server: FakeVault, clock: ManualClock, logged: Logged
) -> None:
    server.on("auth/token/renew-self", change=lambda said: said | {"auth": said["auth"] | {"lease_duration": 1000}})
    async with at(server, clock, kept=True) as found:
        await found.vault.reach()
        token = found.vault.token
        assert token is not None
        await clock.advance(0.67 * 3600)
        await renewals(server, 1)
        assert token.ends_at == float("inf")
        server.on(LOGIN, status=400, errors=["invalid username or password"])
        await clock.advance(670)
        await until("its end to be known", lambda: token.trouble is not None)
        assert token.ends_at == token.term.ends_at > clock.now() + 60
        assert "to log in (userpass user app)" in warned(logged())[-1]
        assert not token.replaced


async def test_one_that_another_has_replaced_ends_at_its_own_time(server: FakeVault, clock: ManualClock) -> None:
    async with at(server, clock, kept=True) as found:
        await found.vault.reach()
        token = found.vault.token
        assert token is not None
        server.revoke(found.shown or "")
        await found.read()
        assert found.vault.token is not token
        assert (token.replaced, token.ends_at) == (True, token.term.ends_at)


async def test_one_that_others_renew_is_seen_to_be(server: FakeVault, clock: ManualClock, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(server.token(ttl=600))
    async with opened(server.url, {"token_file": {"path": tmp_path / "token"}}, clock=clock, kept=True) as vault:
        await vault.reach()
        token = vault.token
        assert token is not None
        before = token.term.ends_at
        await clock.advance(530)  # the fake's own clock has hardly moved: 600 s are left
        await until("another look", lambda: token.term.ends_at > before)
        assert (vault.token is token, token.trouble) == (True, None)


async def test_one_that_nobody_renews_is_said_to_end(
    server: FakeVault, clock: ManualClock, tmp_path: Path, logged: Logged
) -> None:
    (tmp_path / "token").write_text(server.token(ttl=600))
    server.on("auth/token/lookup-self", change=lambda said: said | {"data": said["data"] | {"ttl": left()}})

    def left() -> int:
        return max(1, round(600 - (clock.now() - began)))

    began = clock.now()
    async with opened(server.url, {"token_file": {"path": tmp_path / "token"}}, clock=clock, kept=True) as vault:
        await vault.reach()
        token = vault.token
        assert token is not None
        await clock.advance(530)
        await until("the trouble to be seen", lambda: token.trouble is not None)
        assert token.ends_at == pytest.approx(began + 600, abs=60)
        assert warned(logged()) == [f"vault 'main': our token is about to end: token file {tmp_path / 'token'}"]


async def test_one_that_is_granted_what_is_left_while_it_is_in_trouble_is_replaced_at_once(
    server: FakeVault, clock: ManualClock
) -> None:
    server.on("auth/token/renew-self", change=lambda said: said | {"auth": said["auth"] | {"lease_duration": 1000}})
    async with at(server, clock, kept=True) as found:
        await found.vault.reach()
        first, token = found.shown, found.vault.token
        assert token is not None
        found.vault.worry(token, "it was not reached")
        await clock.advance(0.67 * 3600)
        await until("another token", lambda: found.shown != first)
        assert token.replaced


async def test_what_others_renew_is_looked_at_when_they_should_have(
    server: FakeVault, clock: ManualClock, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text(server.token(ttl=600))
    async with opened(server.url, {"token_file": {"path": tmp_path / "token"}}, clock=clock) as vault:
        await vault.reach()
        assert vault.token is not None
        assert 480 < Upkeep(vault).due_at(vault.token) - clock.now() < 540


async def test_a_look_in_its_last_second_is_no_renewal(server: FakeVault, clock: ManualClock, tmp_path: Path) -> None:
    """A Vault tells whole seconds: of less than one that there are none, which is taken for one."""
    (tmp_path / "token").write_text(server.token(ttl=600))
    async with opened(server.url, {"token_file": {"path": tmp_path / "token"}}, clock=clock) as vault:
        await vault.reach()
        token = vault.token
        assert token is not None
        vault.worry(token, "about to end")
        server.on("auth/token/lookup-self", change=lambda said: said | {"data": said["data"] | {"ttl": 0}})
        await clock.advance(token.term.ends_at - clock.now() + 0.9)
        assert await vault.log_in(token) is token
        assert token.trouble == "about to end"


async def until_kept(clock: ManualClock, well: Callable[[], bool]) -> None:
    """Let time pass, for what asks in threads that know nothing of it."""
    for _ in range(200):
        if well():
            return
        await clock.advance(10)
        await asyncio.sleep(0.01)
    raise AssertionError("it never came")
