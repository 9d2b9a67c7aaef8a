"""What the fake does wrong when it is told to."""

from __future__ import annotations

import asyncio
import ssl
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ambassador.errors import Reason, UpstreamError
from ambassador.net.stream import TlsFailed
from ambassador.wire.postgres import messages
from tests.support.certificates import Authority
from tests.support.fake_conversation import Moment
from tests.support.fake_postgres import FakePostgres
from tests.support.house import until
from tests.support.pgclient import PgClient

BEFORE_READY: tuple[Moment, ...] = ("connect", "startup", "challenge", "proof", "settings", "ready")


async def fails(server: FakePostgres, password: str = "right") -> BaseException:
    """A login that does not succeed; why."""
    with pytest.raises((UpstreamError, EOFError, ConnectionError, TimeoutError)) as caught:
        async with PgClient(server.address) as client, asyncio.timeout(0.5):
            await client.log_in("app", password)
    return caught.value


async def works(server: FakePostgres, password: str = "right") -> None:
    async with PgClient(server.address) as client:
        await client.log_in("app", password)


@pytest.mark.parametrize("moment", BEFORE_READY)
async def test_it_closes_where_it_is_told_to(moment: Moment) -> None:
    with FakePostgres().user("app", "right").close_at(moment) as server:
        assert isinstance(await fails(server), EOFError | ConnectionError)
        assert server.logins == []


@pytest.mark.parametrize("moment", BEFORE_READY)
async def test_it_resets_where_it_is_told_to(moment: Moment) -> None:
    with FakePostgres().user("app", "right").reset_at(moment) as server:
        # A reset on accepting may come while we still connect.
        error = await fails(server)
        assert isinstance(error.__cause__ if isinstance(error, UpstreamError) else error, ConnectionError)


@pytest.mark.parametrize("moment", BEFORE_READY)
async def test_it_falls_silent_where_it_is_told_to(moment: Moment) -> None:
    with FakePostgres().user("app", "right").hang_at(moment) as server:
        assert isinstance(await fails(server), TimeoutError)


async def test_a_fault_may_pass() -> None:
    with FakePostgres().user("app", "right").close_at("proof", times=2) as server:
        await fails(server)
        await fails(server)
        await works(server)


@pytest.mark.parametrize("times", [None, 1])
async def test_it_refuses_as_told(times: int | None) -> None:
    with FakePostgres().user("app", "right").refuse("57P03", "starting up", times=times) as server:
        error = await fails(server)
        assert isinstance(error, UpstreamError)
        assert (error.code, "starting up" in str(error)) == ("57P03", True)
        if times == 1:
            await works(server)


async def test_a_password_may_change_while_it_runs() -> None:
    with FakePostgres().user("app", "right") as server:
        await works(server)
        server.user("app", "another")
        assert isinstance(await fails(server), UpstreamError)
        await works(server, "another")


@pytest.mark.parametrize("size", [1, 16, 64])
async def test_salts_have_the_size_they_are_told_to_have(size: int) -> None:
    with FakePostgres().user("app", "right").salt(size).iterations(4097).nonce("n" * 200) as server:
        await works(server)
        async with PgClient(server.address) as client:
            client.start("app")
            await client.message()
            client.send(messages.sasl_initial_response("SCRAM-SHA-256", b"n,,n=,r=mine"))
            _, payload = await client.message()
        nonce, salt, count = payload[4:].split(b",")
        assert nonce == b"r=mine" + b"n" * 200
        assert count == b"i=4097"
        assert (len(salt) - 2) // 4 == (size + 2) // 3


async def test_a_challenge_may_be_any_bytes() -> None:
    with FakePostgres().user("app", "right").challenge(b",s=,i=1") as server:
        error = await fails(server)
        assert isinstance(error, UpstreamError)
        assert "salt is empty" in str(error)


async def test_its_signature_may_be_wrong() -> None:
    with FakePostgres().user("app", "right").wrong_signature() as server:
        error = await fails(server)
        assert isinstance(error, UpstreamError)
        assert "signature is wrong" in str(error)


async def test_it_offers_the_mechanisms_it_is_told_to() -> None:
    with FakePostgres().user("app", "right").offers("OAUTHBEARER") as server:
        error = await fails(server)
        assert isinstance(error, UpstreamError)
        assert error.reason is Reason.UPSTREAM_UNSUPPORTED
    with FakePostgres().user("app", "right").offers("OAUTHBEARER", "SCRAM-SHA-256") as server:
        await works(server)


@pytest.mark.parametrize("code", [2, 7, 9])
async def test_it_asks_for_what_nobody_speaks(code: int) -> None:
    with FakePostgres().ask_for(code) as server:
        error = await fails(server)
        assert isinstance(error, UpstreamError)
        assert error.reason is Reason.UPSTREAM_UNSUPPORTED


async def test_it_trickles() -> None:
    with FakePostgres().trickle(0.001) as server:
        began = time.monotonic()
        await works(server)
        assert time.monotonic() - began > 0.1


@pytest.mark.parametrize("answer", [b"N", b"E", b"garbage"])
async def test_the_request_for_tls_is_answered_as_told(answer: bytes) -> None:
    with FakePostgres().answer_ssl(answer) as server:
        async with PgClient(server.address) as client:
            client.send(messages.ssl_request())
            assert await client.receive(len(answer)) == answer


async def test_bytes_may_stand_behind_its_yes(authority: Authority) -> None:
    context = ssl.create_default_context(cafile=str(authority.file))
    with FakePostgres().tls(authority.server("localhost")).answer_ssl(b"Sextra") as server:
        async with PgClient(server.address) as client:
            client.send(messages.ssl_request())
            assert await client.receive(6) == b"Sextra"
            await client.begin_tls(context)
            await client.log_in()


async def test_at_the_request_for_tls_it_may_close(authority: Authority) -> None:
    with FakePostgres().close_at("ssl") as server:
        async with PgClient(server.address) as client:
            client.send(messages.ssl_request())
            assert await client.rest() == b""


async def test_it_offers_no_protocol_where_it_is_told_not_to(authority: Authority) -> None:
    context = ssl.create_default_context(cafile=str(authority.file))
    context.set_alpn_protocols(["postgresql"])
    with FakePostgres().tls(authority.server("localhost"), alpn=False) as server:
        async with PgClient(server.address) as client:
            await client.begin_tls(context)
            await client.log_in()
        assert server.logins[0].alpn is None


async def test_a_client_that_does_not_trust_it_is_no_fault_of_the_test(authority: Authority) -> None:
    with FakePostgres().tls(authority.server("localhost")) as server:
        async with PgClient(server.address) as client:
            with pytest.raises(TlsFailed):
                await client.begin_tls(ssl.create_default_context())


@pytest.mark.parametrize("act", ["close", "reset", "hang"])
async def test_a_statement_may_be_the_last(act: str) -> None:
    row = messages.message(b"D", b"\0\1\0\0\0\1x")
    with FakePostgres().on("die", row, act) as server:  # type: ignore[arg-type]  # one of the words
        async with PgClient(server.address) as client:
            await client.log_in()
            client.send(messages.query("die"))
            assert await client.message() == (b"D", row[5:])
            with pytest.raises((EOFError, ConnectionError, TimeoutError)):
                async with asyncio.timeout(0.2):
                    await client.message()


@pytest.mark.parametrize("end", [FakePostgres.hang_up, FakePostgres.reset])
async def test_all_sessions_may_end_at_once(end: Callable[[FakePostgres], None]) -> None:
    with FakePostgres() as server:
        async with PgClient(server.address) as one, PgClient(server.address) as two:
            await one.log_in()
            await two.log_in()
            assert server.connections == server.accepted == 2
            end(server)
            assert await one.rest() == await two.rest() == b""
        await until("the sessions to be over", lambda: not server.sessions)


async def test_from_some_moment_on_nobody_listens() -> None:
    with FakePostgres() as server:
        await works(server)
        server.refuse_connections()
        with pytest.raises(UpstreamError, match="cannot connect"):
            await works(server)


async def test_it_may_listen_at_a_unix_socket() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as directory, FakePostgres(unix=Path(directory) / "s") as server:
        await works(server)
        assert server.address.startswith("unix:/")
        assert server.port == 0
