"""Quoting: what goes in comes out of a real server unchanged."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ambassador.demo.sql import identifier, literal
from tests.support.postgres import PostgresServer

NASTY = [
    "",
    "plain",
    "it's",
    "''",
    'a "name"',
    "back\\slash",
    "\\'; DROP TABLE x; --",
    ":variable :'x'",
    "$$ $1",
    "ünïcode ✓",
]


@pytest.mark.parametrize("text", NASTY)
def test_a_string_survives_a_round_trip_through_psql(postgres17: PostgresServer, text: str) -> None:
    assert postgres17.psql(f"SELECT {literal(text)}") == text


@pytest.mark.parametrize("name", NASTY[1:])
def test_an_identifier_names_exactly_its_column(postgres17: PostgresServer, name: str) -> None:
    shown = postgres17.psql(f"SELECT k FROM (SELECT 1 AS {identifier(name)}) t, json_object_keys(row_to_json(t)) k")
    assert shown == name


@pytest.mark.parametrize("quote", [literal, identifier])
def test_a_nul_character_is_refused(quote: Callable[[str], str]) -> None:
    with pytest.raises(ValueError, match="NUL"):
        quote("a\0b")
