"""Settings of the protocol."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from ambassador.protocols.redis.options import RedisListenerOptions, RedisUpstreamOptions


def test_everything_at_an_upstream_has_a_default() -> None:
    options = RedisUpstreamOptions()
    assert (options.mode, options.connections, options.idle, options.idle_timeout) == ("multiplex", 1, 32, 60.0)
    assert (options.database, options.wait, options.retry_reads) == (None, 10.0, False)
    assert (options.probe, options.probe_timeout) == (5.0, 10.0)


def test_a_listener_names_its_upstream_and_by_default_allows_all() -> None:
    options = RedisListenerOptions(upstream="cache")
    assert (options.allow, options.deny, options.keys, options.read_only) == ((), (), (), False)
    with pytest.raises(ValidationError, match="required"):
        RedisListenerOptions.model_validate({})


def test_one_word_need_not_be_a_list() -> None:
    options = RedisListenerOptions.model_validate({"upstream": "c", "allow": "@read", "deny": ["A", "B"], "keys": "k:"})
    assert (options.allow, options.deny, options.keys) == (("@read",), ("A", "B"), ("k:",))


def test_durations_are_written_as_everywhere() -> None:
    options = RedisUpstreamOptions.model_validate({"wait": "0s", "probe": "100ms", "idle_timeout": "2m"})
    assert (options.wait, options.probe, options.idle_timeout) == (0.0, 0.1, 120.0)


@pytest.mark.parametrize(
    "settings",
    [
        {"mode": "transaction"},
        {"connections": 0},
        {"connections": 65},
        {"idle": -1},
        {"database": -1},
        {"wait": "-1s"},
        {"probe": 0},
        {"retry_reads": "maybe"},
        {"retry_reads": True, "mode": "dedicated"},
        {"databse": 1},
        {"cluster": True, "mode": "dedicated"},
        {"cluster": True, "database": 1},
        {"cluster": True, "read_from": "replica"},
        {"cluster_refresh": 0},
    ],
)
def test_what_cannot_be_meant_at_an_upstream_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        RedisUpstreamOptions.model_validate(settings)


def test_all_that_does_not_fit_together_is_told_at_once() -> None:
    settings = {"cluster": True, "mode": "dedicated", "database": 2, "read_from": "replica", "retry_reads": True}
    with pytest.raises(ValidationError) as caught:
        RedisUpstreamOptions.model_validate(settings)
    for word in ("retry_reads is", "mode is", "leave database out", "read_from is"):
        assert word in str(caught.value)


def test_a_cluster_may_have_what_it_can_have() -> None:
    options = RedisUpstreamOptions.model_validate({"cluster": True, "database": 0, "read_from": "primary"})
    assert (options.cluster, options.cluster_refresh) == (True, 30.0)
    assert not RedisUpstreamOptions().cluster


@pytest.mark.parametrize("settings", [{"allow": ""}, {"allow": ["x" * 65]}, {"keys": [""]}, {"upstrem": "c"}])
def test_what_cannot_be_meant_at_a_listener_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        RedisListenerOptions.model_validate({"upstream": "c", **settings})


@pytest.mark.parametrize("field", ["allow", "deny"])
def test_a_category_that_there_is_not_is_refused_with_the_nearest(field: str) -> None:
    with pytest.raises(ValidationError, match="no category @dangeros; did you mean @dangerous"):
        RedisListenerOptions.model_validate({"upstream": "c", field: ["@dangeros", "GET"]})
    assert RedisListenerOptions.model_validate({"upstream": "c", field: ["@all", "mod.get"]})


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"deny": "CONFIG SET"}, r"'CONFIG SET' can be no command or category; did you mean CONFIG\|SET\?"),
        ({"deny": "-KEYS"}, r"'-KEYS' can be no command or category; did you mean KEYS\?"),
        ({"deny": "*"}, r"'\*' can be no command or category \["),
        ({"allow": "+@read"}, r"did you mean @read\?"),
        ({"deny": ["-KEYS", "a b c", "@dangeros"]}, r"KEYS\?; 'a b c' can .*category; there is no category @dangeros"),
        ({"keys": ["app:*", "x:*"]}, r"mean 'app:'\?; 'x:\*' is a pattern"),
        ({"keys": "app:*"}, r"'app:\*' is a pattern, and no prefix; did you mean 'app:'\?"),
    ],
)
def test_what_would_silently_mean_something_else_is_refused(settings: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        RedisListenerOptions.model_validate({"upstream": "c", **settings})


def test_commands_of_modules_have_names_of_their_own() -> None:
    names = ("FT.SEARCH", "_FT.CONFIG|GET", "restore-asking", "@all")
    assert RedisListenerOptions.model_validate({"upstream": "c", "deny": names}).deny == names
