"""Settings of the protocol."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from ambassador.config.load import ConfigFaults, load_data
from ambassador.protocols.postgres.options import PostgresListenerOptions, PostgresUpstreamOptions


def test_everything_at_an_upstream_has_a_default() -> None:
    options = PostgresUpstreamOptions()
    assert options.pool.mode == "session"
    assert options.target_session_attrs == "any"
    assert options.channel_binding == "prefer"
    assert options.tls_negotiation == "postgres"
    assert options.max_scram_iterations == 1_000_000


def test_a_listener_names_its_upstream() -> None:
    assert PostgresListenerOptions(upstream="orders").upstream == "orders"
    with pytest.raises(ValidationError, match="required"):
        PostgresListenerOptions.model_validate({})


@pytest.mark.parametrize(
    ("settings", "wanted", "found"),
    [
        ({}, "shop", "shop"),
        ({"database": "orders"}, "shop", "orders"),
        ({"databases": {"shop": "orders"}}, "shop", "orders"),
        ({"databases": {"shop": "orders"}}, "other", "other"),
        ({"database": "all", "databases": {"shop": "orders"}}, "shop", "all"),
    ],
)
def test_the_server_s_name_of_a_database(settings: dict[str, Any], wanted: str, found: str) -> None:
    assert PostgresUpstreamOptions(**settings).server_database(wanted) == found


@pytest.mark.parametrize("mode", ["transaction", "statement"])
def test_pool_modes_of_later_versions_are_refused_as_such(mode: str) -> None:
    with pytest.raises(ValidationError, match=f"pool mode {mode} is not available in this version"):
        PostgresUpstreamOptions.model_validate({"pool": {"mode": mode}})


@pytest.mark.parametrize("key", ["size", "reserve", "wait", "lifetime", "idle"])
def test_pool_settings_of_later_versions_are_refused_as_such(key: str) -> None:
    with pytest.raises(ValidationError, match=f"'{key}' is not available in this version"):
        PostgresUpstreamOptions.model_validate({"pool": {key: 1}})


@pytest.mark.parametrize(
    "settings",
    [
        {"pool": {"mode": "sesion"}},
        {"target_session_attrs": "master"},
        {"channel_binding": "maybe"},
        {"tls_negotiation": "indirect"},
        {"max_scram_iterations": 4095},
        {"max_scram_iterations": 100_000_001},
        {"database": ""},
        {"databse": "orders"},
    ],
)
def test_what_cannot_be_meant_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        PostgresUpstreamOptions.model_validate(settings)


@pytest.mark.parametrize("options", [{"channel_binding": "require"}, {"tls_negotiation": "direct"}], ids=str)
@pytest.mark.parametrize(("tls", "sound"), [(None, False), ({"mode": "disable"}, False), ({}, True)], ids=str)
def test_what_is_done_with_tls_needs_tls(options: dict[str, str], tls: dict[str, str] | None, sound: bool) -> None:
    orders: dict[str, Any] = {"endpoints": "db:1", "postgres": options} | ({} if tls is None else {"tls": tls})
    data = {
        "upstreams": {"orders": orders},
        "listeners": {"orders": {"listen": "127.0.0.1:1", "postgres": {"upstream": "orders"}}},
    }
    if sound:
        load_data(data)
        return
    with pytest.raises(ConfigFaults, match=r"upstreams\.orders\.postgres: .* need TLS"):
        load_data(data)
