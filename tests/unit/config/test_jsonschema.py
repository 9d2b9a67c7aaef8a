"""The JSON Schema, and the examples that ship with it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from ambassador import registry
from ambassador.config import crosscheck, document
from ambassador.config.jsonschema import DIALECT, json_schema
from ambassador.config.load import load, load_text

ROOT = Path(__file__).parents[3]
EXAMPLES = sorted((ROOT / "config").rglob("*.yaml"))

pytestmark = pytest.mark.usefixtures("real_plugins")

MINIMAL: dict[str, Any] = {
    "upstreams": {"orders": {"endpoints": "db:1"}},
    "listeners": {"orders": {"listen": "127.0.0.1:1", "postgres": {"upstream": "orders"}}},
}


def faults(data: Any) -> list[str]:
    return [error.message for error in Draft202012Validator(json_schema()).iter_errors(data)]


def with_listener(**keys: Any) -> dict[str, Any]:
    return MINIMAL | {"listeners": {"orders": MINIMAL["listeners"]["orders"] | keys}}


def test_the_schema_is_one_of_its_draft() -> None:
    schema = json_schema()
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == DIALECT


def test_the_smallest_configuration_is_valid() -> None:
    assert faults(MINIMAL) == []


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"listeners": {}},
        MINIMAL | {"vaults": {"main": {}}},
        MINIMAL | {"vaults": {"main": {"address": "https://v:8200"}}},
        MINIMAL | {"vaults": {"main": {"address": "https://v:8200", "auth": {}}}},
        MINIMAL | {"vaults": {"main": {"address": "https://v:8200", "auth": {"token": {}, "cert": {}}}}},
        MINIMAL | {"drain": {"delay": 5}},
        MINIMAL | {"drain": {"delay": "5 seconds"}},
        MINIMAL | {"log": {"level": "loud"}},
        MINIMAL | {"credentials": {"db": {}}},
        MINIMAL | {"credentials": {"db": {"file": {"path": "/x"}, "env": {"password": "P"}}}},
        MINIMAL | {"credentials": {"db": {"vault_kv": {}}}},
        MINIMAL | {"credentials": {"db": {"file": {"path": "/x", "pth": "/y"}}}},
        MINIMAL | {"credentials": {"db": {"source": "file", "options": {"path": "/x"}}}},
        MINIMAL | {"upstreams": {"orders": {"endpoints": []}}},
        MINIMAL | {"upstreams": {"orders": {"endpoints": "db:1", "tcp": {}, "postgres": {}}}},
        {"listeners": {"orders": {"listen": "127.0.0.1:1"}}},
        with_listener(tcp={"upstream": "orders"}),
        with_listener(access={}),
        with_listener(tls={}),
        with_listener(tls={"cert": "/c"}),
        with_listener(unix={"mode": 660}),
        with_listener(limits={"connections": 0}),
    ],
)
def test_what_would_be_refused_is_not_valid(data: Any) -> None:
    assert faults(data)


@pytest.mark.parametrize(
    "data",
    [
        MINIMAL | {"workers": "${WORKERS}", "drain": {"delay": 0, "timeout": "1h30m"}, "log": {"level": "${LEVEL}"}},
        MINIMAL | {"credentials": {"db": {"file": {"path": "/x"}, "verify": "${VERIFY}", "poll": "${POLL}"}}},
        MINIMAL
        | {"upstreams": {"orders": {"endpoints": ["db:1", "unix:/x"], "postgres": None, "keepalive": {"idle": "5s"}}}},
        with_listener(access={"trust": None, "allow_remote_trust": True}, keepalive=None, unix={"mode": "0660"}),
        with_listener(proxy_protocol={"trusted": ["10.0.0.0/8"]}),
    ],
)
def test_what_is_taken_is_valid(data: Any) -> None:
    assert faults(data) == []


def properties(schema: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(schema, dict):
        for name, inner in schema.get("properties", {}).items():
            yield f"{path}/{name}", inner
        for name, inner in schema.items():
            yield from properties(inner, f"{path}/{name}")


def test_every_key_is_described() -> None:
    found = dict(properties(json_schema()))
    assert "/listeners" in found
    assert [path for path, inner in found.items() if not inner.get("description")] == []


def test_defaults_are_written_as_people_write_them() -> None:
    definitions = json_schema()["$defs"]
    assert definitions["Limits"]["properties"]["login_timeout"]["default"] == "10s"
    assert definitions["CredentialSettings"]["properties"]["debounce"]["default"] == "250ms"
    assert definitions["UnixSocket"]["properties"]["mode"]["default"] == "0660"
    assert definitions["Admin"]["properties"]["listen"]["default"] == ["127.0.0.1:9901"]
    assert definitions["Limits"]["properties"]["idle_timeout"]["default"] is None


def test_a_setting_that_needs_a_restart_says_so() -> None:
    schema = json_schema()
    assert schema["properties"]["workers"]["restart"] is True
    assert schema["$defs"]["Admin"]["properties"]["listen"]["restart"] is True


def test_the_schema_that_ships_is_the_one_of_the_code() -> None:
    shipped = (ROOT / "config" / "schema.json").read_text()
    current = json.dumps(json_schema(), indent=2) + "\n"
    assert shipped == current, "write it anew: ambassador schema > config/schema.json"


def test_a_plug_in_that_cannot_be_loaded_has_no_schema(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "entries", lambda _: {"absent": "no_such_module:Plugin"})
    monkeypatch.setattr(registry, "resolve", registry.resolve.__wrapped__)
    with pytest.raises(ImportError):
        json_schema()


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
class TestExamples:
    """Every example, with the real protocols, sources and authenticators."""

    def test_it_is_valid(self, path: Path) -> None:
        assert faults(document.parse(path.read_text()).data) == []

    def test_it_loads_where_its_files_are(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(crosscheck, "files", lambda _: iter(()))
        assert load(path, environ={"ORDERS_DB_USER": "app"}).config.listeners

    def test_what_is_in_force_can_be_loaded_again(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(crosscheck, "files", lambda _: iter(()))
        config = load(path, environ={"ORDERS_DB_USER": "app"}).config
        shown = config.redacted()
        assert faults(shown) == []
        again = load_text(yaml.safe_dump(shown)).config
        assert (again.upstreams, again.listeners, again.admin) == (config.upstreams, config.listeners, config.admin)

    def test_it_is_short_enough_to_read_and_begins_with_what_it_is_for(self, path: Path) -> None:
        lines = path.read_text().splitlines()
        assert len(lines) <= 80
        assert lines[0].startswith("# yaml-language-server: $schema=")
        assert (path.parent / lines[0].partition("=")[2]).is_file()
        assert lines[2].startswith("# ")
