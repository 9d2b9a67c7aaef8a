"""How many open files a configuration may need, and whether the process gets them."""

from __future__ import annotations

import resource

import pytest

from ambassador.config.load import load_data
from ambassador.config.schema import Config
from ambassador.proxy.listener import REFUSALS
from ambassador.runtime import descriptors


def config(*limits: int) -> Config:
    listeners = {
        f"l{number}": {
            "listen": f"127.0.0.1:{7000 + number}",
            "tcp": {"upstream": "u"},
            "limits": {"connections": limit},
        }
        for number, limit in enumerate(limits)
    }
    return load_data({"upstreams": {"u": {"endpoints": ["127.0.0.1:1"]}}, "listeners": listeners}).config


def test_every_session_of_every_listener_has_two_files_and_every_refusal_one() -> None:
    assert descriptors.needed(config(10, 20)) == descriptors.OUR_OWN + 2 * 30 + 2 * REFUSALS


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The process's limits, soft and hard; the last entry is in force."""
    entries = [(1024, 4096)]
    monkeypatch.setattr(resource, "getrlimit", lambda _: entries[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda _, pair: entries.append(pair))
    return entries


def test_a_soft_limit_that_suffices_is_left_alone(limits: list[tuple[int, int]]) -> None:
    assert descriptors.shortage(config(10)) == 0
    assert limits == [(1024, 4096)]


def test_a_soft_limit_is_raised_to_what_is_needed_and_no_further(limits: list[tuple[int, int]]) -> None:
    assert descriptors.shortage(config(1000)) == 0
    assert limits[-1] == (descriptors.needed(config(1000)), 4096)


def test_what_the_hard_limit_denies_is_told(limits: list[tuple[int, int]]) -> None:
    assert descriptors.shortage(config(5000)) == descriptors.needed(config(5000)) - 4096
    assert limits[-1] == (4096, 4096)


def test_a_system_that_refuses_leaves_the_limit_as_it_was(
    limits: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError

    monkeypatch.setattr(resource, "setrlimit", refuse)
    assert descriptors.shortage(config(1000)) == descriptors.needed(config(1000)) - 1024


def test_no_limit_is_no_shortage(limits: list[tuple[int, int]]) -> None:
    limits.append((resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert descriptors.shortage(config(100_000)) == 0
