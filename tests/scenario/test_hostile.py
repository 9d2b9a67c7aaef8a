"""Peers that mean harm, or merely differ: each case that has broken a pooler is a test of its own.

The servers: salts of other sizes than 16 bytes refused (odyssey #1568, which shut out every Cloud SQL instance); keys
kept over a change of the server's secret (pgbouncer #1432, #1501); a server's long nonce, an ErrorResponse without
SQLSTATE (CVE-2026-6665, CVE-2026-6666). The clients: malformed SCRAM (CVE-2026-6664), an operator's verb in the hands
of one who may only look (CVE-2026-6667), startup options at work before the login (CVE-2025-12819).
"""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Callable

import pytest

from ambassador.admin.server import AdminServer
from ambassador.config.address import Address
from ambassador.config.schema import Admin
from ambassador.wire.postgres import messages
from ambassador.wire.postgres.messages import ErrorFields
from tests.scenario.plan import Plan, place
from tests.support.fake_postgres import FakePostgres
from tests.support.house import House, until
from tests.support.pgclient import PgClient

SCRAM_FIRST = b"n,,n=,r=what-a-client-makes-up"


async def refusal(plan: Plan) -> ErrorFields:
    async with PgClient(plan.at) as client:
        client.start()
        error = await client.last_words()
        assert error is not None
        return error


async def reason(house: House) -> str:
    """Why the one session ended."""
    await until("the session to end", lambda: bool(house.ends()))
    (end,) = house.ends()
    return str(end["reason"])


async def still_serves(plan: Plan, user: str = "app", password: str | None = None) -> None:
    """The next client, who means no harm, is served."""
    async with PgClient(plan.at) as client:
        await client.log_in(user, password)
        assert (await client.query("select 'well'")).rows == ["well"]


# ---- servers that merely differ


@pytest.mark.parametrize("size", [1, 2, 8, 15, 16, 17, 28, 32, 63, 64])
async def test_a_salt_of_any_size_is_taken(plan: Plan, size: int) -> None:
    with FakePostgres().user("orders_rw", plan.secret("db")).salt(size) as server:
        async with House(plan.text(server)):
            await still_serves(plan)


@pytest.mark.parametrize("size", [18, 256, 4000])
async def test_a_long_nonce_of_the_server_is_taken(plan: Plan, size: int) -> None:
    with FakePostgres().user("orders_rw", plan.secret("db")).nonce("N" * size) as server:
        async with House(plan.text(server)):
            await still_serves(plan)


async def test_a_secret_that_the_server_makes_anew_is_met_with_new_keys(plan: Plan) -> None:
    """ALTER ROLE with the same password: another salt, another count, and keys kept from before are of no use."""
    with FakePostgres().user("orders_rw", plan.secret("db")) as server:
        async with House(plan.text(server)):
            for size, rounds in ((16, 4096), (16, 4096), (9, 4096), (9, 64), (16, 4096)):
                server.salt(size).iterations(rounds)
                await still_serves(plan)


async def test_a_server_may_offer_mechanisms_that_nobody_knows_beside_ours(plan: Plan) -> None:
    offered = ("OAUTHBEARER", "SCRAM-SHA-512", "SCRAM-SHA-256")
    with FakePostgres().user("orders_rw", plan.secret("db")).offers(*offered) as server:
        async with House(plan.text(server)):
            await still_serves(plan)


async def test_a_password_that_saslprep_forbids_is_shown_as_it_is(plan: Plan) -> None:
    plan.secret("db")
    odd = plan.swap("db", password="t\u0627\u0031\u0041 \u00ad\x07")
    with FakePostgres().user("orders_rw", odd) as server:
        async with House(plan.text(server)):
            await still_serves(plan)


# ---- servers that mean harm


async def test_a_wrong_signature_ends_the_login_and_says_nothing_against_the_password(plan: Plan) -> None:
    with FakePostgres().user("orders_rw", plan.secret("db")).wrong_signature() as server:
        async with House(plan.text(server)) as house:
            assert (await refusal(plan)).code == "08P01"
            assert await reason(house) == "upstream_bad_message"
            assert "signature" in house.ends()[0]["error"]


CHALLENGES = {
    "one iteration more than allowed": b",s=c2FsdA==,i=1000001",
    "iterations for a year": b",s=c2FsdA==,i=2147483647",
    "no iterations": b",s=c2FsdA==,i=0",
    "less than no iterations": b",s=c2FsdA==,i=-1",
    "a count that is none": b",s=c2FsdA==,i=4096x",
    "no count": b",s=c2FsdA==",
    "no salt": b",s=,i=4096",
    "a salt that is no base64": b",s=!!!!,i=4096",
    "nothing behind the nonce": b"",
    "another order": b",i=4096,s=c2FsdA==",
    "zeros": bytes(100),
}


@pytest.mark.parametrize("tail", CHALLENGES.values(), ids=CHALLENGES)
async def test_a_challenge_is_refused_at_once_that_has(plan: Plan, tail: bytes) -> None:
    with FakePostgres().user("orders_rw", plan.secret("db")).challenge(tail) as server:
        async with House(plan.text(server)) as house:
            async with asyncio.timeout(5):
                assert (await refusal(plan)).code == "08P01"
            assert await reason(house) == "upstream_bad_message"


async def test_a_nonce_that_does_not_continue_ours_is_refused(plan: Plan) -> None:
    raw = messages.authentication(messages.AUTH_SASL_CONTINUE, b"r=another-nonce,s=c2FsdA==,i=4096")
    with FakePostgres().user("orders_rw", plan.secret("db")).say_at("challenge", raw, "hang") as server:
        async with House(plan.text(server)) as house:
            assert (await refusal(plan)).code == "08P01"
            assert await reason(house) == "upstream_bad_message"
            assert "nonce" in house.ends()[0]["error"]


async def test_being_let_in_amid_the_proof_is_refused(plan: Plan) -> None:
    """Whoever lets us in without the proof need not know the password: it may be anybody."""
    raw = messages.authentication(messages.AUTH_OK) + messages.ready_for_query()
    with FakePostgres().user("orders_rw", plan.secret("db")).say_at("challenge", raw, "hang") as server:
        async with House(plan.text(server)) as house:
            assert (await refusal(plan)).code == "08P01"
            assert await reason(house) == "upstream_bad_message"


async def test_a_server_that_takes_back_channel_binding_gets_no_login_where_it_is_required(plan: Plan) -> None:
    with FakePostgres().user("orders_rw", plan.secret("db")).tls(plan.authority.server("127.0.0.1")) as server:
        server.offers("SCRAM-SHA-256")
        upstream = {"tls": plan.client_tls(), "postgres": {"channel_binding": "require"}}
        async with House(plan.text(server, upstream=upstream)) as house:
            assert (await refusal(plan)).code == "0A000"
            assert await reason(house) == "upstream_unsupported"
        assert server.logins == []


ERRORS = {
    "without a code": messages.message(b"E", b"SFATAL\0Mno code here\0\0"),
    "without fields": messages.message(b"E", b"\0"),
    "without anything": messages.message(b"E", b""),
    "without an end": messages.message(b"E", b"SFATAL\0C28P01"),
    "with a code of NULs": messages.message(b"E", b"C\0\0\0\0\0\0\0"),
    "with bytes that are no text": messages.message(b"E", b"S\xff\xfe\0C\xff\xff\xff\xff\xff\0M\x80\0\0"),
    "with fields nobody knows": messages.message(b"E", b"?a\0!b\0zc\0\0"),
    "of protocol 2": b"EFATAL:  sorry, too many clients already\n\0",
}


@pytest.mark.parametrize("raw", ERRORS.values(), ids=ERRORS)
async def test_an_error_during_login(plan: Plan, raw: bytes) -> None:
    with FakePostgres().say_at("startup", raw, "close") as server:
        async with House(plan.text(server)) as house:
            error = await refusal(plan)
            assert (error.severity, len(error.code)) == ("FATAL", 5)
            assert (await reason(house)).startswith("upstream_")


@pytest.mark.parametrize("raw", [raw for raw in ERRORS.values() if raw[1:2] == b"\0"])
async def test_an_error_in_a_session_passes_as_it_is(plan: Plan, raw: bytes) -> None:
    with FakePostgres().on("select bad", raw) as server:
        async with House(plan.text(server)), PgClient(plan.at) as client:
            await client.log_in()
            client.send(messages.query("select bad"))
            assert await client.receive(len(raw)) == raw
            await client.until(b"Z")
            assert (await client.query("select 'goes on'")).rows == ["goes on"]


LENGTHS = {
    "two gigabytes": b"R\x7f\xff\xff\xff",
    "negative": b"R\xff\xff\xff\xff",
    "shorter than itself": b"R\0\0\0\3",
    "zero": b"R\0\0\0\0",
    "settings without end": messages.authentication(messages.AUTH_OK)
    + messages.parameter_status("name", "v" * 60_000) * 8,
    "a key without end": messages.authentication(messages.AUTH_OK) + messages.message(b"K", bytes(60_000)),
}


@pytest.mark.parametrize("raw", LENGTHS.values(), ids=LENGTHS)
async def test_a_length_beyond_reason_ends_the_login(plan: Plan, raw: bytes) -> None:
    with FakePostgres().say_at("startup", raw, "hang") as server:
        async with House(plan.text(server)) as house:
            assert (await refusal(plan)).code == "08P01"
            assert await reason(house) == "upstream_bad_message"


async def test_a_stream_of_notices_is_ended_by_the_deadline(plan: Plan) -> None:
    notice = messages.message(b"N", b"SNOTICE\0C00000\0Mwait\0\0")
    with FakePostgres().say_at("startup", notice * 100, "hang") as server:
        async with House(plan.text(server, upstream={"login_timeout": "300ms"})) as house:
            assert (await refusal(plan)).code == "08001"
            assert await reason(house) == "upstream_login_timeout"


# ---- clients that mean harm


def initial(body: bytes, mechanism: bytes = b"SCRAM-SHA-256") -> bytes:
    return messages.message(b"p", mechanism + b"\0" + len(body).to_bytes(4) + body)


FIRSTS = {
    "empty": messages.message(b"p"),
    "no mechanism": messages.message(b"p", b"\0\0\0\0\0"),
    "a mechanism not offered": initial(SCRAM_FIRST, b"SCRAM-SHA-1"),
    "binding without TLS": initial(b"p=tls-server-end-point,,n=,r=abc", b"SCRAM-SHA-256-PLUS"),
    "a size that lies": messages.message(b"p", b"SCRAM-SHA-256\0\x7f\xff\xff\xff" + SCRAM_FIRST),
    "a negative size": messages.message(b"p", b"SCRAM-SHA-256\0\xff\xff\xff\xfe" + SCRAM_FIRST),
    "a name without end": messages.message(b"p", b"SCRAM-SHA-256"),
    "no header": initial(b"n=,r=abc"),
    "no nonce": initial(b"n,,n="),
    "an empty nonce": initial(b"n,,n=,r="),
    "an identity of another": initial(b"n,a=postgres,n=,r=abc"),
    "zeros": initial(bytes(64)),
    "commas": initial(b"," * 1000),
    "a nonce of bytes": initial(b"n,,n=,r=\xff\x00\x01"),
    "not a password": messages.query("select 1"),
    "too long": messages.message(b"p", b"x" * 70_000),
    "two gigabytes": b"p\x7f\xff\xff\xff",
    "a length of zero": b"p\0\0\0\0",
}


@pytest.mark.parametrize("first", FIRSTS.values(), ids=FIRSTS)
async def test_a_malformed_first_message_of_scram_is_refused(plan: Plan, first: bytes) -> None:
    password = plan.secret("clients", "app")
    with FakePostgres() as server:
        access = {"access": {"password": {"credential": "clients"}}}
        async with House(plan.text(server, listener=access)) as house:
            async with PgClient(plan.at) as client:
                client.start()
                await client.message()
                client.send(first)
                assert (await client.error()).code in {"08P01", "28P01"}
            assert await reason(house) in {"bad_message", "auth_failed"}
            assert server.accepted == 0
            await still_serves(plan, "app", password)


FINALS: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda nonce: b"",
    "no proof": lambda nonce: b"c=biws,r=" + nonce,
    "an empty proof": lambda nonce: b"c=biws,r=" + nonce + b",p=",
    "a short proof": lambda nonce: b"c=biws,r=" + nonce + b",p=AAAA",
    "a long proof": lambda nonce: b"c=biws,r=" + nonce + b",p=" + b"A" * 3000,
    "a proof that is no base64": lambda nonce: b"c=biws,r=" + nonce + b",p=" + b"!" * 44,
    "another nonce": lambda nonce: b"c=biws,r=another,p=" + b"A" * 43 + b"=",
    "another binding": lambda nonce: b"c=eSws,r=" + nonce + b",p=" + b"A" * 43 + b"=",
    "zeros": lambda nonce: bytes(200),
    "a proof of zeros": lambda nonce: b"c=biws,r=" + nonce + b",p=" + b64encode(bytes(32)),
}


@pytest.mark.parametrize("final", FINALS.values(), ids=FINALS)
async def test_a_malformed_last_message_of_scram_is_refused(plan: Plan, final: Callable[[bytes], bytes]) -> None:
    password = plan.secret("clients", "app")
    with FakePostgres() as server:
        access = {"access": {"password": {"credential": "clients"}}}
        async with House(plan.text(server, listener=access)) as house:
            async with PgClient(plan.at) as client:
                client.start()
                await client.message()
                client.send(initial(SCRAM_FIRST))
                challenge = (await client.message())[1][4:]
                client.send(messages.sasl_response(final(challenge.split(b",")[0][2:])))
                assert (await client.error()).code in {"08P01", "28P01"}
            assert await reason(house) in {"bad_message", "auth_failed"}
            assert server.accepted == 0
            await still_serves(plan, "app", password)


async def test_a_client_that_begins_scram_and_falls_silent_is_ended_by_the_deadline(plan: Plan) -> None:
    plan.secret("clients", "app")
    listener = {"access": {"password": {"credential": "clients"}}, "limits": {"login_timeout": "1s"}}
    with FakePostgres() as server:
        async with House(plan.text(server, listener=listener)) as house, PgClient(plan.at) as client:
            client.start()
            await client.message()
            client.send(initial(SCRAM_FIRST))
            await client.message()
            assert (await client.error()).code == "57014"
            assert await reason(house) == "login_timeout"


async def test_what_an_unproven_client_asks_for_at_its_start_reaches_no_server(plan: Plan) -> None:
    plan.secret("clients", "app")
    with FakePostgres() as server:
        access = {"access": {"password": {"credential": "clients"}}}
        async with House(plan.text(server, listener=access)) as house, PgClient(plan.at) as client:
            client.start(search_path="evil", options="-c search_path=evil")
            await client.message()
            client.send(initial(SCRAM_FIRST))
            await client.message()
            client.send(messages.sasl_response(b"c=biws,r=x,p=AAAA"))
            await client.rest()
            await reason(house)
        assert server.accepted == 0


async def test_who_may_only_look_can_neither_stop_nor_change_the_daemon(plan: Plan) -> None:
    door = place()
    host, _, port = door.rpartition(":")
    with FakePostgres() as server:
        async with House(plan.text(server)) as house:
            admin = AdminServer(house.daemon, Admin(listen=(Address.parse(door),)))
            await admin.start()
            try:
                for verb in ("POST /quit", "POST /drain", "POST /reload", "PUT /loglevel"):
                    reader, writer = await asyncio.open_connection(host, int(port))
                    writer.write(f"{verb} HTTP/1.1\r\nHost: {door}\r\nContent-Length: 5\r\n\r\ndebug".encode())
                    assert (await reader.read()).startswith(b"HTTP/1.1 403")
                    writer.close()
            finally:
                await admin.stop(2)
            assert house.daemon.held() == ()
            await still_serves(plan)


STARTUPS = {
    "zeros": bytes(64),
    "a web browser": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "redis": b"*1\r\n$4\r\nPING\r\n",
    "two gigabytes": b"\x7f\xff\xff\xff\0\3\0\0",
    "a negative length": b"\xff\xff\xff\xff\0\3\0\0",
    "a length of four": b"\0\0\0\4",
    "no end": messages.startup_message({"user": "app"})[:-1] + b"x",
    "a name without value": (14).to_bytes(4) + messages.PROTOCOL_3_0.to_bytes(4) + b"user\0\0",
    "half a pair": (17).to_bytes(4) + messages.PROTOCOL_3_0.to_bytes(4) + b"user\0app\0",
    "beyond the limit": (10_001).to_bytes(4) + messages.PROTOCOL_3_0.to_bytes(4) + b"x" * 9_993,
    "tls asked for twice": messages.ssl_request() + messages.ssl_request(),
}


@pytest.mark.parametrize("raw", STARTUPS.values(), ids=STARTUPS)
async def test_a_beginning_that_is_none_is_refused_and_hurts_nobody(plan: Plan, raw: bytes) -> None:
    with FakePostgres() as server:
        async with House(plan.text(server)) as house:
            async with PgClient(plan.at) as client:
                client.send(raw)
                await client.rest()
            assert await reason(house) != "internal"
            assert server.accepted == 0
            await still_serves(plan)


MESSAGES = {
    "a length of zero": b"Q\0\0\0\0",
    "a length shorter than itself": b"Q\0\0\0\3",
    "a negative length": b"Q\xff\xff\xff\xff",
}


@pytest.mark.parametrize("raw", MESSAGES.values(), ids=MESSAGES)
async def test_an_impossible_length_in_a_session_ends_it(plan: Plan, raw: bytes) -> None:
    with FakePostgres() as server:
        async with House(plan.text(server)) as house, PgClient(plan.at) as client:
            await client.log_in()
            client.send(raw)
            assert (await client.error()).code == "08P01"
            assert await reason(house) == "bad_message"
