from __future__ import annotations

import json
import secrets
from enum import StrEnum
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ambassador.telemetry.lines import LONGEST, LONGEST_TRACEBACK, json_line, text_line, timestamp
from ambassador.telemetry.redaction import conceal


def parsed(**fields: object) -> dict[str, Any]:
    line = json_line(1_700_000_000.1239, "info", "something happened", "room", fields)
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    found: dict[str, Any] = json.loads(line)
    return found


def text(**fields: object) -> str:
    line = text_line(1_700_000_000.0, "warning", "something happened", "room", fields).decode()
    assert line.count("\n") == 1
    return line.removesuffix("\n")


def test_a_line_begins_with_time_level_and_event() -> None:
    line = parsed(user="app", bytes_in=3)
    assert list(line) == ["time", "level", "event", "logger", "user", "bytes_in"]
    assert line["time"] == "2023-11-14T22:13:20.123Z"
    assert (line["level"], line["event"], line["logger"]) == ("info", "something happened", "room")
    assert (line["user"], line["bytes_in"]) == ("app", 3)


@pytest.mark.parametrize(
    ("wall", "expected"),
    [
        (0.0, "1970-01-01T00:00:00.000Z"),
        (1_767_225_599.9996, "2025-12-31T23:59:59.999Z"),
        (1_767_225_600.0, "2026-01-01T00:00:00.000Z"),
    ],
)
def test_times_are_utc_with_milliseconds(wall: float, expected: str) -> None:
    assert timestamp(wall) == expected


def test_a_field_cannot_replace_what_every_line_has() -> None:
    line = parsed(level="debug", time=3)
    assert (line["level"], line["level_"], line["time_"]) == ("info", "debug", 3)


def test_a_field_that_is_none_is_left_out() -> None:
    assert "user" not in parsed(user=None)


class Word(StrEnum):
    ONE = "one"


class Unprintable:
    def __str__(self) -> str:
        raise TypeError("a secret is not text")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ([None], [None]),
        (True, True),
        (1.5, 1.5),
        (float("nan"), None),
        (2**70, str(2**70)),
        (-(2**70), str(-(2**70))),
        (Word.ONE, "one"),
        (b"abc\xff", "abc\\xff"),
        ("half\udc80", "half\\udc80"),
        (ip_address("::1"), "::1"),
        (ValueError("no"), "no"),
        (("a", [1]), ["a", [1]]),
        ({"a": {1: "b"}}, {"a": {"1": "b"}}),
        ([[[[["deep"]]]]], [[[["['deep']"]]]]),
        (Unprintable(), "(Unprintable: TypeError)"),
    ],
)
def test_any_value_becomes_what_json_knows(value: object, expected: object) -> None:
    assert parsed(value=value)["value"] == expected


def test_strings_are_bounded_and_say_how_long_they_were() -> None:
    value = parsed(value="x" * 9000)["value"]
    assert value == "x" * LONGEST + "… (9000 characters)"


def test_tracebacks_may_be_longer() -> None:
    assert len(parsed(traceback="x" * (LONGEST_TRACEBACK + 5))["traceback"]) > LONGEST_TRACEBACK


def test_collections_are_bounded() -> None:
    assert len(parsed(value=list(range(1000)))["value"]) == 64


@pytest.mark.parametrize("char", ["\x7f", "\x9b", "\u2028", "\u202e", "\x1b", "\n", "\0"])
def test_nothing_in_a_value_reaches_a_terminal_as_a_command(char: str) -> None:
    line = json_line(0.0, "info", "e", "l", {"user": f"a{char}b"})
    assert char.encode() not in line.removesuffix(b"\n")
    assert json.loads(line)["user"] == f"a{char}b"
    assert char not in text(user=f"a{char}b")


def test_known_secrets_are_masked_in_every_kind_of_value() -> None:
    secret = f"geheim-{secrets.token_hex(8)}"
    conceal(secret)
    line = parsed(
        easy=f"x{secret}", umlaut=f"ü{secret}", raw=secret.encode(), nested={"a": [secret]}, error=ValueError(secret)
    )
    assert secret not in json.dumps(line)
    assert (line["easy"], line["umlaut"], line["nested"]) == ("x***", "ü***", {"a": ["***"]})


def test_masking_leaves_what_is_fixed_in_a_line() -> None:
    conceal("something happened")
    line = parsed(user="something happened")
    assert (line["event"], line["user"]) == ("something happened", "***")


def test_a_secret_across_the_cut_of_a_long_string_is_masked() -> None:
    secret = secrets.token_hex(16)
    conceal(secret)
    line = json_line(0.0, "info", "e", "l", {"value": "x" * (LONGEST - 10) + secret + "y" * 100})
    assert secret[:10].encode() not in line


def test_text_is_for_the_eye() -> None:
    assert text(user="app", database="my db", n=3, nothing=None) == (
        '2023-11-14T22:13:20.000Z WARNING something happened [room] user=app database="my db" n=3'
    )


@pytest.mark.parametrize("value", ["", "a=b", 'say "x"', "back\\slash", "it's"])
def test_text_quotes_what_could_be_mistaken(value: str) -> None:
    assert text(user=value).endswith(f" user={json.dumps(value)}")


fields = st.dictionaries(
    st.from_regex(r"[a-z_]{1,10}", fullmatch=True),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
        max_leaves=6,
    ),
    max_size=5,
)


@given(fields)
def test_whatever_the_fields_are_one_line_results(given_fields: dict[str, Any]) -> None:
    found = json.loads(json_line(0.0, "info", "event", "logger", given_fields))
    assert found["event"] == "event"
    assert text_line(0.0, "info", "event", "logger", given_fields).count(b"\n") == 1
