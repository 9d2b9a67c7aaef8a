"""A listener's rules, against the table of a server."""

from __future__ import annotations

import io
from typing import Any

import pytest

from ambassador.protocols.redis.options import RedisListenerOptions
from ambassador.protocols.redis.rules import Rules
from ambassador.telemetry import logs
from ambassador.wire.redis.commands import BUILT_IN, Code, Command, Kind


def rules(**options: Any) -> Rules:
    return Rules(RedisListenerOptions(upstream="cache", **options))


def test_before_a_table_was_learned_nothing_is_known() -> None:
    made = rules()
    assert made.classes == {}
    assert made.code_of(b"GET") == Code.UNKNOWN


def test_without_rules_the_classes_are_the_table_s() -> None:
    made = rules()
    made.learn(BUILT_IN)
    assert (made.classes[b"GET"], made.classes[b"SET"], made.classes[b"MULTI"]) == (Kind.READ, Kind.WRITE, Code.MULTI)
    assert made.code_of(b"NOSUCH") == Code.UNKNOWN
    assert made.judge([b"get", b"a"]) is None


def test_a_table_is_worked_out_once_and_another_one_anew() -> None:
    made = rules()
    made.learn(BUILT_IN)
    classes = made.classes
    made.learn(BUILT_IN)
    assert made.classes is classes
    made.learn({b"NEW": Command(b"NEW", flags=frozenset({"readonly"}))})
    assert made.classes[b"NEW"] == Kind.READ
    assert b"GET" not in made.classes


def test_what_is_refused_is_stopped_by_the_scan_and_still_known_for_what_it_is() -> None:
    made = rules(deny=["SET"])
    made.learn(BUILT_IN)
    assert (made.classes[b"SET"], made.code_of(b"SET")) == (Code.REFUSED, Kind.WRITE)
    assert "NOPERM" in str(made.judge([b"SET", b"a", b"1"]))


def test_with_rules_about_keys_every_request_is_judged() -> None:
    made = rules(keys=["mine:"])
    made.learn(BUILT_IN)
    assert made.classes[b"GET"] == Code.JUDGED
    assert made.judge([b"GET", b"mine:a"]) is None
    assert made.judge([b"GET", b"other"]) is not None


@pytest.mark.parametrize(
    ("options", "code", "trusted"),
    [
        ({}, Code.MULTI, True),
        ({"deny": ["SET"]}, Code.BLOCKING, True),
        ({"keys": ["mine:"]}, Code.BLOCKING, False),
        ({"keys": ["mine:"]}, Code.WATCH, False),
        ({"keys": ["mine:"]}, Code.UNWATCH, True),
        ({"deny": ["SET"]}, Code.MULTI, True),
        ({}, Code.SCRIPT, True),
        ({"deny": ["SCRIPT|FLUSH"]}, Code.SCRIPT, False),
        ({"read_only": True}, Code.SCRIPT, False),
        ({}, Code.OWN, False),
        ({}, Code.UNKNOWN, False),
        ({}, Code.CLUSTER, False),
    ],
)
def test_some_requests_need_no_look_at_their_words(options: dict[str, Any], code: Code, trusted: bool) -> None:
    assert rules(**options).trusts(code) is trusted


def test_a_command_that_the_server_does_not_have_is_warned_of() -> None:
    output = io.BytesIO()
    handle = logs.setup("info", "json", output)
    try:
        made = rules(deny=["FLUSHAL", "GET"])
        made.learn(BUILT_IN)  # ours is not the last word
        made.learn(dict(BUILT_IN))
        assert handle.flush(5)
    finally:
        handle.close()
    (line,) = output.getvalue().splitlines()
    assert b"there is no command FLUSHAL; did you mean FLUSHALL?" in line
