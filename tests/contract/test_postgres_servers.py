"""What a PostgreSQL server does, asked of the real ones and of the fake, each with and without an ambassador before it.

A fake that fails here would make every scenario that rests on it worthless.
"""

from __future__ import annotations

import asyncio
import ssl
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from ambassador.errors import Reason, UpstreamError
from ambassador.wire.postgres import messages
from tests.support.certificates import Authority
from tests.support.fake_postgres import FakePostgres
from tests.support.house import House
from tests.support.pgclient import PgClient
from tests.support.postgres import TLS_VERSIONS, VERSIONS, PostgresServer, Role, Servers, new_role
from tests.support.secrets import SecretDir, canary

DATABASE = "postgres"


class Server(ABC):
    """A server with one role of the test's own."""

    address: str
    role: Role

    @abstractmethod
    def user_seen(self) -> str:
        """Whom the last client was logged in as."""


class Real(Server):
    def __init__(self, server: PostgresServer) -> None:
        self.address = f"{server.host}:{server.port}"
        self.role = new_role(server)

    def user_seen(self) -> str:
        return self.role.name


class Fake(Server):
    def __init__(self, server: FakePostgres) -> None:
        self.address = server.address
        self.role = Role("role_of_the_fake", canary("password"))
        self._server = server
        server.user(self.role.name, self.role.password).database(DATABASE)

    def user_seen(self) -> str:
        return self._server.logins[-1].user


KINDS = ["fake", *(str(version) for version in VERSIONS)]
TLS_KINDS = ["fake", *(str(version) for version in TLS_VERSIONS)]


@pytest.fixture(params=KINDS)
def server(request: pytest.FixtureRequest, servers: Servers) -> Iterator[Server]:
    """Each kind of server in turn."""
    if request.param != "fake":
        yield Real(servers.get(int(request.param)))
        return
    with FakePostgres() as fake:
        yield Fake(fake)


@pytest.fixture(params=TLS_KINDS)
def server_tls(request: pytest.FixtureRequest, servers: Servers, authority: Authority) -> Iterator[Server]:
    """Each kind of server that speaks TLS."""
    if request.param != "fake":
        yield Real(servers.get(int(request.param), tls=True))
        return
    with FakePostgres() as fake:
        fake.tls(authority.server("localhost", "127.0.0.1"))
        yield Fake(fake)


@pytest.fixture
def trusting(authority: Authority) -> ssl.SSLContext:
    """A client that trusts the CA of the run."""
    return ssl.create_default_context(cafile=str(authority.file))


@pytest.fixture(params=["alone", "behind an ambassador"])
async def client(request: pytest.FixtureRequest, server: Server, tmp_path: Path) -> AsyncIterator[PgClient]:
    """A client that is logged in, at the server itself or through an ambassador."""
    if request.param == "alone":
        async with PgClient(server.address) as made:
            await made.log_in(server.role.name, server.role.password, database=DATABASE)
            yield made
        return
    async with ambassador(server, tmp_path) as address, PgClient(address) as made:
        await made.log_in("application", database=DATABASE)
        yield made


@asynccontextmanager
async def ambassador(server: Server, directory: Path) -> AsyncIterator[str]:
    """An ambassador that logs in as the server's role; where it listens."""
    fields = {"username": server.role.name, "password": server.role.password}
    secret = SecretDir(directory / "secret", fields)
    config = f"""
credentials: {{behind: {{file: {{path: '{secret.path}'}}}}}}
upstreams: {{behind: {{endpoints: '{server.address}', credential: behind}}}}
listeners: {{front: {{listen: 'unix:DIR/front', postgres: {{upstream: behind}}}}}}
"""
    async with House(config) as house:
        yield f"unix:{house.directory}/front"


async def refused(client: PgClient, user: str, password: str, database: str = DATABASE) -> UpstreamError:
    with pytest.raises(UpstreamError) as caught:
        await client.log_in(user, password, database=database)
    return caught.value


# ---- the login


async def test_settings_and_a_key_are_told_at_login(client: PgClient) -> None:
    assert client.settings["client_encoding"] == "UTF8"
    assert client.settings["server_encoding"] == "UTF8"
    assert client.settings["integer_datetimes"] == "on"
    assert client.settings["standard_conforming_strings"] == "on"
    assert "server_version" in client.settings
    assert client.pid > 0
    assert len(client.key) == 4


async def test_the_login_is_the_role_s(client: PgClient, server: Server) -> None:
    assert (await client.query("select current_user")).rows == [server.role.name]
    assert (await client.query("select current_database()")).rows == [DATABASE]
    assert server.user_seen() == server.role.name


async def test_a_wrong_password_and_an_unknown_user_are_refused_alike(server: Server) -> None:
    for user, password in ((server.role.name, "wrong"), ("nobody_of_that_name", server.role.password)):
        async with PgClient(server.address) as client:
            error = await refused(client, user, password)
            assert (error.reason, error.code) == (Reason.UPSTREAM_LOGIN_REFUSED, "28P01")


async def test_an_unknown_database_is_refused_after_the_password_was_found_good(server: Server) -> None:
    async with PgClient(server.address) as client:
        error = await refused(client, server.role.name, server.role.password, "no_such_database")
        assert (error.reason, error.code) == (Reason.UPSTREAM_REJECTED, "3D000")


async def test_a_server_without_tls_says_no_and_goes_on(server: Server) -> None:
    async with PgClient(server.address) as client:
        assert await client.ask_for_tls() == b"N"
        await client.log_in(server.role.name, server.role.password, database=DATABASE)


async def test_a_server_with_tls_binds_the_login_to_it(server_tls: Server, trusting: ssl.SSLContext) -> None:
    async with PgClient(server_tls.address) as client:
        assert await client.ask_for_tls(trusting) == b"S"
        role = server_tls.role
        logged_in = await client.log_in(role.name, role.password, binding="require", database=DATABASE)
        assert logged_in.method == "SCRAM-SHA-256-PLUS"
        assert (await client.query("select 1")).rows == ["1"]


async def test_a_client_that_could_have_bound_its_login_is_told_of_the_downgrade(
    server_tls: Server, trusting: ssl.SSLContext
) -> None:
    """The flag `y` at a server that offered -PLUS: somebody between must have taken the offer away."""
    async with PgClient(server_tls.address) as client:
        await client.ask_for_tls(trusting)
        client.start(server_tls.role.name, database=DATABASE)
        tag, offer = await client.message()
        assert tag == b"R"
        assert messages.parse_sasl_mechanisms(offer[4:]) == ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"]
        client.send(messages.sasl_initial_response("SCRAM-SHA-256", b"y,,n=,r=a-nonce-of-some-length"))
        assert (await client.error()).fatal


# ---- statements


async def test_a_query_has_its_answer(client: PgClient) -> None:
    result = await client.query("select 'a text'")
    assert (result.rows, result.tags, result.status) == (["a text"], ["SELECT 1"], b"I")


async def test_rows_come_in_order_and_long_ones_whole(client: PgClient) -> None:
    assert (await client.query("select generate_series(1, 300)")).rows == [str(number) for number in range(1, 301)]
    (row,) = (await client.query("select repeat('x', 1000000)")).rows
    assert row == "x" * 1_000_000


async def test_an_error_ends_a_statement_and_not_the_session(client: PgClient) -> None:
    result = await client.query("selec 1")
    assert (result.code, result.status) == ("42601", b"I")
    assert (await client.query("select 1")).rows == ["1"]


async def test_a_transaction_is_open_until_it_ends_and_fails_as_a_whole(client: PgClient) -> None:
    assert (await client.query("begin")).status == b"T"
    assert (await client.query("select 1")).status == b"T"
    assert (await client.query("selec 1")).status == b"E"
    refused = await client.query("select 1")
    assert (refused.code, refused.status) == ("25P02", b"E")
    ended = await client.query("commit")
    assert (ended.tags, ended.status) == (["ROLLBACK"], b"I")


async def test_a_pipeline_is_answered_with_one_ready(client: PgClient) -> None:
    result = await client.extended("select 1", "select 2", "select 3")
    assert (result.rows, result.status) == (["1", "2", "3"], b"I")


async def test_a_pipeline_stops_at_its_error_until_the_sync(client: PgClient) -> None:
    result = await client.extended("select 1", "selec 2", "select 3")
    assert (result.rows, result.code, result.status) == (["1"], "42601", b"I")
    assert (await client.query("select 4")).rows == ["4"]


async def test_data_is_copied_in(client: PgClient) -> None:
    assert (await client.query("create temp table t (x text)")).tags == ["CREATE TABLE"]
    client.send(messages.query("copy t from stdin"))
    assert (await client.until(b"G"))[-1][0] == b"G"
    client.send(messages.message(b"d", b"one\ntwo\n") + messages.message(b"c"))
    assert (await client.result()).tags == ["COPY 2"]


async def test_a_copy_that_the_client_gives_up_is_an_error(client: PgClient) -> None:
    await client.query("create temp table t (x text)")
    client.send(messages.query("copy t from stdin"))
    await client.until(b"G")
    client.send(messages.message(b"f", b"changed my mind\0"))
    assert (await client.result()).code == "57014"


async def test_data_is_copied_out(client: PgClient) -> None:
    client.send(messages.query("copy (select 1) to stdout"))
    assert (await client.until(b"H"))[-1][0] == b"H"
    assert await client.message() == (b"d", b"1\n")
    assert (await client.message())[0] == b"c"
    assert (await client.result()).tags == ["COPY 1"]


# ---- cancelling and leaving


async def test_a_query_is_cancelled_by_its_key(client: PgClient) -> None:
    client.send(messages.query("select pg_sleep(8)"))
    await asyncio.sleep(0.1)
    await client.cancel()
    assert (await client.result()).code == "57014"
    assert (await client.query("select 1")).rows == ["1"]


async def test_another_key_cancels_nothing(client: PgClient) -> None:
    client.send(messages.query("select pg_sleep(0.3)"))
    await asyncio.sleep(0.1)
    await client.cancel(bytes(byte ^ 0xFF for byte in client.key))
    assert (await client.result()).errors == []


async def test_a_client_that_says_goodbye_is_hung_up(client: PgClient) -> None:
    client.send(messages.TERMINATE)
    assert await client.rest() == b""
