"""One Sentinel: logging in to it, asking, listening, and what is done when it does not answer."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

import pytest

from ambassador.discovery import lookout
from ambassador.protocols.redis.login import login_to
from ambassador.telemetry import logs
from ambassador.upstreams.upstream import Attempt, Login
from tests.support.certificates import Authority
from tests.support.fake_sentinel import FakeSentinel
from tests.support.house import until
from tests.unit.discovery.conftest import NEW, OLD, Trio


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Level and event of every line about Sentinels."""
    lines: list[tuple[str, str]] = []

    def note(level: str, event: str) -> None:
        if event.startswith("sentinel"):
            lines.append((level, event))

    for level in ("debug", "info", "warning", "error"):
        monkeypatch.setattr(logs.Log, level, lambda _, event, level=level, **__: note(level, event))
    return lines


@pytest.fixture
def first(trio: Trio) -> FakeSentinel:
    """The only one that is asked."""
    one = trio.sentinels[0]
    one.others = {}
    return one


async def test_it_shows_the_credential_of_the_sentinels(trio: Trio, first: FakeSentinel) -> None:
    first.password = "right"
    trio.put("right")
    async with trio.watching(endpoints=[first.address], credential="guard"):
        await until("the first set", lambda: bool(trio.found))
    assert first.logins == ["right"]


async def test_a_new_credential_is_shown_on_a_new_connection(trio: Trio, first: FakeSentinel) -> None:
    first.password = "old"
    before = trio.put("old")
    async with trio.watching(endpoints=[first.address], credential="guard"):
        await until("it to be followed", lambda: first.listeners == 1)
        trio.store.put(before)  # a renewal
        first.password = "new"
        trio.put("new")
        await until("the new one to be shown", lambda: first.logins == ["old", "new"] and first.listeners == 1)
        assert first.connections == 1
    assert trio.found == ["1 | 2 3"]


async def test_one_that_comes_during_the_login_is_shown_at_once(
    trio: Trio, first: FakeSentinel, monkeypatch: pytest.MonkeyPatch
) -> None:
    first.password = "old"
    trio.put("old")

    def overtaken(*words: Any) -> Login:
        log_in = login_to(*words)

        async def run(attempt: Attempt) -> Any:
            facts = await log_in(attempt)
            if first.password == "old":
                first.password = "new"
                trio.put("new")
            return facts

        return run

    monkeypatch.setattr(lookout, "login_to", overtaken)
    async with trio.watching(endpoints=[first.address], credential="guard"):
        await until("the new one to be shown", lambda: first.logins == ["old", "new"] and first.listeners == 1)
        assert (trio.store.in_use("guard", 1), trio.store.in_use("guard", 2)) == (0, 1)
    assert not trio.store.has_users("guard")


async def test_a_refused_login_is_tried_again_later(
    trio: Trio, first: FakeSentinel, said: list[tuple[str, str]]
) -> None:
    first.password = "right"
    trio.put("wrong")
    async with trio.watching(endpoints=[first.address], credential="guard") as discovery:
        await until("it to fail", lambda: bool(discovery.trouble))
        assert "refused" in discovery.trouble
        trio.put("right")
        await until("it to be let in", lambda: bool(trio.found))
    assert said == [("warning", "sentinel away"), ("info", "sentinel found")]


async def test_one_that_goes_is_said_once_and_so_is_its_return(
    trio: Trio, first: FakeSentinel, said: list[tuple[str, str]]
) -> None:
    async with trio.watching(endpoints=[first.address]) as discovery:
        await until("it to be followed", lambda: bool(trio.found))
        await first.stop()
        await until("it to be missed", lambda: "refused" in discovery.trouble)
        await first.start()
        await until("it to be back", lambda: not discovery.trouble)
    assert said == [("info", "sentinel found"), ("warning", "sentinel away"), ("info", "sentinel found")]


async def test_one_that_falls_silent_is_given_up_in_time(trio: Trio, first: FakeSentinel) -> None:
    async with trio.watching(endpoints=[first.address], poll=0.05, timeout=0.2) as discovery:
        await until("it to be followed", lambda: first.listeners == 1)
        first.silent = True
        await until("it to be missed", lambda: bool(discovery.trouble))
        first.silent = False
        await until("it to be back", lambda: not discovery.trouble)
    assert trio.found == ["1 | 2 3"]


async def test_one_that_refuses_to_answer_is_asked_again_later(trio: Trio, first: FakeSentinel) -> None:
    first.refused = {"REPLICAS"}
    async with trio.watching(endpoints=[first.address]) as discovery:
        await until("it to fail", lambda: "NOPERM" in discovery.trouble)
        first.refused = set()
        await until("it to answer", lambda: bool(trio.found))


async def test_one_that_knows_no_such_master_says_so(trio: Trio, first: FakeSentinel) -> None:
    async with trio.watching(endpoints=[first.address], master="other") as discovery:
        await until("it to fail", lambda: "knows no master called 'other'" in discovery.trouble)


async def test_without_events_it_is_asked_from_time_to_time(
    trio: Trio, first: FakeSentinel, said: list[tuple[str, str]]
) -> None:
    first.refused = {"SUBSCRIBE"}
    async with trio.watching(endpoints=[first.address], poll=0.05):
        await until("the first set", lambda: bool(trio.found))
        first.switch(NEW)
        await until("the switch", lambda: trio.found[-1] == "2 | 3")
        await until("more rounds", lambda: first.asked > 4)
    assert said.count(("warning", "sentinel deaf")) == 1


async def test_of_learned_ones_that_are_away_only_a_debug_line_tells(
    trio: Trio, first: FakeSentinel, said: list[tuple[str, str]]
) -> None:
    gone = FakeSentinel("z", OLD, port=1)
    first.others = {"z": gone}
    async with trio.watching(endpoints=[first.address]):
        await until("it to be tried", lambda: ("debug", "sentinel away") in said)
    assert ("warning", "sentinel away") not in said


async def test_tls_is_verified(trio: Trio, first: FakeSentinel, authority: Authority) -> None:
    pair = authority.server("sentinel.example.com")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.cert, pair.key)
    real = FakeSentinel("t", first.address)
    server = await asyncio.start_server(real._serve, "127.0.0.1", 0, ssl=context)
    address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        async with trio.watching(endpoints=[address], tls={"ca": str(authority.file)}) as discovery:
            await until("it to fail", lambda: "TLS" in discovery.trouble)
        assert trio.found == []
        named = {"ca": str(authority.file), "server_name": "sentinel.example.com"}
        async with trio.watching(endpoints=[address], tls=named):
            await until("the first set", lambda: bool(trio.found))
        await until("it to be left", lambda: not real.connections)
    finally:
        server.close()
        await server.wait_closed()
