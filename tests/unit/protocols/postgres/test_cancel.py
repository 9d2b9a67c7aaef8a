"""Cancel keys of our own, and carrying a cancel to the one session it is meant for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from unittest import mock

import pytest

from ambassador.protocols.postgres import cancel as module
from ambassador.protocols.postgres.cancel import LONG_KEY, MOST_AT_ONCE, SHORT_KEY, CancelKey, CancelKeys
from ambassador.upstreams.target import Target
from ambassador.upstreams.upstream import Upstream
from tests.support.certificates import Authority
from tests.support.fake_postgres import FakePostgres
from tests.support.house import until
from tests.unit.protocols.postgres.conftest import MakeUpstream

SERVER_PID, SERVER_KEY = 4711, b"\x00\xff\x80\x01"

Issue = Callable[..., CancelKey]


@pytest.fixture
def keys() -> CancelKeys:
    return CancelKeys()


@pytest.fixture
def issue(keys: CancelKeys, fake: FakePostgres, make_upstream: MakeUpstream) -> Issue:
    """Makes a key for a session at the fake server."""

    def make(upstream: Upstream | None = None, preamble: bytes = b"", size: int = SHORT_KEY) -> CancelKey:
        behind = upstream or make_upstream(fake)
        return keys.issue(size, Target(behind, preamble), behind.endpoints[0], SERVER_PID, SERVER_KEY)

    return make


async def test_a_key_is_carried_as_the_server_s_own(keys: CancelKeys, issue: Issue, fake: FakePostgres) -> None:
    key = issue()
    assert await keys.carry(key.pid, key.secret)
    assert fake.cancels == [(SERVER_PID, SERVER_KEY)]


@pytest.mark.parametrize("size", [SHORT_KEY, LONG_KEY])
async def test_keys_are_as_long_as_the_protocol_s_version_allows_and_never_alike(issue: Issue, size: int) -> None:
    made = [issue(size=size) for _ in range(50)]
    assert {len(key.secret) for key in made} == {size}
    assert len({key.secret for key in made}) == len({key.pid for key in made}) == 50
    assert all(0 < key.pid < 1 << 31 for key in made)
    assert SERVER_KEY not in {key.secret for key in made}


async def test_a_process_id_in_use_is_not_given_twice(
    keys: CancelKeys, issue: Issue, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = iter([7, 7, 7, 8])
    monkeypatch.setattr(module, "_fresh_pid", lambda: next(drawn))
    assert (issue().pid, issue().pid) == (7, 8)
    assert len(keys) == 2


@pytest.mark.parametrize(
    "wrong", [b"", b"\0\0\0\0", b"short", b"x" * LONG_KEY], ids=["empty", "zeroes", "other length", "long"]
)
async def test_a_wrong_secret_is_dropped(keys: CancelKeys, issue: Issue, fake: FakePostgres, wrong: bytes) -> None:
    key = issue()
    assert not await keys.carry(key.pid, wrong)
    assert not await keys.carry(key.pid, key.secret[:-1])
    assert not await keys.carry(key.pid, key.secret + b"\0")
    assert fake.accepted == 0


async def test_an_unknown_process_id_is_dropped(keys: CancelKeys, issue: Issue, fake: FakePostgres) -> None:
    key = issue()
    assert not await keys.carry(key.pid ^ 1, key.secret)
    assert fake.accepted == 0


async def test_a_retired_key_cancels_nothing_and_is_forgotten(
    keys: CancelKeys, issue: Issue, fake: FakePostgres
) -> None:
    key = issue()
    keys.retire(key)
    keys.retire(key)
    assert not await keys.carry(key.pid, key.secret)
    assert fake.accepted == len(keys) == 0


async def test_the_server_s_own_key_is_none_of_ours(keys: CancelKeys, issue: Issue, fake: FakePostgres) -> None:
    issue()
    assert not await keys.carry(SERVER_PID, SERVER_KEY)
    assert fake.accepted == 0


async def test_a_cancel_waits_until_the_server_has_closed(keys: CancelKeys, issue: Issue, fake: FakePostgres) -> None:
    fake.hang_at("connect")
    key = issue()
    carrying = asyncio.create_task(keys.carry(key.pid, key.secret))
    await until("the server to be connected to", lambda: fake.connections == 1)
    await asyncio.sleep(0.05)
    assert not carrying.done()
    fake.hang_up()
    assert await carrying


async def test_a_server_that_cannot_be_reached_makes_no_noise(
    keys: CancelKeys, issue: Issue, fake: FakePostgres
) -> None:
    key = issue()
    fake.refuse_connections()
    assert not await keys.carry(key.pid, key.secret)


async def test_what_a_server_says_to_a_cancel_is_of_no_interest(
    keys: CancelKeys, issue: Issue, fake: FakePostgres
) -> None:
    fake.say_at("connect", b"something", "hang")
    key = issue()
    carrying = asyncio.create_task(keys.carry(key.pid, key.secret))
    await until("the server to be connected to", lambda: fake.connections == 1)
    await asyncio.sleep(0.05)
    fake.hang_up()
    assert await carrying


async def test_a_server_that_resets_makes_no_noise(keys: CancelKeys, issue: Issue, fake: FakePostgres) -> None:
    fake.reset_at("connect")
    key = issue()
    assert not await keys.carry(key.pid, key.secret)


@pytest.mark.parametrize("negotiation", ["postgres", "direct"])
async def test_a_cancel_is_encrypted_like_its_session(
    keys: CancelKeys,
    issue: Issue,
    fake: FakePostgres,
    make_upstream: MakeUpstream,
    authority: Authority,
    *,
    negotiation: str,
) -> None:
    fake.tls(authority.server("127.0.0.1"))
    key = issue(make_upstream(fake, tls={}, options={"tls_negotiation": negotiation}))
    assert await keys.carry(key.pid, key.secret)
    assert fake.cancels == [(SERVER_PID, SERVER_KEY)]


async def test_a_server_that_refuses_tls_gets_no_key_in_the_clear(
    keys: CancelKeys, issue: Issue, fake: FakePostgres, make_upstream: MakeUpstream
) -> None:
    key = issue(make_upstream(fake, tls={}))
    assert not await keys.carry(key.pid, key.secret)
    assert fake.cancels == []


async def test_a_cancel_begins_with_the_same_header_as_its_session(
    keys: CancelKeys, issue: Issue, fake: FakePostgres
) -> None:
    fake.proxied()
    key = issue(preamble=b"PROXY UNKNOWN\r\n")
    assert await keys.carry(key.pid, key.secret)
    assert fake.cancels == [(SERVER_PID, SERVER_KEY)]


async def test_so_many_are_carried_at_once_and_the_rest_wait_their_turn(
    keys: CancelKeys, issue: Issue, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_go = asyncio.Event()
    under_way: list[CancelKey] = []

    async def deliver(key: CancelKey) -> None:
        under_way.append(key)
        await let_go.wait()

    monkeypatch.setattr(module, "_deliver", deliver)
    made = [issue(mock.create_autospec(Upstream, instance=True, endpoints=[None])) for _ in range(MOST_AT_ONCE + 2)]
    carrying = [asyncio.create_task(keys.carry(key.pid, key.secret)) for key in made]
    await asyncio.sleep(0.01)
    assert len(under_way) == MOST_AT_ONCE
    keys.retire(made[-1])
    let_go.set()
    assert await asyncio.gather(*carrying) == [True] * (MOST_AT_ONCE + 1) + [False]
    assert made[-1] not in under_way, "its session ended while it waited"
