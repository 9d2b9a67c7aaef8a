"""YAML, strictly."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

import pytest
import yaml

from ambassador.config import document
from ambassador.config.document import DEEPEST, LARGEST, Document, Malformed, decode, parse


@pytest.fixture(params=["CSafeLoader", "SafeLoader"], autouse=True)
def loader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """PyYAML's parser in C, and the one it falls back to."""
    monkeypatch.setattr(document, "_Loader", getattr(yaml, request.param))


def malformed(text: str) -> tuple[int, str]:
    with pytest.raises(Malformed) as caught:
        parse(text)
    return caught.value.line, caught.value.message


def faults(text: str) -> list[tuple[tuple[str | int, ...], int | None, str]]:
    return parse(text).faults


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("0", 0),
        ("-17", -17),
        ("+5", 5),
        ("1.5", 1.5),
        ("'5'", "5"),
        ('"true"', "true"),
        ("yes", "yes"),
        ("no", "no"),
        ("on", "on"),
        ("0660", "0660"),
        ("0o660", "0o660"),
        ("0x1F", "0x1F"),
        ("1:30", "1:30"),
        ("1_000", "1_000"),
        ("1e3", "1e3"),
        (".5", ".5"),
        (".inf", ".inf"),
        ("2026-01-31", "2026-01-31"),
        ("9" * 19, "9" * 19),
        ("9" * 5000, "9" * 5000),
        ("127.0.0.1:5432", "127.0.0.1:5432"),
        ("=", "="),
    ],
)
def test_scalars_are_those_of_yaml_1_2_and_what_versions_disagree_on_is_text(text: str, value: Any) -> None:
    found = parse(f"key: {text}").data
    assert found == {"key": value}
    assert type(found["key"]) is type(value)


def test_values_come_with_their_lines() -> None:
    found = parse("a: 1\nb:\n  - x\n  - y: |\n      text\n      more\n    z: {q: 1,\n        r: 2}\n")
    assert found.data == {"a": 1, "b": ["x", {"y": "text\nmore\n", "z": {"q": 1, "r": 2}}]}
    assert found.lines == {
        (): 1,
        ("a",): 1,
        ("b",): 2,
        ("b", 0): 3,
        ("b", 1): 4,
        ("b", 1, "y"): 4,
        ("b", 1, "z"): 7,
        ("b", 1, "z", "q"): 7,
        ("b", 1, "z", "r"): 8,
    }
    assert found.faults == []


def test_the_line_of_what_is_missing_is_that_of_what_is_around_it() -> None:
    found = parse("# comment\na:\n  b: 1\n")
    assert found.line(("a", "c", "d")) == 2
    assert found.line(("x",)) == 2
    assert Document().line(("a",)) is None


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "\n\n"])
def test_an_empty_text_holds_nothing(text: str) -> None:
    assert parse(text).data is None


def test_keys_are_text_whatever_they_look_like() -> None:
    assert parse("5432: a\ntrue: b\n'': c").data == {"5432": "a", "true": "b", "": "c"}


def test_a_key_that_stands_twice_is_a_fault_and_the_first_stays() -> None:
    found = parse("a: {x: 1}\nb: 2\na: {x: 3, y: [{x: 4, x: 5}]}\n")
    assert found.data == {"a": {"x": 1}, "b": 2}
    assert found.faults == [(("a",), 3, "this key stands in line 1 already")]


def test_after_a_twin_faults_are_told_again() -> None:
    found = parse("a: [1]\na: [{b: 1}]\nc: 1\nc: 2\n")
    assert [(path, line) for path, line, _ in found.faults] == [(("a",), 2), (("c",), 4)]


@pytest.mark.parametrize(
    ("text", "path", "line", "word"),
    [
        ("a: &x 1", ("a",), 1, "anchors"),
        ("a: &x [1]", ("a",), 1, "anchors"),
        ("&x a: 1", ("a",), 1, "anchors"),
        ("a:\n  - *x", ("a", 0), 2, "aliases"),
        ("<<: {a: 1}", ("<<",), 1, "merge keys"),
        ("a: !!str 1", ("a",), 1, "tags"),
        ("a: !secret [1]", ("a",), 1, "tags"),
        ("a: ! 1", ("a",), 1, "tags"),
        ("? \n: 1", ("",), 1, "a key is missing"),
    ],
)
def test_what_is_not_taken_is_a_fault_with_its_place(
    text: str, path: tuple[str | int, ...], line: int, word: str
) -> None:
    ((found_path, found_line, message),) = faults(text)
    assert (found_path, found_line) == (path, line)
    assert word in message


def test_a_quoted_merge_key_is_a_key_like_any_other() -> None:
    assert faults("'<<': 1") == []


def test_several_faults_are_told_at_once() -> None:
    assert [line for _, line, _ in faults("a: &x 1\nb: *x\nc: !!str d\nc: 1")] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("text", "line", "word"),
    [
        ("a: 1\n---\nb: 2", 2, "one document"),
        ("a:\n\tb: 1", 2, "tabs"),
        ("a: [1, 2", 1, "not valid YAML"),
        ("a: 'x", 1, "not valid YAML"),
        ("a: b: c", 1, "not valid YAML"),
        ("a: 1\n b: 2", 2, "not valid YAML"),
        ("a: %x", 1, "not valid YAML"),
        ("a: @x", 1, "not valid YAML"),
        ("? [a]\n: 1", 1, "keys are plain text"),
        ("? {a: b}\n: 1", 1, "keys are plain text"),
        ("*x : 1", 1, "keys are plain text"),
        ("[" * (DEEPEST + 1), 1, "nested deeper"),
        ("[" * 100_000, 1, "nested deeper"),
        ("- " * 100_000, 1, "nested deeper"),
        ("{a: " * 100_000, 1, "nested deeper"),
        ("a: \x00", 1, "U+0000"),
        ("a: 1\nb: \x07", 2, "U+0007"),
        ("a: \ud800", 1, "U+D800"),
        ("a: \ufffe", 1, "U+FFFE"),
        ("a: " + "x" * LARGEST, 1, "larger than 1 MiB"),
    ],
)
def test_what_cannot_be_read_on_is_refused_with_its_line(text: str, line: int, word: str) -> None:
    found_line, message = malformed(text)
    assert word in message
    assert abs(found_line - line) <= 1, "the parser may name the line where it gave up"


def test_there_is_a_most_number_of_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document, "MOST", 100)
    assert len(parse("- 1\n" * 99).data) == 99
    assert malformed("- 1\n" * 101) == (100, "there are more than 100 values")


@pytest.mark.parametrize(
    "text", ["password: 'hunter2", "password: !hunter2!x y", "password: @hunter2", "a: *hunter2\nb: [", "%hunter2"]
)
def test_no_message_holds_what_stood_in_the_text(text: str) -> None:
    try:
        messages = [message for _, _, message in parse(text).faults]
    except Malformed as error:
        messages = [error.message]
    assert messages
    assert "hunter2" not in "".join(messages)


@pytest.mark.parametrize(
    "text",
    ["? " * 300_000, "&a " * 300_000, "'" * 900_000, "#" * 900_000, "!" * 900_000, "a:\n" * 49_000, "\n" * 900_000],
)
def test_no_text_takes_long(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document, "_Loader", yaml.CSafeLoader)  # the other takes ten times as long for anything
    began = time.process_time()
    with suppress(Malformed):
        parse(text)
    assert time.process_time() - began < 10


def test_the_bytes_of_a_file_are_utf_8() -> None:
    assert decode("a: ü".encode()) == "a: ü"
    assert decode(b"\xef\xbb\xbfa: 1") == "a: 1"


@pytest.mark.parametrize(
    ("raw", "line"), [(b"\xff\xfea\x00", 1), (b"a: 1\nb: \xe4", 2), (b"a\n\n\xf0\x28", 3), (b"\xed\xa0\x80", 1)]
)
def test_other_bytes_are_refused_with_their_line(raw: bytes, line: int) -> None:
    with pytest.raises(Malformed, match="UTF-8") as caught:
        decode(raw)
    assert caught.value.line == line


def test_a_file_has_a_largest_size() -> None:
    assert len(decode(b"#" * LARGEST)) == LARGEST
    with pytest.raises(Malformed, match="larger than 1 MiB"):
        decode(b"#" * (LARGEST + 1))
