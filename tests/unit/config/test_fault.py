"""Faults and how they are printed."""

from __future__ import annotations

import pytest

from ambassador.config.fault import ConfigFaults, Fault, KeyPath, dotted
from ambassador.errors import ConfigError, Reason


def test_a_fault_says_file_line_path_and_message() -> None:
    fault = Fault("a.yaml", 7, ("listeners", "orders", "listen", 0), "is wrong")
    assert str(fault) == "a.yaml:7: listeners.orders.listen[0]: is wrong"


def test_a_fault_without_a_line_or_a_path_leaves_them_out() -> None:
    assert str(Fault("<arguments>", None, ("workers",), "is wrong")) == "<arguments>: workers: is wrong"
    assert str(Fault("a.yaml", 1, (), "is empty")) == "a.yaml:1: is empty"


def test_an_error_carries_every_fault_and_the_place_of_the_first() -> None:
    faults = [Fault("a.yaml", 2, ("log",), "is wrong"), Fault("a.yaml", 9, ("workers",), "is wrong too")]
    error = ConfigFaults(faults)
    assert isinstance(error, ConfigError)
    assert error.reason is Reason.BAD_CONFIG
    assert error.faults == tuple(faults)
    assert (error.file, error.line) == ("a.yaml", 2)
    assert str(error).splitlines() == [str(fault) for fault in faults]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ((), ""),
        (("listeners", "my listener"), "listeners.my listener"),
        (("a\x1b[31m",), r"'a\x1b[31m'"),
        (("a\nb",), r"'a\nb'"),
        (("x" * 65,), "x" * 64 + "…"),
        (("credentials", "db", "env", "password:hunter2"), "credentials.db.env.***"),
        (("credentials", "db", "env", "pasword"), "credentials.db.env.pasword"),
        (("credentials", "my db"), "credentials.my db"),
    ],
)
def test_paths_are_fit_for_a_terminal_and_hold_no_misplaced_value(path: KeyPath, text: str) -> None:
    assert dotted(path) == text
