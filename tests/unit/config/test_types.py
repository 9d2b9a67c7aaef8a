"""Durations, sizes, names and the other kinds of values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some
from pydantic import TypeAdapter, ValidationError

from ambassador.config.address import Address
from ambassador.config.types import (
    FROM_FILE,
    Addresses,
    Argv,
    Count,
    CredentialName,
    Duration,
    ExistingFile,
    FileMode,
    Name,
    Size,
    Timeout,
    UpstreamName,
    VariableName,
    WholeSeconds,
    written_duration,
    written_file_mode,
)


def read(kind: Any, value: Any, *, context: Any = FROM_FILE) -> Any:
    return TypeAdapter(kind).validate_python(value, context=context)


def refused(kind: Any, value: Any, *, context: Any = FROM_FILE) -> str:
    with pytest.raises(ValidationError) as caught:
        read(kind, value, context=context)
    return caught.value.errors()[0]["msg"]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("250ms", 0.25),
        ("5s", 5.0),
        ("1.5s", 1.5),
        ("2m", 120.0),
        ("1h", 3600.0),
        ("1d", 86400.0),
        ("1h30m", 5400.0),
        ("0s", 0.0),
        ("0", 0.0),
        (0, 0.0),
    ],
)
def test_durations_are_read_as_seconds(text: Any, seconds: float) -> None:
    assert read(Duration, text) == seconds


@pytest.mark.parametrize(
    "value",
    ["", "5", 5, 5.0, "s", "-5s", "5 s", "5S", "5sec", "1h 5m", "٣s", "1e3s", True, None, [], {}, "9" * 70 + "s"],
)
def test_what_is_no_duration_in_a_file_is_refused(value: Any) -> None:
    assert "durations look like 250ms, 5s, 1h" in refused(Duration, value)


@pytest.mark.parametrize("value", ["99999d", "9" * 60 + "s"])
def test_durations_have_an_end(value: str) -> None:
    assert "between 0s and 3650d" in refused(Duration, value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0])
def test_numbers_that_are_no_time_are_refused_from_code_too(value: float) -> None:
    assert "between" in refused(Duration, value, context=None)


def test_our_own_code_hands_in_seconds() -> None:
    assert read(Duration, 0.1, context=None) == 0.1
    assert read(Timeout, 3, context=None) == 3.0


def test_a_timeout_is_longer_than_nothing() -> None:
    assert read(Timeout, "1ms") == 0.001
    assert "zero does not turn a limit off" in refused(Timeout, "0s")


@given(some.integers(min_value=0, max_value=400 * 86_400_000))
def test_durations_are_written_as_they_are_read(milliseconds: int) -> None:
    seconds = milliseconds / 1000
    assert read(Duration, written_duration(seconds)) == seconds


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0ms"), (0.25, "250ms"), (5.0, "5s"), (90.0, "90s"), (120.0, "2m"), (7200.0, "2h"), (0.0005, "0.0005s")],
)
def test_durations_are_written_short(seconds: float, text: str) -> None:
    assert written_duration(seconds) == text


def test_whole_seconds_are_an_int() -> None:
    seconds = read(WholeSeconds, "1m")
    assert seconds == 60
    assert isinstance(seconds, int)


@pytest.mark.parametrize("value", ["500ms", "0s", "1.5s", "10h"])
def test_whole_seconds_are_whole_and_fit_the_kernel(value: str) -> None:
    assert "from 1s to 32767s" in refused(WholeSeconds, value)


@pytest.mark.parametrize(
    ("value", "size"),
    [("512B", 512), ("64KiB", 65536), ("1MiB", 1 << 20), ("2GiB", 2 << 30), ("1TiB", 1 << 40), ("7", 7), (7, 7)],
)
def test_sizes_are_read_as_bytes(value: Any, size: int) -> None:
    assert read(Size, value) == size


@pytest.mark.parametrize("value", ["64KB", "64K", "1.5MiB", "-1", "", True, None, 1.0, []])
def test_what_is_no_size_is_refused(value: Any) -> None:
    assert "sizes look like" in refused(Size, value)


@pytest.mark.parametrize("value", [-1, 1 << 53, "99999TiB"])
def test_sizes_have_bounds(value: Any) -> None:
    assert "between" in refused(Size, value)


@pytest.mark.parametrize("value", [1, "1", 10_000_000])
def test_a_count_may_come_from_a_variable(value: Any) -> None:
    assert read(Count, value) == int(value)


@pytest.mark.parametrize("value", [True, 1.0, None, [], {}, "one", "1.5", 0, -1, 10_000_001])
def test_what_is_no_count_is_refused(value: Any) -> None:
    assert refused(Count, value)


@pytest.mark.parametrize("name", ["a", "orders", "orders-db", "a.b_c-9", "x" * 63])
def test_names_are_taken(name: str) -> None:
    assert read(Name, name) == name


@pytest.mark.parametrize("name", ["", "-a", "a-", "a b", "a/b", "a\n", "ü", "x" * 64])
def test_what_is_no_name_is_refused(name: str) -> None:
    assert "names are made of" in refused(Name, name)


@pytest.mark.parametrize("name", ["PGPASSWORD", "_x", "a1"])
def test_names_of_variables_are_taken(name: str) -> None:
    assert read(VariableName, name) == name


@pytest.mark.parametrize("name", ["", "1a", "A-B", "A=B", "$A", "A" * 129])
def test_what_names_no_variable_is_refused(name: str) -> None:
    assert "environment variables" in refused(VariableName, name)


@pytest.mark.parametrize(("value", "mode"), [("0660", 0o660), ("660", 0o660), ("0o600", 0o600), ("777", 0o777)])
def test_file_modes_are_octal_text(value: str, mode: int) -> None:
    assert read(FileMode, value) == mode
    assert read(FileMode, written_file_mode(mode)) == mode


@pytest.mark.parametrize("value", [660, 0o660, "888", "1777", "rw-rw----", "", True, None])
def test_what_is_no_file_mode_is_refused(value: Any) -> None:
    assert '"0660"' in refused(FileMode, value)


def test_our_own_code_hands_in_file_modes_as_numbers() -> None:
    assert read(FileMode, 0o600, context=None) == 0o600
    assert refused(FileMode, 0o1777, context=None)


def test_one_address_or_several() -> None:
    one, two = Address("a", 1), Address("b", 2)
    assert read(Addresses, "a:1") == (one,)
    assert read(Addresses, ["a:1", "b:2"]) == (one, two)
    assert read(Addresses, one) == (one,)
    assert refused(Addresses, [])
    assert refused(Addresses, ["a:1"] * 65)


def test_a_command_is_a_list_and_no_shell_line() -> None:
    assert read(Argv, ["/bin/token", "billing"]) == ("/bin/token", "billing")
    assert refused(Argv, ["/bin/token", 5])


@pytest.mark.parametrize("value", ["/bin/token billing", [], None, {}])
def test_a_shell_line_is_no_command(value: Any) -> None:
    assert "no shell" in refused(Argv, value)


def test_references_and_paths_are_text_and_paths() -> None:
    assert read(CredentialName, "db") == "db"
    assert read(UpstreamName, "orders") == "orders"
    assert read(ExistingFile, "/no/such/file") == Path("/no/such/file")
