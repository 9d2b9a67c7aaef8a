"""What a new configuration changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ambassador.config.diff import Change, diff
from ambassador.config.schema import Config


def config(**changes: Any) -> Config:
    data: dict[str, Any] = {
        "credentials": {"db": {"file": {"path": "/run/db"}}, "app": {"env": {"password": "P"}}},
        "upstreams": {"orders": {"endpoints": "db:1", "credential": "db"}},
        "listeners": {
            "orders": {"listen": "127.0.0.1:1", "postgres": {"upstream": "orders"}},
            "legacy": {"listen": "127.0.0.1:2", "tcp": {"upstream": "orders"}},
        },
    }
    return Config.model_validate(data | changes)


def names(*found: str) -> frozenset[str]:
    return frozenset(found)


def test_the_same_configuration_changes_nothing() -> None:
    changes = diff(config(), config())
    assert not changes
    assert changes.listeners == Change(kept=names("orders", "legacy"))
    assert changes.upstreams == Change(kept=names("orders"))
    assert changes.credentials == Change(kept=names("db", "app"))


def test_a_default_written_out_changes_nothing() -> None:
    assert not diff(config(), config(drain={"delay": 5.0}, log={"level": "info"}))


def test_entries_are_kept_changed_started_and_retired() -> None:
    changes = diff(
        config(),
        config(
            listeners={
                "orders": {"listen": "127.0.0.1:1", "postgres": {"upstream": "orders"}, "limits": {"connections": 5}},
                "web": {"listen": "127.0.0.1:3", "tcp": {"upstream": "orders"}},
            }
        ),
    )
    assert changes
    assert changes.listeners == Change(changed=names("orders"), started=names("web"), retired=names("legacy"))
    assert not changes.upstreams
    assert changes.restart_needed == ()


@pytest.mark.parametrize(
    "entry",
    [{"file": {"path": "/run/other"}}, {"env": {"password": "P"}}, {"file": {"path": "/run/db"}, "verify": False}],
)
def test_other_options_another_kind_and_another_setting_are_changes(entry: dict[str, Any]) -> None:
    changes = diff(config(), config(credentials={"db": entry, "app": {"env": {"password": "P"}}}))
    assert changes.credentials == Change(changed=names("db"), kept=names("app"))


def test_what_cannot_change_in_place_is_named() -> None:
    changes = diff(config(), config(admin={"listen": "unix:/run/admin"}))
    assert changes.restart_needed == ("admin.listen",)
    assert changes.settings == ()
    assert changes


def test_the_log_s_format_and_the_token_s_file_cannot_change_in_place(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("x")
    changes = diff(config(), config(admin={"token_file": str(token)}, log={"format": "text"}))
    assert changes.restart_needed == ("admin.token_file", "log.format")


def test_what_can_change_in_place_is_named_too() -> None:
    changes = diff(config(), config(log={"level": "debug"}, drain={"delay": 1.0, "timeout": 2.0}))
    assert changes.restart_needed == ()
    assert changes.settings == ("log.level", "drain.delay", "drain.timeout")
    assert changes
