from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from ambassador.wire.redis.commands import BUILT_IN, Code, Command, Kind, classify, parse_command_table
from ambassador.wire.redis.messages import Simple, decode
from ambassador.wire.redis.policy import NO_KEY, Policy
from tests.support.redis_client import RedisClient
from tests.support.valkey import ValkeyServer, new_account


def judge(policy: Policy, line: str | list[bytes], table: Mapping[bytes, Command] = BUILT_IN) -> str | None:
    words = line if isinstance(line, list) else [word.encode() for word in line.split()]
    return policy.judge(words, table, "alice")


def refusal(name: str) -> str:
    return f"NOPERM User alice has no permissions to run the '{name}' command"


def policy(allow: str = "", deny: str = "", **options: Any) -> Policy:
    return Policy(allow.split(), deny.split(), **options)


# Without any policy


def test_a_debugger_of_scripts_is_refused_whatever_is_allowed() -> None:
    for one in (Policy(), policy("SCRIPT|DEBUG"), policy("SCRIPT"), policy("@all")):
        assert judge(one, "SCRIPT DEBUG YES") == refusal("script|debug")
    assert judge(Policy(), "SCRIPT LOAD x") is None


def test_what_would_let_a_script_see_our_login_is_refused_whatever_is_allowed() -> None:
    for one in (Policy(), policy("DEBUG"), policy("DEBUG|SET-DISABLE-DENY-SCRIPTS"), policy("@all")):
        assert judge(one, "debug set-disable-deny-scripts 1") == refusal("debug|set-disable-deny-scripts")
    assert judge(Policy(), "DEBUG SLEEP 0") is None
    assert judge(policy("DEBUG|SLEEP"), "DEBUG SLEEP 0") is None
    assert judge(policy("DEBUG|SLEEP"), "DEBUG RELOAD") == refusal("debug|reload")
    assert policy("DEBUG|SLEEP").unknown_commands(BUILT_IN) == []


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("ACL LIST", "acl|list"),
        ("acl setuser x", "acl|setuser"),
        ("ACL GETUSER x", "acl|getuser"),
        ("ACL LOG", "acl|log"),
        ("ACL", "acl"),
        ("ACL NONSENSE", "acl|nonsense"),
        ("CONFIG SET requirepass x", "config|set"),
        ("config set maxmemory 1 MASTERAUTH x", "config|set"),
        ("CONFIG SET tls-key-file-pass x", "config|set"),
        ("REPLICAOF h 1", "replicaof"),
        ("SLAVEOF h 1", "slaveof"),
        ("FAILOVER", "failover"),
        ("CLUSTER MEET h 1", "cluster|meet"),
        ("CLUSTER REPLICATE x", "cluster|replicate"),
        ("MODULE LOAD /x", "module|load"),
        ("SENTINEL SET m auth-pass x", "sentinel|set"),
    ],
)
def test_what_shows_or_changes_our_login_is_refused_without_any_policy(line: str, name: str) -> None:
    assert judge(Policy(), line) == refusal(name)


@pytest.mark.parametrize(
    "line",
    [
        "ACL WHOAMI",
        "ACL CAT",
        "ACL GENPASS",
        "ACL HELP",
        "ACL DRYRUN x GET k",
        "CONFIG GET *",
        "CONFIG SET loglevel requirepass",
        "CONFIG SET maxmemory 1",
        "CLUSTER NODES",
        "MODULE LIST",
        "SENTINEL MASTERS",
        "SENTINEL",
        "MIGRATE h 1 k 0 9",
        "EVAL x 0",
        "FLUSHALL",
        "CLIENT LIST",
        "NONSENSE",
    ],
)
def test_everything_else_is_the_client_s_without_any_policy(line: str) -> None:
    assert judge(Policy(), line) is None


def test_an_entry_that_names_it_lifts_the_guard() -> None:
    assert judge(policy("@all ACL|LIST"), "ACL LIST") is None
    assert judge(policy("@all ACL|LIST"), "ACL USERS") == refusal("acl|users")
    assert judge(policy("@all ACL"), "ACL USERS") is None
    assert judge(policy("@all REPLICAOF"), "REPLICAOF NO ONE") is None
    assert judge(policy("@all"), "REPLICAOF NO ONE") == refusal("replicaof")


def test_no_entry_lets_a_client_set_a_credential() -> None:
    assert judge(policy("CONFIG|SET"), "CONFIG SET requirepass x") == refusal("config|set")
    assert judge(policy("CONFIG|SET"), "CONFIG SET maxmemory 1") is None


def test_without_any_policy_no_class_changes() -> None:
    classes = classify(BUILT_IN)
    assert Policy().apply(classes, BUILT_IN) == classes


# Names


@pytest.mark.parametrize("rules", [Policy(), policy("@all"), policy("", "flushall")])
def test_a_name_is_taken_whole(rules: Policy) -> None:
    assert judge(rules, [b"FLUSHALL\0x"]) == "ERR unknown command 'FLUSHALL', with args beginning with: "
    assert judge(rules, [b"CONFIG", b"GET\0x", b"*"]) == "ERR unknown subcommand 'GET'. Try CONFIG HELP."
    assert judge(rules, [b"SET", b"k\0", b"v"]) is None


def test_redis_obeys_names_that_only_begin_like_a_command_s(redis7: ValkeyServer) -> None:
    """Why a name with a NUL is refused: in the same bucket of a hash table, names are compared up to the NUL."""
    account = new_account(redis7)
    with RedisClient(("127.0.0.1", redis7.port)) as client:
        client.ask("AUTH", account.name, account.password)
        replies = client.pipeline([(f"ECHO\0{number}", "obeyed") for number in range(20_000)])
    assert b"obeyed" in [reply.value for reply in replies]


def test_neither_case_nor_abbreviation_gets_past() -> None:
    rules = policy("", "FlushAll CONFIG|SET")
    assert judge(rules, "fLuShAlL") == refusal("flushall")
    assert judge(rules, "config sEt maxmemory 1") == refusal("config|set")
    assert judge(rules, "CONFIG SE maxmemory 1") is None  # the server knows no such thing either
    assert judge(rules, "FLUSHAL") is None


# allow, deny


def test_with_an_allow_list_nothing_else_may_be_used() -> None:
    rules = policy("get @hash CONFIG|GET")
    assert judge(rules, "GET k") is None
    assert judge(rules, "HSET h f v") is None
    assert judge(rules, "CONFIG GET x") is None
    assert judge(rules, "CONFIG RESETSTAT") == refusal("config|resetstat")
    assert judge(rules, "SET k v") == refusal("set")
    assert judge(rules, "NONSENSE") == refusal("nonsense")


@pytest.mark.parametrize(
    "line",
    [
        "AUTH x",
        "HELLO 3",
        "PING",
        "CLIENT SETINFO lib-name x",
        "CLIENT MAINT_NOTIFICATIONS ON",
        "COMMAND",
        "COMMAND DOCS",
        "MULTI",
        "WATCH k",
        "UNSUBSCRIBE",
    ],
)
def test_what_every_driver_needs_is_allowed_unsaid(line: str) -> None:
    assert judge(policy("GET"), line) is None
    assert judge(policy("", "", read_only=True), line) is None
    assert judge(policy("", "", keys=["k"]), line) is None


@pytest.mark.parametrize(("line", "name"), [("SELECT 1", "select"), ("CLIENT TRACKING ON BCAST", "client|tracking")])
def test_what_leads_to_other_data_is_to_be_named(line: str, name: str) -> None:
    assert judge(policy("GET"), line) == refusal(name)
    assert judge(policy(f"GET {name.upper()}"), line) is None
    assert judge(policy("", "", read_only=True), line) is None


def test_a_client_that_could_do_harm_is_not_needed() -> None:
    assert judge(policy("GET"), "CLIENT KILL 1") == refusal("client|kill")
    assert judge(policy("GET"), "CLIENT LIST") == refusal("client|list")


def test_deny_wins() -> None:
    rules = policy("@all", "@dangerous CLIENT|KILL")
    assert judge(rules, "KEYS *") == refusal("keys")
    assert judge(rules, "CONFIG GET x") == refusal("config|get")
    assert judge(rules, "CONFIG HELP") is None
    assert judge(rules, "CLIENT KILL x") == refusal("client|kill")
    assert judge(rules, "CLIENT LIST") == refusal("client|list")
    assert judge(rules, "CLIENT ID") is None


def test_nobody_is_refused_what_lets_him_in_or_out() -> None:
    rules = policy("", "@all AUTH HELLO QUIT RESET", read_only=True, keys=["x"])
    assert [judge(rules, line) for line in ("AUTH x", "HELLO 3", "QUIT", "RESET")] == [None] * 4


def test_a_sub_command_that_nobody_knows_is_all_that_its_container_holds() -> None:
    assert judge(policy("", "@dangerous"), "CONFIG NONSENSE") == refusal("config|nonsense")
    assert judge(policy("", "@write"), "CONFIG NONSENSE") is None


def test_a_command_that_nobody_knows_may_be_what_a_category_keeps_out() -> None:
    assert judge(policy("", "@dangerous"), "RENAMED") == refusal("renamed")
    assert judge(policy("", "FLUSHALL"), "RENAMED") is None
    assert judge(policy("", "", read_only=True), "RENAMED") == refusal("renamed")
    assert judge(policy("@all RENAMED", "@dangerous"), "RENAMED") is None


# read_only


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("SET k v", "set"),
        ("SORT k", "sort"),
        ("FLUSHALL", "flushall"),
        ("EVAL x 0", "eval"),
        ("FCALL f 0", "fcall"),
        ("XGROUP CREATE k g 0", "xgroup|create"),
        ("FUNCTION LOAD x", "function|load"),
        ("CONFIG SET maxmemory 1", "config|set"),
        ("SHUTDOWN", "shutdown"),
        ("DEBUG SLEEP 1", "debug|sleep"),
        ("CLIENT KILL x", "client|kill"),
    ],
)
def test_a_read_only_listener_refuses_what_changes_something(line: str, name: str) -> None:
    assert judge(policy("", "", read_only=True), line) == refusal(name)


@pytest.mark.parametrize(
    "line",
    [
        "GET k",
        "EVAL_RO x 0",
        "SORT_RO k",
        "XINFO STREAM k",
        "CONFIG GET x",
        "SLOWLOG GET",
        "CLIENT LIST",
        "CLIENT NO-EVICT on",
        "PUBLISH c x",
        "SUBSCRIBE c",
        "XREAD STREAMS k 0",
        "MONITOR",
        "INFO",
    ],
)
def test_a_read_only_listener_lets_everybody_read(line: str) -> None:
    assert judge(policy("", "", read_only=True), line) is None


# keys


def test_a_key_must_begin_as_one_of_the_prefixes() -> None:
    rules = policy("", "", keys=["app:", "shared:"])
    assert judge(rules, "GET app:1") is None
    assert judge(rules, "MGET app:1 shared:2") is None
    assert judge(rules, "MGET app:1 other") == NO_KEY
    assert judge(rules, "GET APP:1") == NO_KEY
    assert judge(rules, "RENAME app:1 other") == NO_KEY
    assert judge(rules, "OBJECT ENCODING other") == NO_KEY
    assert judge(rules, "XREADGROUP GROUP STREAMS app: STREAMS other 0") == NO_KEY
    assert judge(rules, "SORT app:1 STORE other") == NO_KEY
    assert judge(rules, "PUBLISH other x") is None


@pytest.mark.parametrize(
    "line",
    [
        "KEYS app:*",
        "SCAN 0 MATCH app:*",
        "RANDOMKEY",
        "FLUSHALL",
        "FLUSHDB",
        "SWAPDB 0 1",
        "EVAL x 0",
        "EVAL x 1 app:1",
        "EVAL_RO x 1 app:1",
        "FCALL f 1 app:1",
        "SORT app:1 BY other*",
        "SORT_RO app:1 get other*->f",
        "MONITOR",
        "PSYNC ? -1",
        "DEBUG OBJECT app:1",
        "SLOWLOG GET",
        "CLUSTER GETKEYSINSLOT 1 1",
        "CLIENT TRACKING ON BCAST",
        "CLUSTERSCAN 0",
        "GET",
        "XREAD NONSENSE",
        "OBJECT NONSENSE app:1",
    ],
)
def test_what_reaches_keys_that_it_does_not_name_is_refused(line: str) -> None:
    assert judge(policy("", "", keys=["app:"]), line) == NO_KEY


@pytest.mark.parametrize(
    "line",
    [
        "PING",
        "DBSIZE",
        "LOLWUT",
        "INFO",
        "MULTI",
        "EXEC",
        "SELECT 1",
        "SUBSCRIBE c",
        "SORT app:1 BY nosort GET #",
        "COMMAND GETKEYS GET x",
        "CONFIG GET maxmemory",
        "CLIENT SETNAME x",
        "SCRIPT LOAD x",
    ],
)
def test_what_reaches_no_keys_is_not_the_key_rules_business(line: str) -> None:
    assert judge(policy("", "", keys=["app:"]), line) is None


def test_an_entry_that_names_it_lets_it_reach_all_keys_but_not_name_others() -> None:
    rules = policy("@all SCAN EVAL RENAMED", keys=["app:"])
    assert judge(rules, "SCAN 0") is None
    assert judge(rules, "EVAL x 0") is None
    assert judge(rules, "EVAL x 1 app:1") is None
    assert judge(rules, "EVAL x 1 other") == NO_KEY
    assert judge(rules, "EVALSHA x 0") == NO_KEY
    assert judge(rules, "RENAMED x") is None
    assert judge(rules, "UNKNOWN x") == refusal("unknown")


def module(name: bytes, *flags: bytes, first: int = 0) -> dict[bytes, Command]:
    return parse_command_table([[name, -1, [Simple(flag) for flag in flags], first, first, 1]])


def test_a_module_s_command_without_keys_may_reach_all() -> None:
    rules = policy("", "", keys=["app:"])
    assert judge(rules, "FT.X idx", module(b"ft.x", b"module")) == NO_KEY
    assert judge(rules, "FT.X app:1", module(b"ft.x", b"module", b"readonly", first=1)) is None
    assert judge(rules, "FT.X app:1", module(b"ft.x", b"module", b"movablekeys", first=1)) == NO_KEY


# Classes


def test_refused_commands_are_marked_and_others_keep_their_classes() -> None:
    found = policy("", "SET CONFIG @blocking").apply(classify(BUILT_IN), BUILT_IN)
    assert found[b"SET"] == Code.REFUSED
    assert found[b"BLPOP"] == Code.REFUSED
    assert found[b"REPLICAOF"] == Code.REFUSED
    assert found[b"GET"] == Kind.READ
    assert found[b"CONFIG"] == Code.CONFIG  # by its sub-command
    assert found[b"AUTH"] == Code.AUTH


def test_a_plain_container_is_judged_by_its_sub_command() -> None:
    found = policy("", "MEMORY|DOCTOR").apply(classify(BUILT_IN), BUILT_IN)
    assert found[b"MEMORY"] == Code.JUDGED
    assert found[b"COMMAND"] == Code.JUDGED


def test_with_key_rules_every_plain_command_with_keys_is_judged() -> None:
    found = policy("", "", keys=["app:"]).apply(classify(BUILT_IN), BUILT_IN)
    assert found[b"GET"] == found[b"MSET"] == found[b"SORT"] == Code.JUDGED
    assert found[b"KEYS"] == found[b"FLUSHALL"] == Code.REFUSED
    assert found[b"PING"] == Kind.OTHER
    assert found[b"PUBLISH"] == Kind.PUBSUB
    assert found[b"DBSIZE"] == Kind.READ
    assert found[b"EVAL"] == Code.SCRIPT
    assert found[b"WATCH"] == Code.WATCH


def test_a_plain_command_is_never_one_that_would_be_refused_with_some_arguments() -> None:
    rules = policy("", "@dangerous DBSIZE MEMORY|DOCTOR", read_only=True, keys=["app:"])
    for name, code in rules.apply(classify(BUILT_IN), BUILT_IN).items():
        if code < Code.AUTH:
            for words in ([name], [name, b"other"], [name, b"other", b"1"]):
                assert judge(rules, words) is None, words


def test_a_command_that_the_table_lacks_is_judged_by_name() -> None:
    found = policy("", "QUIT2 @dangerous", keys=["x"]).apply({b"QUIT": Code.QUIT, b"QUIT2": Code.OWN}, {})
    assert found == {b"QUIT": Code.QUIT, b"QUIT2": Code.REFUSED}


# The operator's words


def test_words_that_name_nothing_are_told_with_the_nearest_that_do() -> None:
    rules = policy("GTEX @dangeros CONFIG|GOT", "FLUSHALL @all CLIENT|MAINT_NOTIFICATIONS zzzzzz")
    assert rules.unknown_commands(BUILT_IN) == [
        "there is no command CONFIG|GOT; did you mean CONFIG|GET?",
        "there is no command GTEX; did you mean GETEX?",
        "there is no command ZZZZZZ",
    ]
    assert rules.unknown_categories() == ["there is no category @dangeros; did you mean @dangerous?"]


def test_the_server_s_own_words_are_known(valkey: ValkeyServer) -> None:
    account = new_account(valkey)
    with RedisClient(("127.0.0.1", valkey.port)) as client:
        client.ask("AUTH", account.name, account.password)
        table = parse_command_table(decode(client.ask("COMMAND").raw)[0])
        categories = client.ask("ACL", "CAT").value
    assert isinstance(categories, list)
    names = [f"@{bytes(name).decode()}" for name in categories if isinstance(name, bytes)]
    rules = Policy(names, [name.decode() for name in table])
    assert rules.unknown_commands(table) == rules.unknown_categories() == []
    assert policy("mod.get").unknown_commands(module(b"mod.get")) == []


def test_a_refusal_is_in_the_server_s_words(valkey: ValkeyServer) -> None:
    account = new_account(valkey, rules="+@all -config|set -get ~app:* resetchannels")
    with RedisClient(("127.0.0.1", valkey.port)) as client:
        client.ask("AUTH", account.name, account.password)
        rules = policy("", "CONFIG|SET GET", keys=["app:"])
        for line in ("CONFIG SET maxmemory 1", "get app:1", "STRLEN other"):
            said = rules.judge([word.encode() for word in line.split()], BUILT_IN, account.name)
            assert client.ask(*line.split()).error.text == said


# Scripts, which could call what is denied


@pytest.mark.parametrize("line", ["EVAL x 0", "EVALSHA x 0", "FCALL f 0", "eval_ro x 0"])
def test_who_denies_commands_denies_scripts_unless_they_are_allowed(line: str) -> None:
    name = line.split(maxsplit=1)[0].lower()
    assert judge(policy(deny="FLUSHALL"), line) == refusal(name)
    assert judge(policy(deny="@dangerous"), line) == refusal(name)
    assert judge(policy(deny="FLUSHALL", scripts=True), line) is None
    assert judge(policy(name, "FLUSHALL"), line) is None
    assert judge(policy(deny=f"FLUSHALL {name}", scripts=True), line) == refusal(name)
    assert judge(Policy(), line) is None


@pytest.mark.parametrize("line", ["SCRIPT FLUSH", "SCRIPT LOAD x", "SCRIPT KILL", "MEMORY PURGE", "FUNCTION KILL"])
def test_who_may_only_read_leaves_scripts_and_memory_as_they_are(line: str) -> None:
    assert judge(policy(read_only=True), line) == refusal("|".join(line.lower().split()[:2]))


def test_with_rules_for_keys_nothing_that_tells_of_keys_can_be_turned_on() -> None:
    assert judge(policy(keys=["app:"]), "CONFIG SET notify-keyspace-events KEA") == NO_KEY
    assert judge(policy("CONFIG|SET", keys=["app:"]), "CONFIG SET notify-keyspace-events KEA") is None
