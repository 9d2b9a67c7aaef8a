"""The client's side: the proof of who it is."""

from __future__ import annotations

import asyncio

import pytest

from ambassador.access.base import Principal, Proven, Refused
from ambassador.errors import ClientError, CredentialError, Reason
from ambassador.protocols.redis import accept
from ambassador.wire.redis.messages import request
from tests.unit.protocols.redis.conftest import EVERYONE, PATIENCE, Asked, Guest, Table, pack

OK = b"+OK\r\n"
WRONG = f"-{accept.WRONG}\r\n".encode()
NOAUTH = b"-NOAUTH Authentication required.\r\n"
JOE = Principal("joe", "password")


async def stranger(table: Table, *good: bytes) -> Guest:
    return await table.stranger(Asked(*good))


async def let_in(guest: Guest) -> Principal:
    async with asyncio.timeout(PATIENCE):
        return await accept.authenticate(guest.side)


async def refused(guest: Guest) -> ClientError:
    with pytest.raises(ClientError) as caught:
        await let_in(guest)
    return caught.value


async def heard(guest: Guest) -> bytes:
    """All that the client was told."""
    guest.near.close()
    return await guest.rest()


# ---- without a password


async def test_where_the_connection_proves_who_it_is_nothing_is_asked(table: Table) -> None:
    guest = await table.stranger(EVERYONE)
    guest.say("PING")
    assert await let_in(guest) == EVERYONE.principal
    assert await guest.near.read() == pack("PING"), "what it asks waits"


async def test_whoever_is_refused_by_its_connection_is_not_asked_either(table: Table) -> None:
    error = await refused(await table.stranger(Refused("not from there")))
    assert (error.reason, error.public) == (Reason.ACCESS_DENIED, "access denied")


# ---- with one


async def test_whoever_leaves_after_a_wrong_guess_is_told_of_as_one_who_guessed(table: Table) -> None:
    guest = await stranger(table, b"right")
    guest.say("PING", "AUTH wrong", "HELLO 3 AUTH joe wrong")
    guest.far.close()
    error = await refused(guest)
    assert (error.reason, str(error)) == (Reason.AUTH_FAILED, "the client left after 2 wrong passwords")


@pytest.mark.parametrize("words", ["AUTH right", "auth joe right"])
async def test_the_right_password_lets_in(table: Table, words: str) -> None:
    guest = await stranger(table, b"right")
    guest.say(words, "GET a")
    assert await let_in(guest) == JOE
    assert await guest.near.read() == pack("GET a"), "what it asks besides waits"
    assert await heard(guest) == OK


async def test_however_it_is_cut(table: Table) -> None:
    data = pack("GET a", "AUTH wrong") + b"\r\n" + pack("HELLO 3", "AUTH joe right")
    for size in (1, 3, 20, len(data)):
        guest = await stranger(table, b"right")
        task = asyncio.ensure_future(let_in(guest))
        for start in range(0, len(data), size):
            guest.send(data[start : start + size])
            await asyncio.sleep(0)
        assert await task == JOE
        words = await heard(guest)
        assert words.startswith(NOAUTH + WRONG + b"-NOAUTH HELLO must be called")
        assert words.endswith(OK)


async def test_hello_with_the_password_is_left_to_be_answered_where_its_server_is_known(table: Table) -> None:
    guest = await stranger(table, b"right")
    data = pack("HELLO 3 AUTH joe right", "PING")
    guest.send(data[:9])
    task = asyncio.ensure_future(let_in(guest))
    await asyncio.sleep(0.01)
    guest.send(data[9:])
    assert await task == JOE
    assert await guest.near.read() == data
    assert await heard(guest) == b""


async def test_the_session_hears_what_a_client_calls_itself(table: Table) -> None:
    guest = await stranger(table, b"right")
    guest.say("AUTH mallory wrong", "AUTH wrong", "HELLO 3 AUTH eve wrong", "AUTH joe right")
    await let_in(guest)
    assert [hello.user for hello in guest.introduced] == ["mallory", "default", "eve", "joe"]


async def test_inline_commands_are_heard(table: Table) -> None:
    guest = await stranger(table, b"right")
    guest.send(b'\r\nPING\r\nAUTH joe "right"\r\n')
    assert await let_in(guest) == JOE
    assert await heard(guest) == NOAUTH + OK


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        ("GET a", NOAUTH),
        ("RESET", b"+RESET\r\n"),
        ("AUTH", b"-ERR wrong number of arguments for 'auth' command\r\n"),
        ("AUTH a b c", b"-ERR syntax error\r\n"),
        ("HELLO 4", b"-NOPROTO unsupported protocol version\r\n"),
        ("HELLO 3 AUTH joe wrong", WRONG),
        ("AUTH wrong", WRONG),
    ],
)
async def test_until_then_everything_else_is_put_off(table: Table, words: str, answer: bytes) -> None:
    guest = await stranger(table, b"right")
    guest.send(b"*0\r\n*-1\r\n" + pack(words, "AUTH right"))
    await let_in(guest)
    assert await heard(guest) == answer + OK


async def test_whoever_quits_is_gone(table: Table) -> None:
    guest = await stranger(table, b"right")
    guest.say("QUIT", "AUTH right")
    assert (await refused(guest)).reason is Reason.CLIENT_CLOSED
    assert await heard(guest) == OK


async def test_whoever_ends_without_a_password_is_gone(table: Table) -> None:
    guest = await stranger(table, b"right")
    guest.say("GET a")
    guest.far.write_eof()
    assert (await refused(guest)).reason is Reason.CLIENT_CLOSED


async def test_there_are_only_so_many_tries(table: Table) -> None:
    guest = await stranger(table, b"right")
    guest.say(*["AUTH wrong"] * (accept.TRIES - 1), "AUTH right")
    assert await let_in(guest) == JOE
    guest = await stranger(table, b"right")
    guest.say(*["AUTH wrong"] * (accept.TRIES + 4), "AUTH right")
    error = await refused(guest)
    assert (error.reason, error.public) == (Reason.AUTH_FAILED, accept.WRONG)
    assert await heard(guest) == WRONG * accept.TRIES


@pytest.mark.parametrize(
    "data",
    [request("AUTH", "x" * 20_000), request("AUTH", *["x"] * 4000), request("SET", "a", "x" * 100_000), b"x" * 30_000],
)
async def test_before_the_proof_requests_are_small(table: Table, data: bytes) -> None:
    guest = await stranger(table, b"right")
    guest.send(data)
    error = await refused(guest)
    assert (error.reason, str(error)) == (Reason.BAD_MESSAGE, "Protocol error: unauthenticated bulk length")


async def test_a_small_request_may_not_grow_in_small_pieces(table: Table) -> None:
    guest = await stranger(table, b"right")
    task = asyncio.ensure_future(refused(guest))
    for _ in range(30):
        guest.send(b"y" * 1000)
        await asyncio.sleep(0.001)
    assert (await task).reason is Reason.BAD_MESSAGE


@pytest.mark.parametrize("data", [b"POST / HTTP/1.1\r\n", b"PING\r\nHost: x\r\n", request("post", "/")])
async def test_a_browser_that_was_misled_is_seen_off(table: Table, data: bytes) -> None:
    guest = await stranger(table, b"right")
    guest.send(data + request("AUTH", "right"))
    error = await refused(guest)
    assert (error.reason, error.public) == (Reason.BAD_MESSAGE, "Protocol error: no HTTP here")


async def test_what_is_no_request_is_refused(table: Table) -> None:
    guest = await stranger(table, b"right")
    guest.send(b"*1\r\n!")
    assert "expected '$'" in str(await refused(guest))


async def test_without_anything_to_check_against_nobody_is_let_in(table: Table) -> None:
    guest = await stranger(table)
    guest.access.identify.side_effect = CredentialError(Reason.NO_CREDENTIAL, "there is no password")
    with pytest.raises(CredentialError):
        await let_in(guest)


# ---- one proof


async def test_a_user_that_is_not_text_is_checked_and_not_let_in(table: Table) -> None:
    guest = await stranger(table, b"right")
    with pytest.raises(ClientError, match="failed"):
        await accept.prove(guest.side, b"\xff", b"wrong")
    assert guest.access.identify.call_args.args[0].user == "\udcff"


async def test_where_no_password_is_asked_for_the_connection_says_who_it_is(table: Table) -> None:
    guest = await table.stranger(Proven(Principal("joe", "mtls")))
    assert await accept.prove(guest.side, None, b"whatever") == Principal("joe", "mtls")
    assert guest.access.identify.call_args.args[0].user is None
    assert not await accept.needs_proof(guest.side)


async def test_whoever_is_refused_is_not_let_in_by_a_password(table: Table) -> None:
    guest = await table.stranger(Refused("no"))
    with pytest.raises(ClientError) as caught:
        await accept.prove(guest.side, b"joe", b"right")
    assert caught.value.public == accept.WRONG
