from __future__ import annotations

import pytest

from ambassador.wire.redis.messages import Error, Map, Simple, Value, Verbatim, decode
from ambassador.wire.redis.redact import (
    REDACTED,
    hides,
    is_secret,
    redact,
    redact_clients,
    redact_config,
    redact_error,
    redact_log,
)
from tests.support.redis_client import RedisClient
from tests.support.valkey import ValkeyServer, ValkeyServers, new_account


@pytest.fixture(params=["valkey9", pytest.param("redis7", marks=pytest.mark.apt)])
def server(request: pytest.FixtureRequest, valkeys: ValkeyServers) -> ValkeyServer:
    return valkeys.get(request.param)


@pytest.mark.parametrize(
    "name",
    [
        b"requirepass", b"RequirePass", b"masterauth", b"primaryauth", b"masteruser", b"primaryuser",
        b"tls-key-file-pass", b"tls-client-key-file-pass", b"search.oss-global-password", b"sentinel-pass",
        b"requirepass\0x",
    ],
)  # fmt: skip
def test_credentials_are_known_by_their_names(name: bytes) -> None:
    assert is_secret(name)


@pytest.mark.parametrize("name", [b"maxmemory", b"tls-auth-clients", b"aclfile", b"pass-through", b""])
def test_other_settings_are_no_credentials(name: bytes) -> None:
    assert not is_secret(name)


def test_what_is_secret_in_a_real_configuration_is_known(server: ValkeyServer) -> None:
    account = new_account(server)
    with RedisClient(("127.0.0.1", server.port)) as client:
        client.ask("AUTH", account.name, account.password)
        answer, _ = decode(client.ask("CONFIG", "GET", "*").raw)
    assert isinstance(answer, list)
    names = {name for name in answer[::2] if isinstance(name, bytes) and is_secret(name)}
    expected = {b"requirepass", b"masterauth", b"masteruser", b"tls-key-file-pass", b"tls-client-key-file-pass"}
    # A server without TLS has no settings for it, and Valkey has another name for two.
    assert expected - {name for name in expected if name.startswith(b"tls")} <= names
    assert names <= expected | {b"primaryauth", b"primaryuser", b"tls-auth-clients-user"}


def test_a_configuration_shows_no_credential_that_is_set() -> None:
    pairs: list[tuple[Value, Value]] = [
        (b"maxmemory", b"1"), (b"requirepass", b"secret"), (b"masterauth", b""), (1, b"odd")
    ]  # fmt: skip
    shown: list[tuple[Value, Value]] = [
        (b"maxmemory", b"1"), (b"requirepass", REDACTED), (b"masterauth", b""), (1, b"odd")
    ]  # fmt: skip
    assert redact_config(Map(pairs)) == Map(shown)
    assert redact_config([item for pair in pairs for item in pair]) == [item for pair in shown for item in pair]
    assert redact_config(Error(b"ERR x")) == Error(b"ERR x")


CLIENTS = b"id=1 name=ours user=ours redir=-1\nid=2 name= user=ours2 redir=-1\nid=3 user=ours\n"


def test_lists_of_clients_name_another_user_for_ours() -> None:
    assert redact_clients(CLIENTS, b"ours", b"default") == (
        b"id=1 name=ours user=default redir=-1\nid=2 name= user=ours2 redir=-1\nid=3 user=default\n"
    )


def test_a_real_list_of_clients_does_not_name_our_user(server: ValkeyServer) -> None:
    account = new_account(server)
    for protocol in (2, 3):
        for words in ([b"CLIENT", b"LIST"], [b"client", b"info"]):
            with RedisClient(("127.0.0.1", server.port)) as client:
                client.ask("HELLO", protocol, "AUTH", account.name, account.password)
                answer, _ = decode(client.ask(*words).raw)
            assert account.name in str(answer)
            assert hides(words)
            shown = redact(words, answer, account.name.encode(), b"someone")
            assert account.name not in str(shown)
            assert "user=someone" in str(shown)
            assert type(shown) is type(answer)


def test_a_log_of_slow_commands_shows_no_arguments_that_may_be_credentials() -> None:
    tail: list[Value] = [b"127.0.0.1:1", b""]
    log: Value = [
        [2, 1, 9, [b"auth", b"app", b"secret"], *tail],
        [1, 1, 9, [b"SET", b"k", b"AUTH"], *tail],
        [0, 1, 9, [b"CONFIG", b"Set", b"requirepass", b"x"]],
        [0, 1, 9, [b"CONFIG", b"GET", b"requirepass"]],
        [0, 1, 9, [b"HELLO", b"3", b"AUTH", REDACTED, REDACTED]],
        [b"odd"],
        None,
    ]
    assert redact_log(log) == [
        [2, 1, 9, [b"auth", REDACTED, REDACTED], *tail],
        [1, 1, 9, [b"SET", b"k", b"AUTH"], *tail],
        [0, 1, 9, [b"CONFIG", REDACTED, REDACTED, REDACTED]],
        [0, 1, 9, [b"CONFIG", b"GET", b"requirepass"]],
        [0, 1, 9, [b"HELLO", b"3", b"AUTH", REDACTED, REDACTED]],
        [b"odd"],
        None,
    ]
    assert redact_log(Error(b"ERR x")) == Error(b"ERR x")


def test_each_answer_goes_the_way_of_its_request() -> None:
    assert redact([b"config", b"GET", b"*"], [b"requirepass", b"x"], b"u", b"v") == [b"requirepass", REDACTED]
    assert redact([b"SLOWLOG", b"GET"], [[0, 1, 9, [b"AUTH", b"x"]]], b"u", b"v") == [[0, 1, 9, [b"AUTH", REDACTED]]]
    assert redact([b"CLIENT", b"LIST"], Verbatim(b"txt", b"id=1 user=u"), b"u", b"v") == Verbatim(
        b"txt", b"id=1 user=v"
    )
    assert redact([b"CLIENT", b"LIST"], Error(b"ERR x"), b"u", b"v") == Error(b"ERR x")


@pytest.mark.parametrize(
    ("words", "hidden"),
    [
        ([b"config", b"get", b"x"], True),
        ([b"CLIENT", b"LIST"], True),
        ([b"CLIENT", b"LIST\0x"], True),
        ([b"COMMANDLOG", b"GET"], True),
        ([b"CONFIG", b"SET", b"x", b"y"], False),
        ([b"CLIENT"], False),
        ([b"GET", b"k"], False),
    ],
)
def test_only_some_answers_must_be_read(words: list[bytes], hidden: bool) -> None:
    assert hides(words) is hidden


def test_an_error_names_another_user_for_ours() -> None:
    line = b"-NOPERM User ours has no permissions to run the 'get' command"
    assert redact_error(line, b"ours", b"alice") == line.replace(b"ours", b"alice")
    assert redact_error(line, b"our", b"alice") == line
    assert redact_error(b"ERR User ours", b"ours", b"alice") == b"ERR User ours"


def test_a_real_server_s_refusal_does_not_name_our_user(server: ValkeyServer) -> None:
    account = new_account(server, rules="+@all -get ~*")
    with RedisClient(("127.0.0.1", server.port)) as client:
        client.ask("AUTH", account.name, account.password)
        lines = [client.ask(*words).raw for words in (("GET", "k"), ("EVAL", "return redis.call('GET', 'k')", 0))]
    for line in lines:
        assert line.startswith(b"-")
        assert account.name.encode() not in redact_error(line, account.name.encode(), b"alice")


def test_no_real_server_shows_our_password_to_who_watches_it(server: ValkeyServer) -> None:
    account = new_account(server)
    with RedisClient(("127.0.0.1", server.port)) as watcher, RedisClient(("127.0.0.1", server.port)) as client:
        watcher.ask("AUTH", account.name, account.password)
        assert watcher.ask("MONITOR").value == Simple(b"OK")
        client.ask("AUTH", account.name, account.password)
        client.ask("ECHO", "the end")
        seen = b""
        while b"the end" not in seen:
            seen += watcher.reply().raw
    assert account.name.encode() not in seen
    assert account.password.encode() not in seen
