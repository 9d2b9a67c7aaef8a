from __future__ import annotations

import pytest

from ambassador.errors import Reason, UpstreamError
from ambassador.wire.redis.commands import (
    BUILT_IN,
    Code,
    Command,
    KeySpec,
    Kind,
    classify,
    find,
    kind_of,
    parse_command_table,
)
from ambassador.wire.redis.messages import Map, Simple, Value, decode
from tests.support.redis_client import RedisClient
from tests.support.valkey import ValkeyServer, ValkeyServers, new_account

SERVERS = ["valkey9", pytest.param("redis7", marks=pytest.mark.apt)]


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest, valkeys: ValkeyServers) -> ValkeyServer:
    return valkeys.get(request.param)


def asked(server: ValkeyServer, protocol: int) -> dict[bytes, Command]:
    """The table of a real server."""
    account = new_account(server)
    with RedisClient(("127.0.0.1", server.port)) as client:
        client.ask("HELLO", protocol, "AUTH", account.name, account.password)
        return parse_command_table(decode(client.ask("COMMAND").raw)[0])


def flags(*words: bytes) -> Value:
    return [Simple(word) for word in words]


# The server's table


def test_a_real_table_says_the_same_in_both_protocols(server: ValkeyServer) -> None:
    assert asked(server, 2) == asked(server, 3)


def test_a_real_table_has_all_there_is_to_a_command(server: ValkeyServer) -> None:
    table = asked(server, 3)
    assert table[b"BITOP"] == Command(
        b"BITOP",
        -4,
        frozenset({"write", "denyoom"}),
        frozenset({"write", "bitmap", "slow"}),
        2,
        -1,
        1,
        (KeySpec(2), KeySpec(3, last=-1)),
    )
    assert table[b"EVAL"].key_specs == (KeySpec(2, count=0, first=1),)
    assert table[b"XREAD"].key_specs == (KeySpec(1, b"STREAMS", last=-1, limit=2),)
    assert table[b"SPUBLISH"].key_specs == (KeySpec(channels=True),)
    assert [spec.known for spec in table[b"SORT"].key_specs] == [True, False, False]
    assert [spec.known for spec in table[b"MIGRATE"].key_specs] == [True, False]
    assert table[b"CONFIG"].subcommands[b"GET"].name == b"CONFIG|GET"
    assert "dangerous" in table[b"CONFIG"].subcommands[b"GET"].categories


def test_our_table_agrees_with_a_real_one(server: ValkeyServer) -> None:
    table = asked(server, 3)
    ours, theirs = classify(BUILT_IN), classify(table)
    assert {name: code for name, code in theirs.items() if ours.get(name) != code} == {}
    for command in table.values():
        for each in (command, *command.subcommands.values()):
            words = each.name.split(b"|")
            known = find(words, BUILT_IN)
            assert known is not None
            assert known.name == each.name
            assert each.categories - known.categories == frozenset(), each.name
            if known.key_specs:
                assert known.key_specs == each.key_specs, each.name


OLD: list[Value] = [
    [b"get", 2, flags(b"readonly", b"fast"), 1, 1, 1],
    [b"blpop", -3, flags(b"write", b"noscript"), 1, -2, 1],
    [b"zunionstore", -4, flags(b"write", b"denyoom", b"movablekeys"), 0, 0, 0],
    [b"config", -2, flags(b"admin", b"noscript", b"loading", b"stale"), 0, 0, 0],
    [b"mod.read", 2, flags(b"readonly", b"fast", b"module"), 1, 1, 1],
    [b"mod.save", 1, flags(b"admin"), 0, 0, 0],
]


def test_what_an_old_server_does_not_tell_is_added() -> None:
    table = parse_command_table(OLD)
    assert table[b"GET"].categories == {"read", "string", "fast"}
    assert table[b"BLPOP"].categories == {"write", "list", "slow", "blocking"}
    assert table[b"ZUNIONSTORE"].key_specs == (KeySpec(1), KeySpec(2, count=0, first=1))
    assert table[b"CONFIG"].subcommands[b"SET"].name == b"CONFIG|SET"
    assert table[b"MOD.READ"].categories == {"read", "fast"}
    assert table[b"MOD.READ"].key_specs == ()
    assert table[b"MOD.READ"].first_key == 1
    assert table[b"MOD.SAVE"].categories == {"admin", "dangerous", "slow"}


def test_redis_6_tells_categories_and_no_more() -> None:
    table = parse_command_table([[b"get", 2, flags(b"readonly"), 1, 1, 1, flags(b"@read", b"@weird")]])
    assert table[b"GET"].categories == {"read", "weird"}
    assert table[b"GET"].key_specs == (KeySpec(1),)


@pytest.mark.parametrize("value", [None, [], b"x", 1])
def test_an_answer_that_is_no_table_blames_the_server(value: Value) -> None:
    with pytest.raises(UpstreamError) as caught:
        parse_command_table(value)
    assert caught.value.reason is Reason.UPSTREAM_BAD_MESSAGE


@pytest.mark.parametrize(
    "entry", [None, [], [b"x"], [b"x", b"2", [], 1, 1, 1], [1, 2, [], 1, 1, 1], [b"x", 2, None, 1, 1, 1]]
)
def test_an_entry_that_makes_no_sense_is_left_out(entry: Value) -> None:
    assert parse_command_table([entry, *OLD]) == parse_command_table(OLD)


def spec(begin: Value, find_keys: Value, *marks: bytes) -> Value:
    return Map([(b"flags", flags(*marks)), (b"begin_search", begin), (b"find_keys", find_keys)])


def index(place: int) -> Value:
    return Map([(b"type", b"index"), (b"spec", Map([(b"index", place)]))])


def span(step: int) -> Value:
    return [b"type", b"range", b"spec", [b"lastkey", 0, b"keystep", step, b"limit", 0]]


@pytest.mark.parametrize(
    "told",
    [
        None,
        [],
        spec(index(1), span(0)),
        spec(index(1), span(-1)),
        spec(index(1), [b"type", b"range"]),
        spec(index(1), [b"type", b"unknown", b"spec", []]),
        spec([b"type", b"unknown", b"spec", []], span(1)),
        spec([b"type", b"keyword", b"spec", [b"keyword", 1]], span(1)),
        spec(index(1), span(1), b"incomplete"),
    ],
)
def test_keys_that_cannot_be_found_are_said_to_be_unknown(told: Value) -> None:
    table = parse_command_table([[b"x", 2, [], 0, 0, 0, [], [], [told], []]])
    assert [each.known for each in table[b"X"].key_specs] == [False]


# Classes


def test_a_plain_command_s_code_is_its_kind() -> None:
    codes = classify(BUILT_IN)
    assert codes[b"GET"] == Kind.READ
    assert codes[b"SET"] == Kind.WRITE
    assert codes[b"SORT"] == Kind.WRITE
    assert codes[b"PING"] == Kind.OTHER
    assert codes[b"PUBLISH"] == Kind.PUBSUB
    assert all(code in set(Kind) or code in set(Code) for code in codes.values())


def test_a_command_that_blocks_is_special_even_where_no_flag_says_so() -> None:
    codes = classify(parse_command_table(OLD))
    assert codes[b"BLPOP"] == Code.BLOCKING
    assert codes[b"XREAD"] == Code.BLOCKING


@pytest.mark.parametrize(
    ("marks", "code"),
    [
        ({"readonly", "module"}, Kind.READ),
        ({"write"}, Kind.WRITE),
        ({"write", "blocking"}, Code.BLOCKING),
        ({"write", "admin"}, Code.OWN),
        ({"readonly", "noscript"}, Code.OWN),
        ({"write", "asking"}, Code.OWN),
        ({"pubsub"}, Code.OWN),
        ({"fast"}, Code.OWN),
        (set(), Code.OWN),
    ],
)
def test_a_command_nobody_has_heard_of_is_classed_by_its_flags(marks: set[str], code: int) -> None:
    assert classify({b"X": Command(b"X", flags=frozenset(marks))})[b"X"] == code


def test_a_category_says_that_a_command_blocks() -> None:
    command = Command(b"X", flags=frozenset({"write"}), categories=frozenset({"blocking"}))
    assert classify({b"X": command})[b"X"] == Code.BLOCKING


def test_what_is_answered_by_us_is_special_whatever_the_table_says() -> None:
    codes = classify({})
    for name in (b"AUTH", b"HELLO", b"RESET", b"QUIT", b"SELECT", b"CLIENT", b"CONFIG", b"ACL", b"MULTI", b"MONITOR"):
        assert codes[name] == Code[name.decode()]
    assert codes[b"PSYNC"] == Code.REPLICATION
    assert codes[b"ASKING"] == Code.CLUSTER_STATE
    assert codes[b"MIGRATE"] == Code.OWN
    assert min(codes.values()) >= Code.AUTH


def test_no_plain_command_of_a_real_server_ties_its_connection(server: ValkeyServer) -> None:
    table = asked(server, 3)
    plain = [name for name, code in classify(table).items() if code < Code.AUTH and name in table]
    assert len(plain) > 170
    tying = {"connection", "transaction", "blocking", "scripting", "admin"}
    odd = {name for name in plain if table[name].categories & tying}
    # Each answers once, and leaves the connection as it was.
    assert odd == {b"PING", b"ECHO", b"COMMAND", b"ROLE", b"LASTSAVE"}


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (Kind.READ, Kind.READ),
        (Kind.PUBSUB, Kind.PUBSUB),
        (Code.AUTH, Kind.CONNECTION),
        (Code.CLIENT, Kind.CONNECTION),
        (Code.CLUSTER_STATE, Kind.CONNECTION),
        (Code.CONFIG, Kind.ADMIN),
        (Code.UNWATCH, Kind.TRANSACTION),
        (Code.SUNSUBSCRIBE, Kind.PUBSUB),
        (Code.BLOCKING, Kind.BLOCKING),
        (Code.SCRIPT, Kind.SCRIPT),
        (Code.OWN, Kind.ADMIN),
        (Code.JUDGED, Kind.OTHER),
        (Code.REFUSED, Kind.OTHER),
        (Code.UNKNOWN, Kind.OTHER),
    ],
)
def test_every_code_is_of_a_kind(code: int, kind: Kind) -> None:
    assert kind_of(code) is kind


def test_a_request_names_a_command_or_a_sub_command() -> None:
    def name(*words: bytes) -> bytes | None:
        found = find(list(words), BUILT_IN)
        return found.name if found else None

    assert name(b"get", b"k") == b"GET"
    assert name(b"Config", b"gEt") == b"CONFIG|GET"
    assert name(b"CONFIG") == b"CONFIG"
    assert name(b"CONFIG", b"GE") == b"CONFIG"
    assert name(b"GE") is None
