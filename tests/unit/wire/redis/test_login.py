from __future__ import annotations

from typing import Any

import pytest

from ambassador.errors import ClientError, Reason, UpstreamError
from ambassador.wire.redis.login import (
    MAX_WAITING,
    ClientLogin,
    HelloRequest,
    LoggedIn,
    auth_request,
    hello_reply,
    judge_auth,
    parse_auth,
    parse_hello,
    valid_name,
)
from ambassador.wire.redis.messages import Error, Map, Simple, Value, decode, encode, error, request
from tests.support.redis_client import RedisClient
from tests.support.splits import every_split
from tests.support.valkey import ValkeyServer, new_account

OK = b"+OK\r\n"
FACTS: list[tuple[Value, Value]] = [(b"server", b"valkey"), (b"proto", 3), (b"id", 4), (b"modules", [])]
HELLO = encode(Map(FACTS), 3)
NO_HELLO = error("ERR unknown command `HELLO`, with args beginning with: `2`, ")
SECRET = b"Tr0ub4dor"


def new_login(password: bytes | None = None, username: bytes | None = None, **options: Any) -> ClientLogin:
    return ClientLogin(username, password, **{"protocol": 3, "allow_cleartext": True, **options})


def failure(login: ClientLogin, *answers: bytes) -> UpstreamError:
    """What the answers lead to; no text of it may hold the password."""
    login.receive(b"".join(answers))
    with pytest.raises(UpstreamError) as caught:
        login.next_event()
    assert SECRET.decode() not in f"{caught.value} {caught.value.public} {caught.value.code}"
    return caught.value


# Our own login


def test_all_is_sent_in_one_go() -> None:
    login = new_login(SECRET, b"app", protocol=2, database=7, name="ambassador")
    assert login.to_send() == b"".join((
        request("AUTH", "app", SECRET),
        request("HELLO", 2),
        request("SELECT", 7),
        request("CLIENT", "SETNAME", "ambassador"),
    ))  # fmt: skip
    assert login.to_send() == b""


def test_the_default_user_is_not_named() -> None:
    assert new_login(SECRET).to_send() == request("AUTH", SECRET) + request("HELLO", 3)


def test_without_a_password_nothing_is_shown() -> None:
    assert new_login(None, b"app").to_send() == request("HELLO", 3)


def test_an_empty_password_is_one() -> None:
    assert new_login(b"", b"app").to_send().startswith(request("AUTH", "app", ""))


def test_a_password_does_not_leave_where_others_could_read_it() -> None:
    with pytest.raises(UpstreamError) as caught:
        ClientLogin(None, SECRET, protocol=3)
    assert caught.value.reason is Reason.UPSTREAM_UNSUPPORTED
    assert SECRET.decode() not in str(caught.value)


def test_no_password_may_be_sent_anywhere() -> None:
    assert ClientLogin(None, None, protocol=2).to_send() == request("HELLO", 2)


def test_the_facts_come_in_the_server_s_order_however_they_are_cut() -> None:
    for pieces in every_split(OK + b">1\r\n+x\r\n" + HELLO + OK + b"-ERR no such name\r\n" + b"+more"):
        login, events = new_login(SECRET, database=1, name="x"), []
        for piece in pieces:
            login.receive(piece)
            events.append(login.next_event())
        found = [event for event in events if event]
        assert [event.hello for event in found] == [FACTS]
        assert found[0].rest == b"+more"[: len(found[0].rest)]
        assert login.next_event() is None


def test_what_follows_the_last_answer_is_not_ours() -> None:
    login = new_login()
    login.receive(HELLO + b"+more")
    assert login.next_event() == LoggedIn(FACTS, b"+more")


def test_resp2_tells_facts_as_an_array() -> None:
    login = new_login(protocol=2)
    login.receive(encode(Map(FACTS), 2))
    event = login.next_event()
    assert event
    assert event.hello == FACTS


@pytest.mark.parametrize("answer", [OK, b"*1\r\n+x\r\n", b"*-1\r\n", b":1\r\n"])
def test_facts_that_are_no_map_blame_the_server(answer: bytes) -> None:
    assert failure(new_login(), answer).reason is Reason.UPSTREAM_BAD_MESSAGE


@pytest.mark.parametrize(
    ("line", "reason", "says"),
    [
        ("WRONGPASS invalid username-password pair", Reason.UPSTREAM_LOGIN_REFUSED, "refused"),
        ("ERR invalid password", Reason.UPSTREAM_LOGIN_REFUSED, "refused"),
        ("NOAUTH Authentication required.", Reason.UPSTREAM_LOGIN_REFUSED, "refused"),
        ("NOPERM no", Reason.UPSTREAM_LOGIN_REFUSED, "refused"),
        ("ERR AUTH <password> called without any password configured", Reason.UPSTREAM_REJECTED, "remove it here"),
        ("ERR Client sent AUTH, but no password is set", Reason.UPSTREAM_REJECTED, "remove it here"),
        ("ERR wrong number of arguments for 'auth' command", Reason.UPSTREAM_UNSUPPORTED, "without a user name"),
        ("ERR max number of clients reached", Reason.UPSTREAM_REJECTED, "no more clients"),
        ("LOADING Redis is loading the dataset in memory", Reason.UPSTREAM_REJECTED, "LOADING"),
        ("MASTERDOWN Link with MASTER is down", Reason.UPSTREAM_REJECTED, "MASTERDOWN"),
        ("DENIED Redis is running in protected mode", Reason.UPSTREAM_REJECTED, "DENIED"),
        ("BUSY Redis is busy running a script", Reason.UPSTREAM_REJECTED, "BUSY"),
        ("ERR unknown command `AUTH`, with args beginning with: `Tr0ub4dor`", Reason.UPSTREAM_REJECTED, "ERR"),
    ],
)
def test_each_answer_to_auth_has_its_reason(line: str, reason: Reason, says: str) -> None:
    fault = failure(new_login(SECRET), error(line))
    assert fault.reason is reason
    assert says in str(fault)
    assert fault.code == line.split(maxsplit=1)[0]
    assert fault.public == UpstreamError.default_public


def test_the_answer_to_a_later_auth_is_judged_the_same() -> None:
    assert auth_request(b"app", SECRET) == request("AUTH", "app", SECRET)
    judge_auth(Simple(b"OK"))
    with pytest.raises(UpstreamError) as caught:
        judge_auth(Error(b"WRONGPASS x"))
    assert caught.value.reason is Reason.UPSTREAM_LOGIN_REFUSED
    with pytest.raises(UpstreamError) as caught:
        judge_auth(None)
    assert caught.value.reason is Reason.UPSTREAM_BAD_MESSAGE


def test_a_server_that_demands_a_password_where_there_is_none_refuses_the_login() -> None:
    fault = failure(new_login(), error("NOAUTH HELLO must be called with the client already authenticated"))
    assert fault.reason is Reason.UPSTREAM_LOGIN_REFUSED
    assert fault.code == "NOAUTH"
    assert "none is configured" in str(fault)


def test_a_server_that_demands_another_login_after_ours_is_not_the_credential_s_fault() -> None:
    assert failure(new_login(SECRET), OK, error("NOAUTH again")).reason is Reason.UPSTREAM_REJECTED


def test_a_server_older_than_hello_lets_us_in_with_resp2() -> None:
    login = new_login(SECRET, protocol=2, database=1)
    login.to_send()
    login.receive(OK + NO_HELLO + OK)
    assert login.next_event() is None
    assert login.to_send() == request("PING")
    login.receive(b"+PONG\r\n")
    assert login.next_event() == LoggedIn(None, b"")


def test_a_server_older_than_hello_is_asked_whether_it_wants_a_password() -> None:
    login = new_login(protocol=2)
    login.receive(NO_HELLO)
    assert login.next_event() is None
    fault = failure(login, error("NOAUTH Authentication required."))
    assert fault.reason is Reason.UPSTREAM_LOGIN_REFUSED


@pytest.mark.parametrize("answer", [NO_HELLO, error("NOPROTO unsupported protocol version")])
def test_resp3_needs_a_server_that_speaks_it(answer: bytes) -> None:
    fault = failure(new_login(), answer)
    assert fault.reason is Reason.UPSTREAM_UNSUPPORTED
    assert "RESP3" in str(fault)


def test_another_error_to_hello_is_quoted_without_the_password() -> None:
    fault = failure(new_login(SECRET), OK, error(f"LOADING {SECRET.decode()} and more"))
    assert fault.reason is Reason.UPSTREAM_REJECTED
    assert fault.code == "LOADING"
    assert "(redacted) and more" in str(fault)
    assert fault.public == UpstreamError.default_public


@pytest.mark.parametrize("line", ["ERR DB index is out of range", "NOPERM no select", "ERR SELECT is not allowed"])
def test_a_database_that_cannot_be_selected_is_told_in_redis_words(line: str) -> None:
    fault = failure(new_login(database=99), HELLO, error(line))
    assert fault.reason is Reason.UPSTREAM_REJECTED
    assert fault.code == "SELECT"
    assert fault.public == "ERR DB index is out of range"


def test_a_select_that_fails_for_another_reason_keeps_its_word() -> None:
    fault = failure(new_login(database=9), HELLO, error("BUSY a script runs"))
    assert fault.code == "BUSY"
    assert fault.public == UpstreamError.default_public


def test_a_server_may_not_send_without_end() -> None:
    login = new_login()
    with pytest.raises(UpstreamError) as caught:
        login.receive(b"x" * (MAX_WAITING + 1))
    assert caught.value.reason is Reason.UPSTREAM_BAD_MESSAGE


def test_what_is_not_redis_blames_the_server() -> None:
    assert failure(new_login(), b"HTTP/1.1 400 Bad Request\r\n").reason is Reason.UPSTREAM_BAD_MESSAGE


@pytest.fixture(params=["valkey", pytest.param("redis7", marks=pytest.mark.apt)])
def server(request: pytest.FixtureRequest) -> ValkeyServer:
    found = request.getfixturevalue("valkeys").get("valkey9" if request.param == "valkey" else "redis7")
    assert isinstance(found, ValkeyServer)
    return found


def conclude(login: ClientLogin, server: ValkeyServer) -> LoggedIn:
    """Conduct a login with a real server."""
    with RedisClient(("127.0.0.1", server.port)) as client:
        client.send(login.to_send())
        while True:
            login.receive(client.reply().raw)
            if (event := login.next_event()) is not None:
                return event


def test_a_real_server_lets_us_in(server: ValkeyServer) -> None:
    account = new_account(server)
    login = new_login(account.password.encode(), account.name.encode(), database=3, name="ambassador")
    facts = dict(conclude(login, server).hello or [])
    assert facts[b"proto"] == 3
    assert facts[b"role"] == b"master"


def test_a_real_server_refuses_a_wrong_password(server: ValkeyServer) -> None:
    account = new_account(server)
    with pytest.raises(UpstreamError) as caught:
        conclude(new_login(b"wrong", account.name.encode()), server)
    assert (caught.value.reason, caught.value.code) == (Reason.UPSTREAM_LOGIN_REFUSED, "WRONGPASS")


def test_a_real_server_demands_a_password(server: ValkeyServer) -> None:
    with pytest.raises(UpstreamError) as caught:
        conclude(new_login(), server)
    assert (caught.value.reason, caught.value.code) == (Reason.UPSTREAM_LOGIN_REFUSED, "NOAUTH")


def test_a_real_server_has_only_so_many_databases(server: ValkeyServer) -> None:
    account = new_account(server)
    with pytest.raises(UpstreamError) as caught:
        conclude(new_login(account.password.encode(), account.name.encode(), database=99), server)
    assert caught.value.code == "SELECT"


# A client's login


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ([b"HELLO"], HelloRequest()),
        ([b"hello", b"2"], HelloRequest(2)),
        (
            [b"HELLO", b"3", b"auth", b"u", b"p", b"SetName", b"n"],
            HelloRequest(3, b"u", b"p", b"n"),
        ),
        ([b"HELLO", b"3", b"AUTH\0x", b"u", b"p", b"AUTH", b"v", b"q"], HelloRequest(3, b"v", b"q")),
        ([b"HELLO", b"3", b"SETNAME", b""], HelloRequest(3, name=b"")),
    ],
)
def test_a_hello_is_read(words: list[bytes], found: HelloRequest) -> None:
    assert parse_hello(words) == found


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([b"HELLO", b"x"], "ERR Protocol version is not an integer or out of range"),
        ([b"HELLO", b"03"], "ERR Protocol version is not an integer or out of range"),
        ([b"HELLO", b"9" * 30], "ERR Protocol version is not an integer or out of range"),
        ([b"HELLO", b"1"], "NOPROTO unsupported protocol version"),
        ([b"HELLO", b"4"], "NOPROTO unsupported protocol version"),
        ([b"HELLO", b"-3"], "NOPROTO unsupported protocol version"),
        ([b"HELLO", b"3", b"FOO"], "ERR Syntax error in HELLO option 'FOO'"),
        ([b"HELLO", b"3", b"AUTH", b"u"], "ERR Syntax error in HELLO option 'AUTH'"),
        ([b"HELLO", b"3", b"SETNAME"], "ERR Syntax error in HELLO option 'SETNAME'"),
        (
            [b"HELLO", b"3", b"SETNAME", b"a b"],
            "ERR Client names cannot contain spaces, newlines or special characters.",
        ),
    ],
)
def test_a_wrong_hello_is_answered_as_the_server_does(words: list[bytes], says: str, server: ValkeyServer) -> None:
    with pytest.raises(ClientError) as caught:
        parse_hello(words)
    assert str(caught.value) == says
    account = new_account(server)
    with RedisClient(("127.0.0.1", server.port)) as client:
        client.ask("AUTH", account.name, account.password)
        assert client.ask(*words).raw == error(says)


def test_an_auth_is_read() -> None:
    assert parse_auth([b"AUTH", b"p"]) == (None, b"p")
    assert parse_auth([b"AUTH", b"u", b""]) == (b"u", b"")


@pytest.mark.parametrize("words", [[b"AUTH"], [b"AUTH", b"a", b"b", b"c"]])
def test_a_wrong_auth_is_answered_as_the_server_does(words: list[bytes], server: ValkeyServer) -> None:
    with pytest.raises(ClientError) as caught:
        parse_auth(words)
    with RedisClient(("127.0.0.1", server.port)) as client:
        assert client.ask(*words).raw == error(str(caught.value))


def test_a_name_is_printable_or_nothing() -> None:
    assert valid_name(b"")
    assert valid_name(b"!app-7~")
    assert not any(valid_name(name) for name in (b"a b", b"a\n", b"a\x7f", "é".encode()))


def test_a_client_s_hello_has_its_own_number_and_protocol_and_the_server_s_order() -> None:
    def expected(protocol: int) -> Map:
        return Map([(b"server", b"valkey"), (b"proto", protocol), (b"id", 77), (b"modules", [])])

    assert hello_reply(FACTS, 2, 77) == encode(expected(2), 2)
    assert hello_reply(FACTS, 3, 77) == encode(expected(3), 3)


def test_modules_are_maps_in_resp3_whatever_the_server_was_asked_in() -> None:
    facts: list[tuple[Value, Value]] = [(b"modules", [[b"name", b"lua"], Map([(b"name", b"x")])]), (1, 2)]
    expected = Map([(b"modules", [Map([(b"name", b"lua")]), Map([(b"name", b"x")])])])
    assert decode(hello_reply(facts, 3, 1))[0] == expected
    assert hello_reply([(b"modules", None)], 3, 1) == encode(Map([(b"modules", None)]), 3)
