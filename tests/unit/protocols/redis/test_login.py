"""The server's side: the login in the credential's name, and what it learns."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest

from ambassador.config.address import Address
from ambassador.errors import Reason, UpstreamError
from ambassador.protocols.redis import login as login_module
from ambassador.protocols.redis.login import NAME, ServerFacts, login_to, warn_of
from ambassador.protocols.redis.options import RedisUpstreamOptions
from ambassador.upstreams.balance import ReadFrom
from ambassador.upstreams.endpoint import Endpoint, Role
from ambassador.upstreams.upstream import Attempt
from ambassador.wire.redis.commands import BUILT_IN, Code, classify
from ambassador.wire.redis.messages import Encodable, Protocol, array, bulk, encode, integer
from tests.support.fake_redis import FakeRedis
from tests.unit.protocols.redis.conftest import PATIENCE, MakeTable, Table

Logged = Callable[[], list[dict[str, Any]]]


async def learned(table: Table, protocol: Protocol = 2, database: int = 0, *, learn: bool = False) -> ServerFacts:
    """What a login learns."""
    async with asyncio.timeout(PATIENCE):
        lease = await table.upstream.lease(login_to(protocol, database, learn=learn))
    facts: ServerFacts = lease.connection.facts
    lease.release()
    await lease.stream.wait_closed(5)
    return facts


async def refused(table: Table, database: int = 0) -> UpstreamError:
    with pytest.raises(UpstreamError) as caught:
        await learned(table, 2, database)
    return caught.value


@pytest.mark.parametrize("protocol", [2, 3])
async def test_a_login_shows_the_credential_and_chooses_what_was_wished(
    make_table: MakeTable, fake: FakeRedis, password: str, protocol: Protocol
) -> None:
    fake.user("app", password)
    facts = await learned(make_table(password=password), protocol, 5)
    assert facts.hello is not None
    assert dict(facts.hello)[b"proto"] == protocol
    assert facts.commands is None
    assert fake.heard == [
        [b"AUTH", b"app", password.encode()],
        [b"HELLO", b"%d" % protocol],
        [b"SELECT", b"5"],
        [b"CLIENT", b"SETNAME", NAME.encode()],
    ]


async def test_without_a_credential_none_is_shown(table: Table, fake: FakeRedis) -> None:
    await learned(table)
    assert fake.asked("AUTH") == 0


async def test_a_server_without_hello_lets_in_too_and_tells_nothing(table: Table, fake: FakeRedis) -> None:
    fake.old()
    assert await learned(table) == ServerFacts(None, None)


async def test_a_wrong_password_and_an_unknown_database_are_told_apart(
    make_table: MakeTable, fake: FakeRedis, password: str
) -> None:
    fake.user("app", "another")
    error = await refused(make_table(password=password))
    assert (error.reason, error.code) == (Reason.UPSTREAM_LOGIN_REFUSED, "WRONGPASS")
    fake.user("app", password)
    error = await refused(make_table(password=password), database=99)
    assert (error.reason, error.code) == (Reason.UPSTREAM_REJECTED, "SELECT")


@pytest.mark.parametrize("moment", ["HELLO", "COMMAND"])
async def test_a_server_that_closes_meanwhile_says_so(table: Table, fake: FakeRedis, moment: str) -> None:
    fake.on(moment, act="close")
    with pytest.raises(UpstreamError, match="closed the connection") as caught:
        await learned(table, learn=True)
    assert caught.value.reason is Reason.UPSTREAM_CLOSED


async def test_more_than_was_asked_for_is_a_fault_of_the_server(table: Table, fake: FakeRedis) -> None:
    fake.on("CLIENT", raw=b"+OK\r\n+AND MORE\r\n")
    error = await refused(table)
    assert error.reason is Reason.UPSTREAM_BAD_MESSAGE
    assert "more than it was asked" in str(error)


# ---- the table of commands


async def test_a_server_that_does_not_tell_its_commands_is_no_worse(table: Table, fake: FakeRedis) -> None:
    assert (await learned(table, learn=True)).commands is None


async def test_a_table_is_read_however_it_comes(table: Table, fake: FakeRedis) -> None:
    flags = array([bulk(b"readonly")])
    entries = [
        array([bulk(b"cmd%d" % number), integer(2), flags, integer(1), integer(1), integer(1)])
        for number in range(3000)
    ]
    fake.on("COMMAND", raw=array(entries))
    commands = (await learned(table, learn=True)).commands
    assert commands is not None
    assert len(commands) == 3000
    assert classify(commands)[b"CMD7"] == 0


async def test_a_table_without_end_is_given_up(table: Table, fake: FakeRedis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(login_module, "TABLE_BYTES", 1000)
    fake.on("COMMAND", raw=b"*1000\r\n" + b"$100\r\n" + b"x" * 2000)
    with pytest.raises(UpstreamError, match="without end"):
        await learned(table, learn=True)


async def test_a_real_server_tells_of_everything(real: Table) -> None:
    commands = (await learned(real, 3, learn=True)).commands
    assert commands is not None
    assert {b"GET", b"HELLO", b"XREADGROUP"} <= commands.keys()
    assert len(commands) > 0.8 * len(BUILT_IN)
    assert classify(commands)[b"BLPOP"] == Code.BLOCKING


# ---- where a password may be shown


@pytest.mark.parametrize(
    ("where", "settings", "tls", "allowed"),
    [
        ("127.0.0.1", {}, False, True),
        ("unix", {}, False, True),
        ("10.0.0.1", {}, False, False),
        ("10.0.0.1", {}, True, True),
        ("10.0.0.1", {"allow": True}, False, True),
    ],
)
async def test_a_password_is_not_shown_to_whoever_listens(
    where: str, settings: dict[str, bool], tls: bool, allowed: bool
) -> None:
    attempt = mock.create_autospec(Attempt, instance=True)
    attempt.tls = object() if tls else None
    attempt.start_tls = mock.AsyncMock()
    attempt.stream = mock.Mock(tls=object() if tls else None)
    attempt.stream.read = mock.AsyncMock(return_value=b"")
    attempt.endpoint = mock.Mock()
    attempt.endpoint.address = mock.Mock(is_unix=where == "unix", is_loopback=where == "127.0.0.1")
    attempt.settings = mock.Mock(allow_cleartext_password=settings.get("allow", False))
    attempt.credential = mock.Mock(username="app")
    attempt.credential.password.reveal.return_value = b"secret"
    with pytest.raises(UpstreamError) as caught:
        await login_to(2, 0)(attempt)
    assert caught.value.reason is (Reason.UPSTREAM_CLOSED if allowed else Reason.UPSTREAM_UNSUPPORTED)
    assert attempt.stream.write.called is allowed
    assert attempt.start_tls.await_count == int(tls)


# ---- what the server is


def now_is(fake: FakeRedis, role: str) -> None:
    fake.on("HELLO", raw=encode(["server", "redis", "proto", 2, "role", role], 2))


def told(table: Table, role: Role | None) -> None:
    """Discovery says so of the server."""
    table.upstream.replace(tuple(Endpoint(endpoint.address, role) for endpoint in table.upstream.endpoints))


async def learned_at(table: Table, read_from: ReadFrom) -> ServerFacts:
    async with asyncio.timeout(PATIENCE):
        lease = await table.upstream.lease(login_to(2, 0), read_from=read_from)
    facts: ServerFacts = lease.connection.facts
    lease.release()
    await lease.stream.wait_closed(5)
    return facts


@pytest.mark.parametrize(("says", "role"), [("master", "primary"), ("replica", "replica"), ("slave", "replica")])
async def test_a_server_says_what_it_is(table: Table, fake: FakeRedis, says: str, role: str) -> None:
    now_is(fake, says)
    assert (await learned(table)).role == role


@pytest.mark.parametrize(
    "case",
    [
        ("master", "primary", None, True),
        ("replica", "primary", None, False),
        ("replica", "replica", "replica", True),
        ("master", "replica", "prefer-replica", False),
        ("master", "primary", "prefer-replica", True),
        ("sentinel", "primary", None, False),
        ("replica", None, None, True),
        ("replica", None, "primary", False),
        ("master", None, "replica", False),
        ("master", None, "prefer-replica", True),
        ("sentinel", None, "prefer-replica", True),
    ],
)
async def test_it_must_be_what_discovery_or_the_configuration_says(
    make_table: MakeTable, fake: FakeRedis, case: tuple[str, Role | None, ReadFrom | None, bool]
) -> None:
    says, discovered, read_from, fits = case
    now_is(fake, says)
    table = make_table(read_from=read_from)
    told(table, discovered)
    if fits:
        await learned_at(table, read_from or "primary")
        return
    with pytest.raises(UpstreamError, match=f"{fake.address} is (a |of no known role)") as caught:
        await learned_at(table, read_from or "primary")
    assert caught.value.reason is Reason.WRONG_ROLE


async def test_the_next_server_is_tried_when_one_is_not_what_is_wanted(make_table: MakeTable, fake: FakeRedis) -> None:
    now_is(fake, "replica")
    with FakeRedis() as primary:
        table = make_table(endpoints=(fake.address, primary.address), read_from="primary")
        assert (await learned(table)).role == "primary"
        assert (fake.accepted, primary.accepted) == (1, 1)


@pytest.mark.parametrize(("answer", "fits"), [(["slave"], True), (["master"], False), ([], False), ([7], False)])
async def test_a_server_without_hello_is_asked_for_its_role_where_that_matters(
    make_table: MakeTable, fake: FakeRedis, answer: list[Encodable], fits: bool
) -> None:
    fake.old().on("ROLE", raw=encode(answer, 2))
    assert (await learned(make_table())).role is None
    assert fake.asked("ROLE") == 0
    table = make_table(read_from="replica")
    if fits:
        assert (await learned(table)).role == "replica"
    else:
        assert (await refused(table)).reason is Reason.WRONG_ROLE
    assert fake.asked("ROLE") == 1


async def test_a_server_that_may_not_tell_its_role_is_not_the_one(make_table: MakeTable, fake: FakeRedis) -> None:
    fake.old().on("ROLE", raw=b"-NOPERM no\r\n")
    assert (await refused(make_table(read_from="replica"))).reason is Reason.WRONG_ROLE


# ---- what it is not


@pytest.mark.parametrize(
    ("mode", "cluster", "words"),
    [
        (b"standalone", False, ""),
        (b"cluster", False, "set redis: {cluster: true}"),
        (b"cluster", True, ""),
        (b"sentinel", False, "name it under discovery: sentinel"),
        (None, False, ""),
    ],
)
def test_a_server_that_is_another_than_it_is_taken_for_is_warned_of(
    logged: Logged, mode: bytes | None, cluster: bool, words: str
) -> None:
    facts = ServerFacts(None if mode is None else ((b"mode", mode),), None)
    warn_of(facts, Endpoint(Address.parse("db:6379")), RedisUpstreamOptions(cluster=cluster))
    lines = logged()
    assert len(lines) == bool(words)
    assert all(line["endpoint"] == "db:6379" and words in line["error"] for line in lines)
