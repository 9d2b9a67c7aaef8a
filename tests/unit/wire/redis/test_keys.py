from __future__ import annotations

import random

import pytest

from ambassador.wire.redis.commands import BUILT_IN, Command, KeySpec, find, parse_command_table
from ambassador.wire.redis.keys import SLOTS, keys_of, option, slot
from ambassador.wire.redis.messages import decode
from tests.support.redis_client import Error, RedisClient
from tests.support.valkey import ValkeyServer, ValkeyServers, new_account

SERVERS = ["valkey9", pytest.param("redis7", marks=pytest.mark.apt)]


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest, valkeys: ValkeyServers) -> ValkeyServer:
    return valkeys.get(request.param)


def keys(line: str, *, channels: bool = False) -> list[int] | None:
    words = ["" if word == '""' else word for word in line.split()]
    request = [word.encode() for word in words]
    command = find(request, BUILT_IN)
    assert command is not None
    return keys_of(request, command, channels=channels)


@pytest.mark.parametrize(
    ("line", "places"),
    [
        ("GET k", [1]),
        ("GET", None),
        ("MGET a b c", [1, 2, 3]),
        ("MSET a 1 b 2", [1, 3]),
        ("LCS a b IDX", [1, 2]),
        ("PING x", []),
        ("BLPOP a b 0", [1, 2]),
        ("BLPOP 0", None),
        ("BITOP AND d a b", [2, 3, 4]),
        ("EVAL s 2 a b arg", [3, 4]),
        ("EVAL s 0 arg", []),
        ("EVAL s 2 a", None),
        ("EVAL s 01 a", None),
        ("EVAL s -1 a", None),
        ("EVAL s", None),
        ("ZUNIONSTORE d 2 a b WEIGHTS 1 2", [1, 3, 4]),
        ("MSETEX 2 a 1 b 2 EX 9", [2, 4]),
        ("SPUBLISH c x", []),
        ("SSUBSCRIBE c d", []),
        ("OBJECT", []),
        ("OBJECT ENCODING k", [2]),
        ("OBJECT NONSENSE k", None),
        ("XGROUP CREATE k g 0", [2]),
        ("SORT k", [1]),
        ("SORT k LIMIT 0 STORE BY STORE GET STORE STORE d ALPHA", [1, 10]),
        ("SORT k store a STORE b", [1, 3, 5]),
        ("SORT k STORE", [1]),
        ("SORT", None),
        ("GEORADIUS k 1 2 3 m COUNT 9 STORE d", [1, 9]),
        ("GEORADIUSBYMEMBER k m 3 m STOREDIST STORE", [1, 6]),
        ("GEORADIUS", None),
        ("XREAD STREAMS a b 0 0", [2, 3]),
        ("XREAD COUNT 1 BLOCK 0 streams a 0", [6]),
        ("XREADGROUP GROUP STREAMS STREAMS NOACK STREAMS a 0", [6]),
        ("XREAD STREAMS a b 0", None),
        ("XREAD NONSENSE STREAMS a 0", None),
        ("XREAD COUNT 1", None),
        ("XREAD STREAMS", None),
        ("MIGRATE h 1 k 0 9", [3]),
        ("MIGRATE h 1 k 0 9 COPY AUTH KEYS", [3]),
        ('MIGRATE h 1 "" 0 9 AUTH2 KEYS KEYS KEYS a b', [10, 11]),
        ("MIGRATE h 1 k 0 9 KEYS a", None),
        ('MIGRATE h 1 "" 0 9 KEYS', None),
        ("MIGRATE h", None),
    ],
)
def test_the_keys_of_a_request(line: str, places: list[int] | None) -> None:
    assert keys(line) == places


def test_channels_share_slots_with_keys_and_count_where_that_matters() -> None:
    assert keys("SPUBLISH c x", channels=True) == [1]
    assert keys("SSUBSCRIBE c d", channels=True) == [1, 2]


def command(*specs: KeySpec, first_key: int = 0, last_key: int = 0, step: int = 0) -> Command:
    return Command(b"X", key_specs=specs, first_key=first_key, last_key=last_key, step=step)


def test_a_keyword_shows_the_way() -> None:
    told = command(KeySpec(1, b"KEYS", last=-1))
    assert keys_of([b"X", b"1", b"keys", b"a", b"b"], told) == [3, 4]
    assert keys_of([b"X", b"1"], told) == []
    assert keys_of([b"X", b"KEYS"], told) is None


def test_a_keyword_that_is_there_twice_shows_no_way() -> None:
    assert keys_of([b"X", b"KEYS", b"KEYS", b"a"], command(KeySpec(1, b"KEYS", last=-1))) is None


def test_the_server_ends_an_option_s_name_at_a_nul() -> None:
    assert option(b"streams\0x") == b"STREAMS"
    assert keys_of([b"X", b"KEYS\0", b"a"], command(KeySpec(-1, b"KEYS", last=-1))) == [2]


def test_a_limit_halves_what_is_left() -> None:
    assert keys_of([b"X", b"a", b"b", b"1", b"2"], command(KeySpec(1, last=-1, limit=2))) == [1, 2]


def test_an_unknown_part_makes_all_unknown() -> None:
    assert keys_of([b"X", b"a"], command(KeySpec(1), KeySpec(known=False))) is None


def test_the_old_form_tells_first_last_and_step() -> None:
    words = [b"X", b"a", b"b", b"c", b"d"]
    assert keys_of(words, command(first_key=1, last_key=-2, step=2)) == [1, 3]
    assert keys_of(words, command(first_key=2, last_key=2, step=1)) == [2]
    assert keys_of(words, command(first_key=5, last_key=5, step=1)) is None
    assert keys_of(words, command(first_key=1, last_key=1, step=0)) == []
    assert keys_of(words, command()) == []


def test_keys_that_may_stand_anywhere_are_unknown_to_the_old_form() -> None:
    told = Command(b"X", flags=frozenset({"movablekeys"}), first_key=1, last_key=1, step=1)
    assert keys_of([b"X", b"a"], told) is None


# Against real servers

WORDS = [
    b"a", b"b{x}", b"STORE", b"LIMIT", b"0", b"1", b"2", b"3", b"KEYS", b"STREAMS", b"GET", b"BY", b"AUTH", b"COUNT",
    b"GROUP", b"", b"STOREDIST", b"store", b"streams", b"NOACK", b"BLOCK", b"COPY", b"WEIGHTS", b"-1", b"01",
]  # fmt: skip
READ_IN_ORDER = {b"SORT", b"SORT_RO", b"GEORADIUS", b"GEORADIUSBYMEMBER", b"XREAD", b"XREADGROUP", b"MIGRATE"}


def test_a_real_server_finds_the_same_keys(server: ValkeyServer) -> None:
    """Random requests for every command. Those read in order here, the server's COMMAND GETKEYS reads less exactly."""
    account, rng = new_account(server), random.Random(7)
    with RedisClient(("127.0.0.1", server.port)) as client:
        client.ask("AUTH", account.name, account.password)
        table = parse_command_table(decode(client.ask("COMMAND").raw)[0])
        agreed = 0
        for name, container in table.items():
            for each in (container.subcommands.values() or [container]) if name not in READ_IN_ORDER else ():
                for _ in range(8):
                    words = each.name.split(b"|")
                    length = abs(each.arity) + (rng.randrange(9) if each.arity < 0 else 0)
                    words += rng.choices(WORDS, k=length - len(words))
                    agreed += agrees(client, words, table)
    assert agreed > 700


def agrees(client: RedisClient, words: list[bytes], table: dict[bytes, Command]) -> bool:
    """Whether a request has keys on which both agree; fails where they do not."""
    value = client.ask("COMMAND", "GETKEYS", *words).value
    found = find(words, table)
    assert found is not None
    places = keys_of(words, found)
    ours = None if places is None else [words[place] for place in places]
    if isinstance(value, list) and ours is not None:
        assert sorted(ours) == sorted(bytes(key) for key in value if isinstance(key, bytes)), words
    elif isinstance(value, list):
        # A number that the command itself will refuse.
        assert not value or b"01" in words, words
    else:
        assert isinstance(value, Error)
        assert not ours or "no key arguments" not in value.text, words
    return bool(ours) and isinstance(value, list)


@pytest.mark.parametrize(
    "line",
    [
        "SORT k BY w GET # LIMIT 0 1 ALPHA STORE d",
        "SORT_RO k BY w",
        "GEORADIUS k 1 2 3 m WITHDIST COUNT 9 ASC STORE d",
        "GEORADIUSBYMEMBER k m 3 m STOREDIST d",
        "XREAD COUNT 1 STREAMS a b 0 0",
        "XREADGROUP GROUP g STREAMS COUNT 1 NOACK STREAMS a b 0 0",
        "MIGRATE h 1 k 0 9 COPY AUTH2 u KEYS",
    ],
)
def test_a_real_server_finds_the_keys_behind_the_same_options(line: str, server: ValkeyServer) -> None:
    account, words = new_account(server), [word.encode() for word in line.split()]
    with RedisClient(("127.0.0.1", server.port)) as client:
        client.ask("AUTH", account.name, account.password)
        assert agrees(client, words, dict(BUILT_IN))


@pytest.mark.parametrize(
    ("key", "number"),
    [
        (b"", 0),
        (b"123456789", 12739),
        (b"foo", 12182),
        (b"{user1000}.following", slot(b"user1000")),
        (b"foo{}{bar}", 8363),
        (b"foo{{bar}}zap", slot(b"{bar")),
        (b"foo{bar}{zap}", slot(b"bar")),
        (b"a{b", slot(b"a{b")),
    ],
)
def test_a_key_s_slot_is_that_of_its_hash_tag(key: bytes, number: int) -> None:
    assert slot(key) == number < SLOTS


def test_a_real_server_finds_the_same_slots(valkey: ValkeyServer) -> None:
    rng, account = random.Random(3), new_account(valkey)
    drawn = [bytes(rng.choices(b"ab{}\xff\0", k=rng.randrange(12))) for _ in range(300)]
    with RedisClient(("127.0.0.1", valkey.port)) as client:
        client.ask("AUTH", account.name, account.password)
        replies = client.pipeline([("CLUSTER", "KEYSLOT", key) for key in drawn])
    assert [reply.value for reply in replies] == [slot(key) for key in drawn]
