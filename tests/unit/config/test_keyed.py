"""Keyed unions over the registry."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from ambassador.config.keyed import Keyed, later
from ambassador.config.schema import AccessSettings, CredentialSettings, ListenerSettings, UpstreamSettings
from ambassador.config.types import FROM_FILE


def faults(model: type[Keyed], data: Any) -> dict[tuple[str | int, ...], str]:
    with pytest.raises(ValidationError) as caught:
        model.model_validate(data, context=FROM_FILE)
    return {error["loc"]: error["msg"] for error in caught.value.errors()}


def test_the_key_names_the_kind_and_carries_its_options() -> None:
    settings = CredentialSettings.model_validate({"file": {"path": "/run/secret"}, "verify": False})
    assert settings.source == "file"
    assert settings.options == CredentialSettings.options_model("file").model_validate({"path": Path("/run/secret")})
    assert settings.verify is False


def test_our_own_code_hands_in_kind_and_options() -> None:
    options = CredentialSettings.options_model("file").model_validate({"path": Path("/run/secret")})
    settings = CredentialSettings(source="file", options=options, poll=0.1)
    assert settings == CredentialSettings.model_validate({"file": {"path": "/run/secret"}, "poll": 0.1})


def test_options_may_be_left_empty() -> None:
    assert AccessSettings.model_validate({"trust": None}).kind == "trust"
    assert AccessSettings.model_validate({"trust": {}}).kind == "trust"


def test_units_are_demanded_of_options_from_a_file() -> None:
    assert faults(CredentialSettings, {"exec": {"command": ["/bin/token"], "timeout": 5}}) == {
        ("exec", "timeout"): "durations look like 250ms, 5s, 1h"
    }


def test_faults_of_the_options_and_of_the_rest_are_told_at_once() -> None:
    assert faults(CredentialSettings, {"file": {"pth": "/x"}, "poll": "often", "verfy": True}) == {
        ("file", "path"): "this key is required",
        ("file", "pth"): "unknown key; did you mean 'path'?",
        ("poll",): "durations look like 250ms, 5s, 1h",
        ("verfy",): "unknown key; did you mean 'verify'?",
    }


def test_a_misspelt_kind_is_an_unknown_key() -> None:
    assert faults(CredentialSettings, {"flie": {"path": "/x"}}) == {("flie",): "unknown key; did you mean 'file'?"}


@pytest.mark.parametrize("data", [{}, None, {"verify": True}])
def test_a_kind_must_be_named(data: Any) -> None:
    assert faults(CredentialSettings, data) == {
        (): "no source is named: add one of absent, clumsy, env, exec, file, grumpy"
    }


def test_one_kind_is_enough() -> None:
    assert faults(CredentialSettings, {"file": {"path": "/x"}, "env": {"password": "P"}}) == {
        ("env",): "'file' stands here already: keep one source"
    }


def test_a_kind_of_a_later_version_is_refused_as_such() -> None:
    assert faults(AccessSettings, {"token": {}}) == {("token",): "'token' is not available in this version"}
    assert faults(ListenerSettings, {"listen": "a:1", "http": {}}) == {
        ("http",): "'http' is not available in this version"
    }


@pytest.mark.parametrize("attribute", ["source", "options"])
def test_attributes_are_no_keys(attribute: str) -> None:
    assert "unknown key" in faults(CredentialSettings, {"file": {"path": "/x"}, attribute: "file"})[(attribute,)]


@pytest.mark.parametrize("data", ["file", 5, ["file"]])
def test_what_is_no_mapping_is_refused(data: Any) -> None:
    assert faults(CredentialSettings, data) == {(): "must be a mapping (lines of key: value)"}
    assert faults(CredentialSettings, {"file": data}) == {("file",): "must be a mapping (lines of key: value)"}


def test_a_kind_may_be_left_out_where_the_model_says_so() -> None:
    settings = UpstreamSettings.model_validate({"endpoints": "db:1"})
    assert (settings.protocol, settings.options) == (None, None)
    assert UpstreamSettings.model_validate({"endpoints": "db:1", "tcp": {}}).protocol == "tcp"


def test_a_plug_in_that_cannot_be_loaded_is_a_fault_and_no_crash() -> None:
    assert faults(CredentialSettings, {"absent": {}}) == {
        ("absent",): "its code cannot be loaded: No module named 'absent'"
    }


def test_a_plug_in_that_chokes_on_a_value_is_a_fault_and_no_crash() -> None:
    assert faults(CredentialSettings, {"clumsy": {"words": ["hunter2"]}}) == {
        ("clumsy",): "is not valid here (TypeError)"
    }


def test_a_kind_shows_as_its_key() -> None:
    settings = CredentialSettings.model_validate({"exec": {"command": ["/bin/token", "hunter2"]}})
    assert settings.redacted()["exec"] == {"command": ["/bin/token", "***"], "timeout": "5s"}
    assert not {"source", "options"} & settings.redacted().keys()
    assert "hunter2" not in repr(settings)


def test_texts_of_a_source_are_hidden_and_those_of_other_kinds_are_shown() -> None:
    settings = CredentialSettings.model_validate({"file": {"path": "/x", "keys": {"password": "hunter2"}}})
    assert settings.redacted()["file"] == {"path": "/x", "keys": {"password": "***"}}
    upstream = UpstreamSettings.model_validate({"endpoints": "db:1", "postgres": {"database": "orders"}})
    assert upstream.redacted()["postgres"]["database"] == "orders"
    assert "protocol" not in UpstreamSettings.model_validate({"endpoints": "db:1"}).redacted()


def test_what_the_registry_has_is_not_refused_as_coming_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ambassador.registry.entries", lambda table: {"redis": "x:Redis"})
    assert later("protocols", {"discovery"}) == {"http", "discovery"}
