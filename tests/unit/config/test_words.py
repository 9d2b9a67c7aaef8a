"""What is wrong, in words."""

from __future__ import annotations

from typing import Any

import pytest

from ambassador.config import words


@pytest.mark.parametrize(
    ("kind", "context", "text"),
    [
        ("missing", {}, "this key is required"),
        ("string_type", {}, "must be text; put it in quotes"),
        ("model_type", {}, "must be a mapping (lines of key: value)"),
        ("greater_than_equal", {"ge": 1}, "must be at least 1"),
        ("less_than_equal", {"le": 9}, "must be at most 9"),
        ("too_short", {"min_length": 1}, "must not be empty"),
        ("too_short", {"min_length": 2}, "must have at least 2 entries"),
        ("string_too_short", {"min_length": 1}, "must not be empty"),
        ("string_too_long", {"max_length": 9}, "must have at most 9 characters"),
        ("literal_error", {"expected": "'a' or 'b'"}, "must be 'a' or 'b'"),
        ("value_error", {"error": ValueError("durations look like 5s")}, "durations look like 5s"),
        ("ambassador_pool", {}, "pydantic's text"),
        ("complex_str_parsing", {}, "is not valid here (complex str parsing)"),
    ],
)
def test_faults_are_explained(kind: str, context: dict[str, Any], text: str) -> None:
    assert words.explain(kind, context, "pydantic's text") == text


def test_an_unknown_key_is_met_with_the_nearest_known_one() -> None:
    assert words.unknown_key("credental", {"credential", "tls"}) == "unknown key; did you mean 'credential'?"


def test_an_unknown_key_like_no_other_is_met_with_what_there_is() -> None:
    assert words.unknown_key("zzz", {"credential", "tls"}) == "unknown key; known here: credential, tls"


def test_where_nothing_is_known_nothing_is_suggested() -> None:
    assert words.unknown_key("zzz", ()) == "unknown key"
    assert words.suggestion("zzz", [f"name-{number}" for number in range(25)]) == ""


def test_a_key_of_a_later_version_is_refused_as_such() -> None:
    assert words.unknown_key("vaults", {"vault"}, {"vaults"}) == "'vaults' is not available in this version"
