from __future__ import annotations

import dataclasses
import json
import secrets

import pytest

from ambassador.admin.status import (
    MAX_SESSIONS,
    CertificateStatus,
    CredentialStatus,
    ReloadStatus,
    Snapshot,
    VaultStatus,
    moment,
    to_json,
)
from ambassador.telemetry.redaction import conceal
from tests.support.operator import NOW, daemon_status, full_snapshot, session_status


def test_everything_in_a_snapshot_is_told() -> None:
    data = json.loads(json.dumps(to_json(full_snapshot())))
    assert data["time"] == "2026-09-21T14:13:20.000Z"
    assert data["daemon"] == {
        "version": "1.2.3",
        "python": "3.11.7",
        "scan": "compiled",
        "pid": 42,
        "host": "orders-0",
        "state": "ready",
        "started": "2026-09-21T13:13:20.000Z",
        "uptime_seconds": 3600.0,
        "log_level": "info",
        "config_file": "/etc/ambassador/ambassador.yaml",
        "last_reload": {"applied": True, "time": "2026-09-21T14:12:20.000Z", "message": "applied"},
    }
    assert (data["ready"], data["held"]) == (True, [])
    assert data["listeners"][0]["addresses"] == ["127.0.0.1:5432", "unix:/run/orders"]
    assert data["listeners"][0]["results"] == {"client_closed": 8, "idle_timeout": 1}
    assert [endpoint["last_error"] for endpoint in data["upstreams"][0]["endpoints"]] == [None, "connect_timeout"]
    assert data["credentials"][0]["age_seconds"] == 90.0
    assert data["credentials"][0]["expires"] == "2026-09-21T16:13:20.000Z"
    assert (data["credentials"][0]["lease"], data["credentials"][0]["next_renewal"]) == (
        True,
        "2026-09-21T15:13:20.000Z",
    )
    assert data["vaults"] == [
        {
            "name": "main",
            "login": "https://vault.example.com:8200, kubernetes role orders",
            "logged_in": True,
            "token_expires": "2026-09-21T14:43:20.000Z",
            "last_error": "vault 'main', to read secret/app: gave no answer in time",
        }
    ]
    assert data["credentials"][0]["connections"] == {"7": 1, "6": 2}
    assert data["sessions"][0]["idle_seconds"] == 0.25
    assert data["sessions_total"] == 1
    assert data["certificates"] == [
        {"where": "listener orders", "not_after": "2026-10-21T14:13:20.000Z", "error": None}
    ]


def test_no_field_of_a_snapshot_is_forgotten() -> None:
    def names(value: object) -> set[str]:
        if isinstance(value, dict):
            return set(value) | {name for item in value.values() for name in names(item)}
        if isinstance(value, list):
            return {name for item in value for name in names(item)}
        return set()

    spelled = {"taken": "time", "uptime": "uptime_seconds", "age": "age_seconds", "idle": "idle_seconds", "at": "time"}
    told = names(to_json(full_snapshot()))

    def check(value: object) -> None:
        if dataclasses.is_dataclass(value):
            for one in dataclasses.fields(value):
                assert spelled.get(one.name, one.name) in told
                check(getattr(value, one.name))
        elif isinstance(value, tuple):
            for item in value:
                check(item)

    check(full_snapshot())


def test_what_is_missing_is_told_as_not_ready() -> None:
    data = to_json(Snapshot(taken=NOW, daemon=daemon_status(last_reload=None, config_file=None), held=("listeners",)))
    assert (data["ready"], data["held"]) == (False, ["listeners"])
    assert data["daemon"]["last_reload"] is None
    assert data["daemon"]["config_file"] is None


def test_sessions_are_bounded_and_their_total_is_told() -> None:
    sessions = tuple(session_status(number) for number in range(MAX_SESSIONS + 5))
    data = to_json(Snapshot(taken=NOW, daemon=daemon_status(), sessions=sessions, sessions_total=1))
    assert len(data["sessions"]) == MAX_SESSIONS
    assert data["sessions_total"] == MAX_SESSIONS + 5


def test_a_clients_odd_names_can_be_encoded() -> None:
    sessions = (session_status(user="half\udc80", database="☃"), session_status(user=None, database=None))
    data = to_json(Snapshot(taken=NOW, daemon=daemon_status(), sessions=sessions))
    assert [one["user"] for one in data["sessions"]] == ["half\\udc80", None]
    assert [one["database"] for one in data["sessions"]] == ["☃", None]
    json.dumps(data, ensure_ascii=False).encode()


def test_no_known_secret_leaves_in_an_errors_text() -> None:
    secret = secrets.token_hex(10)
    conceal(secret)
    snapshot = Snapshot(
        taken=NOW,
        daemon=daemon_status(last_reload=ReloadStatus(applied=False, at=NOW, message=f"bad {secret}")),
        credentials=(
            CredentialStatus(
                name="c", source=f"env {secret}", version=None, last_error=f"no {secret}", warnings=(f"odd {secret}",)
            ),
        ),
        vaults=(VaultStatus(name="v", login=f"at {secret}", logged_in=False, error=f"no {secret}"),),
        certificates=(CertificateStatus(where="w", not_after=NOW, error=f"bad {secret}"),),
    )
    text = json.dumps(to_json(snapshot))
    assert secret not in text
    assert text.count("***") == 7


@pytest.mark.parametrize(
    ("wall", "text"), [(None, None), (0.0, "1970-01-01T00:00:00.000Z"), (1e20, None), (float("inf"), None)]
)
def test_a_moment_that_no_calendar_holds_is_none(wall: float | None, text: str | None) -> None:
    assert moment(wall) == text
