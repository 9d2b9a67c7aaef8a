"""The verbs of the protocol, in the order in which a session uses them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from unittest import mock

import pytest

from ambassador.access.base import Principal, Refused
from ambassador.credentials.rotation import TrialResult
from ambassador.errors import ClientError, Overloaded, Reason, UpstreamError
from ambassador.net.relay import End
from ambassador.protocols.base import Hello, Link
from ambassador.protocols.postgres.link import PostgresLink
from ambassador.protocols.postgres.options import PostgresListenerOptions
from ambassador.protocols.postgres.protocol import Postgres
from ambassador.upstreams.pool import ServerConnection, State
from ambassador.upstreams.target import Target
from ambassador.upstreams.upstream import Upstream
from ambassador.wire.postgres import messages
from tests.support.fake_postgres import FakePostgres
from tests.unit.protocols.postgres.conftest import Front, MakeClient, MakeUpstream

Play = Callable[[Front], Awaitable[None]]


@pytest.fixture
def postgres() -> Postgres:
    return Postgres(PostgresListenerOptions(upstream="orders"), Postgres.make_shared())


class Attached:
    """What a session is shown."""

    def __init__(self) -> None:
        self.link: Link | None = None
        self.connection: ServerConnection | None = None

    def __call__(self, link: Link, connection: ServerConnection | None) -> None:
        self.link, self.connection = link, connection


async def session(postgres: Postgres, front: Front, target: Target, play: Play) -> tuple[End, Attached]:
    """A whole session, while the client plays its part."""
    attached = Attached()

    async def serve() -> End:
        hello, _ = await postgres.accept(front.side)
        return await postgres.relay(front.side, hello, target, attached)

    async with asyncio.timeout(5):
        serving = asyncio.ensure_future(serve())
        playing = asyncio.ensure_future(play(front))
        done, _ = await asyncio.wait({serving, playing}, return_when=asyncio.FIRST_EXCEPTION)
        if serving in done and serving.exception() is not None:
            playing.cancel()
        end = await serving
        await playing
        return end, attached


@pytest.fixture
async def front(make_front: MakeClient) -> Front:
    return await make_front()


# ---- accept


async def test_a_client_is_admitted_before_it_is_asked_who_it_is(postgres: Postgres, make_front: MakeClient) -> None:
    front = await make_front(Refused("no"))
    front.client.start()
    with pytest.raises(ClientError):
        await postgres.accept(front.side)
    assert front.admitted == 1


async def test_a_client_has_said_its_name_before_it_is_turned_away(postgres: Postgres, make_front: MakeClient) -> None:
    front = await make_front(Refused("no"))
    said: list[Hello] = []
    front.side.introduce = said.append
    front.client.start("mallory", database="shop")
    with pytest.raises(ClientError):
        await postgres.accept(front.side)
    assert [(hello.user, hello.database) for hello in said] == [("mallory", "shop")]


async def test_a_client_for_whom_there_is_no_room_is_not_asked(postgres: Postgres, front: Front) -> None:
    def full() -> None:
        raise Overloaded(Reason.TOO_MANY_CONNECTIONS, "full")

    front.side.admit = full
    front.client.start()
    with pytest.raises(Overloaded):
        await postgres.accept(front.side)
    front.side.access.identify.assert_not_called()  # type: ignore[attr-defined]  # a mock


async def test_a_cancel_request_needs_no_room(postgres: Postgres, front: Front) -> None:
    front.client.send(messages.cancel_request(1, b"key!"))
    with pytest.raises(ClientError) as caught:
        await postgres.accept(front.side)
    assert caught.value.reason is Reason.CANCEL_REQUEST
    assert front.admitted == 0


async def test_a_hello_says_what_the_client_asked_for(postgres: Postgres, front: Front) -> None:
    front.client.start("app", database="shop", options="-c a=b")
    hello, principal = await postgres.accept(front.side)
    assert (hello.user, hello.database) == ("app", "shop")
    assert hello.details.parameters == {"options": "-c a=b"}
    assert principal == Principal("app", "trust")


# ---- relay


async def test_a_client_is_joined_to_a_server_as_the_credential_s_user(
    postgres: Postgres, front: Front, fake: FakePostgres, make_upstream: MakeUpstream, password: str
) -> None:
    fake.user("real", password).setting("application_name", "tests")
    upstream = make_upstream(fake, password=password, options={"databases": {"shop": "orders"}})

    async def play(front: Front) -> None:
        facts = await front.client.log_in("app", database="shop", application_name="tests")
        assert facts.parameters["server_version"] == "17.0 (fake)"
        assert facts.status == b"I"
        assert (await front.client.query("select current_user")).rows == ["real"]
        assert (await front.client.query("select current_database()")).rows == ["orders"]
        front.client.send(messages.TERMINATE)

    end, attached = await session(postgres, front, Target(upstream), play)
    assert end.reason is Reason.CLIENT_CLOSED
    assert isinstance(attached.link, PostgresLink)
    assert attached.connection is not None
    assert attached.connection.credential_version == 1
    assert upstream.pool.count(State.LEASED) == 0
    assert front.side.requests[0].ok == 2
    assert fake.logins[0].parameters == {"application_name": "tests"}


@pytest.mark.parametrize(
    ("version", "size"), [(messages.PROTOCOL_3_0, 4), (messages.PROTOCOL_3_2, 32), (messages.PROTOCOL_3_2 + 7, 32)]
)
async def test_the_client_s_key_is_ours_and_dies_with_the_session(
    postgres: Postgres, front: Front, fake: FakePostgres, make_upstream: MakeUpstream, *, version: int, size: int
) -> None:
    keys: list[tuple[int, bytes]] = []

    async def play(front: Front) -> None:
        await front.client.log_in(version=version)
        keys.append((front.client.pid, front.client.key))
        (server,) = fake.sessions
        assert (server.pid, server.key) != keys[0]
        assert await postgres.shared.carry(*keys[0])
        assert fake.cancels == [(server.pid, server.key)]
        front.client.send(messages.TERMINATE)

    await session(postgres, front, Target(make_upstream(fake)), play)
    assert len(keys[0][1]) == size
    assert not await postgres.shared.carry(*keys[0])
    assert len(postgres.shared) == 0


async def test_what_a_client_sends_behind_its_startup_is_part_of_the_session(
    postgres: Postgres, front: Front, fake: FakePostgres, make_upstream: MakeUpstream
) -> None:
    async def play(front: Front) -> None:
        front.client.send(messages.startup_message({"user": "app"}) + messages.query("select 7") + messages.TERMINATE)
        await front.client.until(b"Z")
        assert (await front.client.result()).rows == ["7"]

    end, attached = await session(postgres, front, Target(make_upstream(fake)), play)
    assert end.reason is Reason.CLIENT_CLOSED
    assert attached.link is not None
    assert attached.link.bytes_in == len(messages.query("select 7") + messages.TERMINATE)


async def test_what_a_server_sends_behind_its_login_is_part_of_the_session(
    postgres: Postgres, front: Front, fake: FakePostgres, make_upstream: MakeUpstream
) -> None:
    notice = messages.message(b"N", b"SNOTICE\0C00000\0Mhello\0\0")
    fake.say_at("ready", messages.ready_for_query() + notice)

    async def play(front: Front) -> None:
        await front.client.log_in()
        assert (await front.client.message()) == (b"N", notice[5:])
        front.client.send(messages.TERMINATE)

    _, attached = await session(postgres, front, Target(make_upstream(fake)), play)
    assert attached.link is not None
    assert attached.link.bytes_out >= len(notice)


async def test_without_a_server_nothing_is_issued(
    postgres: Postgres, front: Front, fake: FakePostgres, make_upstream: MakeUpstream
) -> None:
    fake.refuse("53300")

    async def play(front: Front) -> None:
        front.client.start()

    with pytest.raises(UpstreamError):
        await session(postgres, front, Target(make_upstream(fake)), play)
    assert len(postgres.shared) == 0


async def test_an_upstream_of_another_protocol_is_a_fault_of_ours(postgres: Postgres, front: Front) -> None:
    front.client.start()
    hello, _ = await postgres.accept(front.side)
    upstream = mock.create_autospec(Upstream, instance=True)
    upstream.settings = mock.Mock(options=None)
    with pytest.raises(TypeError, match="postgres upstream"):
        await postgres.relay(front.side, hello, Target(upstream), Attached())


# ---- the server's role


async def logged_in_at(postgres: Postgres, front: Front, upstream: Upstream) -> str:
    async def play(front: Front) -> None:
        await front.client.log_in()
        front.client.send(messages.TERMINATE)

    _, attached = await session(postgres, front, Target(upstream), play)
    assert attached.connection is not None
    return str(attached.connection.endpoint)


@pytest.mark.parametrize("wanted", ["primary", "read-write"])
async def test_a_standby_is_passed_over_for_the_primary(
    postgres: Postgres, front: Front, make_upstream: MakeUpstream, wanted: str
) -> None:
    with FakePostgres().standby().read_only() as standby, FakePostgres() as primary:
        upstream = make_upstream(standby, primary, options={"target_session_attrs": wanted})
        assert await logged_in_at(postgres, front, upstream) == primary.address


async def test_a_standby_is_preferred_where_that_is_wished(
    postgres: Postgres, front: Front, make_upstream: MakeUpstream
) -> None:
    with FakePostgres() as primary, FakePostgres().standby() as standby:
        upstream = make_upstream(primary, standby, options={"target_session_attrs": "prefer-standby"})
        assert await logged_in_at(postgres, front, upstream) == standby.address


async def test_without_a_standby_the_primary_will_do(
    postgres: Postgres, front: Front, make_upstream: MakeUpstream
) -> None:
    with FakePostgres() as primary, FakePostgres() as gone:
        gone.refuse_connections()
        upstream = make_upstream(gone, primary, options={"target_session_attrs": "prefer-standby"})
        assert await logged_in_at(postgres, front, upstream) == primary.address


async def test_a_refused_credential_is_not_shown_twice_for_a_preference(
    postgres: Postgres, front: Front, fake: FakePostgres, make_upstream: MakeUpstream, password: str
) -> None:
    fake.user("real", "another")
    upstream = make_upstream(fake, password=password, options={"target_session_attrs": "prefer-standby"})
    with pytest.raises(UpstreamError) as caught:
        await logged_in_at(postgres, front, upstream)
    assert caught.value.reason is Reason.UPSTREAM_LOGIN_REFUSED
    assert fake.accepted == 1


# ---- trying a credential


@pytest.mark.parametrize(("right", "result"), [(True, TrialResult.ACCEPTED), (False, TrialResult.REFUSED)])
async def test_a_credential_is_tried_with_a_real_login(
    fake: FakePostgres, make_upstream: MakeUpstream, password: str, *, right: bool, result: TrialResult
) -> None:
    fake.user("real", password if right else "another").standby()
    upstream = make_upstream(fake, password=password, options={"target_session_attrs": "primary"})
    name = upstream.settings.credential
    assert name is not None
    credential = upstream._store.require(name)
    assert await upstream.trial(credential, Postgres.try_login) is result


async def test_a_trial_is_made_at_the_configured_database_or_the_user_s_own(
    fake: FakePostgres, make_upstream: MakeUpstream, password: str
) -> None:
    fake.user("real", password)
    for options in ({"database": "orders"}, {}):
        upstream = make_upstream(fake, password=password, options=options)
        credential = upstream._store.require("orders-db")
        assert await upstream.trial(credential, Postgres.try_login) is TrialResult.ACCEPTED
    assert [login.database for login in fake.logins] == ["orders", "real"]


@pytest.mark.parametrize("code", ["3D000", "42501"])
async def test_a_database_that_was_only_guessed_need_not_exist_nor_be_open_to_the_user(
    fake: FakePostgres, make_upstream: MakeUpstream, password: str, code: str
) -> None:
    fake.user("real", password).refuse(code, at="proof")
    guessed = make_upstream(fake, password=password)
    lease = await guessed.lease(Postgres.try_login)
    lease.release()
    await lease.stream.wait_closed(5)
    configured = make_upstream(fake, password=password, options={"database": "orders"})
    with pytest.raises(UpstreamError) as caught:
        await configured.lease(Postgres.try_login)
    assert caught.value.code == code


async def test_any_other_refusal_of_a_trial_is_one(
    fake: FakePostgres, make_upstream: MakeUpstream, password: str
) -> None:
    fake.user("real", password).refuse("53300", at="proof")
    with pytest.raises(UpstreamError):
        await make_upstream(fake, password=password).lease(Postgres.try_login)


async def test_where_there_is_no_credential_nobody_in_particular_logs_in(
    fake: FakePostgres, make_upstream: MakeUpstream
) -> None:
    attempt = mock.Mock(credential=None, settings=make_upstream(fake).settings)
    with mock.patch("ambassador.protocols.postgres.protocol.login", new_callable=mock.AsyncMock) as login:
        await Postgres.try_login(attempt)
    assert login.await_args is not None
    assert (login.await_args.args[1].user, login.await_args.args[1].attributes) == ("", "any")


# ---- refuse


def test_a_refusal_is_an_error_of_postgresql(postgres: Postgres) -> None:
    error = UpstreamError(Reason.CONNECT_FAILED, "10.0.0.7 is down")
    assert messages.parse_error(postgres.refuse(error, reveal=False)[5:]).code == "08001"
    assert b"10.0.0.7" in postgres.refuse(error, reveal=True)


def test_what_the_session_needs_to_know_of_it() -> None:
    assert Postgres.negotiates_tls
    assert Postgres.logs_in
    assert Postgres.alpn == ("postgresql",)
    assert Postgres.request_kinds == ("transaction",)
