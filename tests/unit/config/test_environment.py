"""Environment variables in texts."""

from __future__ import annotations

from typing import Any

import pytest

from ambassador.config.document import parse
from ambassador.config.environment import expand

ENVIRON = {
    "USER": "app",
    "PORT": "5432",
    "EMPTY": "",
    "EVIL": "x\nadmin: {listen: '0.0.0.0:1'}",
    "NESTED": "${USER}",
    "RAW": "\udcff",
}


def expanded(text: str) -> tuple[Any, list[Any]]:
    document = parse(text)
    expand(document, ENVIRON)
    return document.data, document.faults


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${USER}", "app"),
        ("'${USER}'", "app"),
        ("db:${PORT}", "db:5432"),
        ("${USER}@${PORT}", "app@5432"),
        ("a${EMPTY}b", "ab"),
        ("$${USER}", "${USER}"),
        ("'$$${USER}'", "$${USER}"),
        ("$USER", "$USER"),
        ("$$", "$$"),
        ("${NESTED}", "${USER}"),
    ],
)
def test_references_are_replaced_and_escapes_are_kept(text: str, value: str) -> None:
    assert expanded(f"key: {text}") == ({"key": value}, [])


def test_every_text_is_looked_at_wherever_it_stands() -> None:
    data, faults = expanded("a: [{b: '${USER}'}, 5, true, null]\n")
    assert data == {"a": [{"b": "app"}, 5, True, None]}
    assert faults == []


def test_a_value_stays_text_whatever_it_looks_like() -> None:
    data, _ = expanded("port: ${PORT}\nevil: ${EVIL}")
    assert data == {"port": "5432", "evil": ENVIRON["EVIL"]}


def test_keys_are_left_alone() -> None:
    assert expanded("${USER}: 1") == ({"${USER}": 1}, [])


def test_an_unset_variable_is_named_with_its_line() -> None:
    _, faults = expanded("a: 1\nb:\n  - x\n  - ${MISSING} ${USER} ${GONE}\n")
    assert faults == [
        (("b", 1), 4, "the environment variable MISSING is not set"),
        (("b", 1), 4, "the environment variable GONE is not set"),
    ]


@pytest.mark.parametrize("text", ["${", "${}", "${USER", "${1A}", "${A-B}", "${USER:-default}", "${ USER }"])
def test_what_is_no_reference_is_refused_with_the_right_forms(text: str) -> None:
    _, faults = expanded(f"key: '{text}'")
    assert [(path, line) for path, line, _ in faults] == [(("key",), 1)]
    assert "write ${NAME}" in faults[0][2]


def test_a_value_that_is_no_text_is_refused() -> None:
    _, faults = expanded("key: ${RAW}")
    assert faults == [(("key",), 1, "the environment variable RAW is not UTF-8 text")]
