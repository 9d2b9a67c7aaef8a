"""The model of the configuration."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from pydantic import ValidationError

from ambassador.config import schema
from ambassador.config.address import Address
from ambassador.config.model import Model
from ambassador.config.schema import (
    AccessSettings,
    Admin,
    Config,
    CredentialSettings,
    DrainSettings,
    Keepalive,
    Limits,
    ListenerSettings,
    ProxyProtocol,
    UnixSocket,
    UpstreamSettings,
)
from ambassador.config.types import FROM_FILE

LISTENERS = {"orders": {"listen": "127.0.0.1:5432", "postgres": {"upstream": "orders"}}}


def faults(model: type[Model], data: Any) -> dict[tuple[str | int, ...], str]:
    with pytest.raises(ValidationError) as caught:
        model.model_validate(data, context=FROM_FILE)
    return dict(model.explain(caught.value))


def models() -> list[type[Model]]:
    found = {value for value in vars(schema).values() if inspect.isclass(value) and issubclass(value, Model)}
    return sorted(found, key=lambda model: model.__name__)


@pytest.mark.parametrize("model", models())
def test_every_key_says_what_it_means(model: type[Model]) -> None:
    assert model.__doc__
    for name, field in model.model_fields.items():
        assert field.description, f"{model.__name__}.{name} has no docstring"


def test_a_configuration_needs_only_listeners() -> None:
    config = Config.model_validate({"listeners": LISTENERS})
    assert config.admin == Admin(listen=(Address("127.0.0.1", 9901),))
    assert config.workers == 1
    assert config.drain == DrainSettings(delay=5.0, timeout=25.0)
    assert (config.log.level, config.log.format) == ("info", "json")
    assert (config.credentials, config.upstreams) == ({}, {})


@pytest.mark.parametrize("listeners", [{}, None])
def test_a_configuration_without_listeners_is_refused(listeners: Any) -> None:
    assert faults(Config, {"listeners": listeners}) == {("listeners",): "must not be empty"}
    assert faults(Config, {}) == {("listeners",): "this key is required"}


def test_sections_with_every_entry_commented_out_are_empty() -> None:
    nothing = {"vaults": None, "credentials": None, "upstreams": None}
    config = Config.model_validate({"listeners": LISTENERS, **nothing})
    assert (config.vaults, config.credentials, config.upstreams) == ({}, {}, {})


@pytest.mark.parametrize("workers", [2, "4", 100])
def test_more_than_one_worker_is_for_a_later_version(workers: Any) -> None:
    text = "more than one worker is not available in this version"
    assert faults(Config, {"listeners": LISTENERS, "workers": workers}) == {("workers",): text}


@pytest.mark.parametrize("workers", [0, -1, True, 1.5, "many", None])
def test_what_is_no_number_of_workers_is_refused_as_such(workers: Any) -> None:
    assert "version" not in faults(Config, {"listeners": LISTENERS, "workers": workers})["workers",]


@pytest.mark.parametrize(
    ("model", "data", "path", "what"),
    [
        (UpstreamSettings, {"discovery": {"dns": {}}}, ("discovery", "dns"), "'dns'"),
        (UpstreamSettings, {"endpoints": "a:1", "http": {}}, ("http",), "'http'"),
        (
            UpstreamSettings,
            {"endpoints": "a:1", "postgres": {"pool": {"size": 5}}},
            ("postgres", "pool", "size"),
            "'size'",
        ),
        (ListenerSettings, {"listen": "127.0.0.1:1", "http": {}}, ("http",), "'http'"),
        (AccessSettings, {"token": {}}, ("token",), "'token'"),
    ],
)
def test_what_later_versions_bring_is_refused_plainly(model: type[Model], data: Any, path: Any, what: str) -> None:
    assert faults(model, data)[path] == f"{what} is not available in this version"


def test_a_credential_is_tried_and_watched_by_default() -> None:
    settings = CredentialSettings.model_validate({"env": {"password": "P"}})
    assert (settings.source, settings.verify) == ("env", True)
    assert (settings.refused_wait, settings.poll, settings.debounce, settings.min_interval) == (2.0, 30.0, 0.25, 0.25)


def test_an_upstream_has_endpoints_and_is_careful_by_default() -> None:
    settings = UpstreamSettings.model_validate({"endpoints": ["a:1", "unix:/run/b"]})
    assert [str(endpoint) for endpoint in settings.endpoints] == ["a:1", "unix:/run/b"]
    assert (settings.credential, settings.tls, settings.send_proxy_protocol) == (None, None, None)
    assert (settings.connect_timeout, settings.login_timeout) == (5.0, 10.0)
    assert (settings.allow_cleartext_password, settings.reveal_errors) == (False, False)
    assert settings.keepalive == Keepalive(idle=60, interval=10, count=6)


@pytest.mark.parametrize("endpoints", [[], None, "nowhere", [["a:1"]]])
def test_an_upstream_without_endpoints_is_refused(endpoints: Any) -> None:
    assert faults(UpstreamSettings, {"endpoints": endpoints})
    assert faults(UpstreamSettings, {}) == {(): "say where this upstream is: by endpoints, or by discovery"}


def test_an_upstream_is_found_by_discovery_instead() -> None:
    settings = UpstreamSettings.model_validate({"discovery": {"list": {"endpoints": "a:1"}}})
    assert settings.endpoints == ()
    assert settings.discovery is not None
    assert settings.discovery.kind == "list"
    shown = settings.redacted()
    assert shown["discovery"]["list"]["endpoints"] == ["a:1"]
    assert UpstreamSettings.model_validate(shown) == settings


def test_an_upstream_is_not_found_in_two_ways() -> None:
    both = {"endpoints": "a:1", "discovery": {"list": {"endpoints": "b:1"}}}
    assert faults(UpstreamSettings, both) == {
        (): "where this upstream is comes from endpoints or from discovery: keep one"
    }


def test_a_listener_has_sensible_defaults() -> None:
    settings = ListenerSettings.model_validate({"listen": "127.0.0.1:1", "tcp": {"upstream": "orders"}})
    assert settings.access == AccessSettings.model_validate({"trust": {}})
    assert settings.limits == Limits(connections=1000, login_timeout=10.0)
    assert settings.unix == UnixSocket(mode=0o660)
    assert settings.keepalive == Keepalive()
    assert (settings.tls, settings.proxy_protocol) == (None, None)
    limits = settings.limits
    assert (limits.idle_timeout, limits.idle_in_transaction_timeout, limits.session_timeout) == (None, None, None)


def test_keepalive_towards_clients_can_be_turned_off() -> None:
    data = {"listen": "127.0.0.1:1", "tcp": {"upstream": "orders"}, "keepalive": None}
    assert ListenerSettings.model_validate(data).keepalive is None


def test_proxy_headers_are_believed_from_networks_only() -> None:
    trusted = ProxyProtocol.model_validate({"trusted": ["10.0.0.0/8", "fd00::/8"]}).trusted
    assert [str(network) for network in trusted] == ["10.0.0.0/8", "fd00::/8"]
    assert len(ProxyProtocol.model_validate({"trusted": "10.1.2.3"}).trusted) == 1


@pytest.mark.parametrize("trusted", ["10.0.0.1/8", "everyone", [], None])
def test_what_is_no_network_is_not_believed(trusted: Any) -> None:
    assert faults(ProxyProtocol, {"trusted": trusted})


@pytest.mark.parametrize(
    ("section", "entry"),
    [
        ("credentials", {"file": {"path": "/x"}}),
        ("upstreams", {"endpoints": "a:1"}),
        ("listeners", {"listen": "127.0.0.1:1", "tcp": {"upstream": "a"}}),
    ],
)
def test_names_are_fit_for_labels(section: str, entry: dict[str, Any]) -> None:
    found = faults(Config, {"listeners": LISTENERS} | {section: {"my db": entry}})
    assert found.keys() == {(section, "my db")}
    assert found[section, "my db"].startswith("names are made of")
