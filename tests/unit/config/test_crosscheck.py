"""What only the whole configuration can know."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest

from ambassador.config import crosscheck
from ambassador.config.fault import KeyPath, dotted
from ambassador.config.schema import Config
from ambassador.config.types import FROM_FILE


def config(**sections: Any) -> Config:
    """A sound configuration with `sections` in place of its own."""
    data: dict[str, Any] = {
        "credentials": {"db": {"file": {"path": "/run/db"}}, "app": {"file": {"path": "/run/app"}}},
        "upstreams": {"orders": {"endpoints": "db:1", "credential": "db"}},
        "listeners": {"orders": {"listen": "127.0.0.1:5432", "postgres": {"upstream": "orders"}}},
    }
    return Config.model_validate(data | sections, context=FROM_FILE)


def found(settings: Config, *, damaged: tuple[KeyPath, ...] = ()) -> list[tuple[str, str]]:
    names: dict[str, Collection[str] | None] = {
        "credentials": settings.credentials,
        "upstreams": settings.upstreams,
    }
    return [(dotted(path), message) for path, message in crosscheck.check(settings, names, damaged)]


def listener(listen: Any = "127.0.0.1:5432", **keys: Any) -> dict[str, Any]:
    return {"orders": {"listen": listen, "postgres": {"upstream": "orders"}} | keys}


def test_a_sound_configuration_has_no_faults() -> None:
    assert found(config()) == []


def test_a_credential_must_exist_wherever_it_is_named() -> None:
    settings = config(
        upstreams={"orders": {"endpoints": "db:1", "credential": "dbs", "tls": {"credential": "client"}}},
        listeners=listener(access={"password": {"credential": "ap", "credentials": ["app", "none"]}}),
    )
    assert found(settings) == [
        ("upstreams.orders.credential", "there is no such credential; did you mean 'db'?"),
        ("upstreams.orders.tls.credential", "there is no such credential; known here: app, db"),
        ("listeners.orders.access.password.credential", "there is no such credential; did you mean 'app'?"),
        ("listeners.orders.access.password.credentials[1]", "there is no such credential; known here: app, db"),
    ]


LENT: dict[str, Any] = {
    "lent": {"env": {"password": "PGPASSWORD"}},
    "issued": {"exec": {"command": ["/bin/issue"]}},
    "kept": {"file": {"path": "/run/kept"}},
}
"""What brings a password, a certificate, or either."""


def test_a_certificate_is_no_password_and_a_password_no_certificate() -> None:
    settings = config(
        credentials=LENT,
        upstreams={"orders": {"endpoints": "db:1", "credential": "issued", "tls": {"credential": "lent"}}},
        listeners=listener(tls={"credential": "lent"}),
    )
    assert found(settings) == [
        (
            "upstreams.orders.credential",
            "'issued' is a certificate and no password: name it as the credential of tls",
        ),
        ("upstreams.orders.tls.credential", "'lent' brings a user and a password, and no certificate"),
        ("listeners.orders.tls.credential", "'lent' brings a user and a password, and no certificate"),
    ]


@pytest.mark.parametrize(
    ("login", "shown"), [("lent", "issued"), ("kept", "kept"), ("lent", "kept"), ("kept", "issued")]
)
def test_what_may_be_both_is_left_to_be_seen(login: str, shown: str) -> None:
    settings = config(
        credentials=LENT,
        upstreams={"orders": {"endpoints": "db:1", "credential": login, "tls": {"credential": shown}}},
        listeners=listener(tls={"credential": shown}),
    )
    assert found(settings) == []


def test_a_protocol_that_logs_in_nowhere_needs_no_credential() -> None:
    orders = {"orders": {"listen": "127.0.0.1:1", "tcp": {"upstream": "orders"}}}
    assert found(config(listeners=orders)) == [
        (
            "upstreams.orders.credential",
            "tcp logs in nowhere, so this is of no use here; a client certificate belongs to tls",
        )
    ]
    assert found(config(listeners=orders), damaged=(("listeners", "other"),)) == [], "which may be one that does"
    shown = {"orders": {"endpoints": "db:1", "tls": {"credential": "db"}}}
    assert found(config(listeners=orders, upstreams=shown)) == []


def test_what_a_discovery_names_must_exist_too() -> None:
    settings = config(
        upstreams={
            "orders": {
                "discovery": {"list": {"endpoints": "a:1", "credential": "dbs", "tls": {"ca": "/no/such"}}},
                "credential": "db",
            }
        }
    )
    assert found(settings) == [
        ("upstreams.orders.discovery.list.credential", "there is no such credential; did you mean 'db'?"),
        ("upstreams.orders.discovery.list.tls.ca", "there is no such file"),
    ]


def test_an_upstream_must_exist() -> None:
    settings = config(listeners={"orders": {"listen": "127.0.0.1:1", "tcp": {"upstream": "ordesr"}}})
    assert found(settings) == [("listeners.orders.tcp.upstream", "there is no such upstream; did you mean 'orders'?")]


def test_names_of_faulty_entries_exist_all_the_same() -> None:
    settings = config(upstreams={})
    names: dict[str, Collection[str] | None] = {"credentials": settings.credentials, "upstreams": ["orders"]}
    assert list(crosscheck.references(settings, names)) == []


def test_nothing_is_said_of_names_in_a_section_that_could_not_be_read() -> None:
    assert list(crosscheck.references(config(), {"credentials": None, "upstreams": None})) == []


def test_files_must_be_there_and_readable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there, locked = tmp_path / "there.pem", tmp_path / "locked.pem"
    there.touch()
    locked.touch()
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: path != locked and access(path, mode))
    settings = config(
        admin={"token_file": str(tmp_path / "token")},
        upstreams={
            "orders": {"endpoints": "db:1", "tls": {"ca": str(there), "cert": str(tmp_path), "key": str(locked)}}
        },
        listeners=listener(
            tls={
                "cert": str(there),
                "key": str(there),
                "client_ca": "/" + "x" * 5000,
                "sni": {"a.b": {"cert": "/none", "key": "/no\0ne"}},
            }
        ),
    )
    assert found(settings) == [
        ("admin.token_file", "there is no such file"),
        ("upstreams.orders.tls.cert", "this file cannot be read"),
        ("upstreams.orders.tls.key", "this file cannot be read"),
        ("listeners.orders.tls.client_ca", "there is no such file"),
        ("listeners.orders.tls.sni.a.b.cert", "there is no such file"),
        ("listeners.orders.tls.sni.a.b.key", "there is no such file"),
    ]


@pytest.mark.parametrize(
    ("first", "second", "clash"),
    [
        ("127.0.0.1:1", "127.0.0.1:1", True),
        ("[::1]:1", "[0:0::1]:1", True),
        ("unix:/run/x", "unix:/run/x", True),
        ("0.0.0.0:1", "127.0.0.1:1", True),
        ("127.0.0.1:1", "0.0.0.0:1", True),
        ("[::]:1", "[::1]:1", True),
        ("[::]:1", "0.0.0.0:1", False),
        ("127.0.0.1:1", "127.0.0.1:2", False),
        ("127.0.0.1:1", "127.0.0.2:1", False),
        ("127.0.0.1:0", "127.0.0.1:0", True),
        ("127.0.0.1:0", "127.0.0.2:0", False),
        ("0.0.0.0:1", "unix:/run/x", False),
        ("unix:/run/x", "unix:/run/y", False),
    ],
)
def test_an_address_is_bound_once(first: str, second: str, clash: bool) -> None:
    trust = {"trust": {}, "allow_remote_trust": True}
    settings = config(
        listeners={
            "a": {"listen": first, "postgres": {"upstream": "orders"}, "access": trust},
            "b": {"listen": ["127.0.0.9:9", second], "postgres": {"upstream": "orders"}, "access": trust},
        }
    )
    assert found(settings) == ([("listeners.b.listen[1]", "listener 'a' listens there already")] if clash else [])


def test_the_admin_server_s_address_is_taken_too() -> None:
    settings = config(listeners=listener("127.0.0.1:9901"))
    assert found(settings) == [("listeners.orders.listen[0]", "admin listens there already")]


def test_the_admin_server_and_a_listener_may_both_ask_for_a_free_port() -> None:
    settings = config(admin={"listen": "127.0.0.1:0"}, listeners=listener("127.0.0.1:0"))
    assert found(settings) == []


def test_a_listener_speaks_the_protocol_of_its_upstream() -> None:
    settings = config(upstreams={"orders": {"endpoints": "db:1", "tcp": {}}})
    assert found(settings) == [
        ("listeners.orders.postgres.upstream", "this listener speaks postgres, but that upstream is set up for tcp")
    ]
    assert found(config(upstreams={"orders": {"endpoints": "db:1", "postgres": {}}})) == []


@pytest.mark.parametrize("listen", ["127.0.0.1:1", "unix:/run/x", ["[::1]:1", "unix:/run/x", "localhost:2"]])
def test_everyone_may_come_in_from_this_machine(listen: Any) -> None:
    assert found(config(listeners=listener(listen))) == []
    assert found(config(listeners=listener(listen, access={"trust": {}}))) == []


@pytest.mark.parametrize(
    "listen", ["0.0.0.0:1", "10.0.0.1:1", "[::]:1", "example.com:1", ["127.0.0.1:1", "10.0.0.1:1"]]
)
def test_where_others_reach_it_access_must_be_named(listen: Any) -> None:
    ((path, message),) = found(config(listeners=listener(listen)))
    assert path == "listeners.orders.listen"
    assert "say with access who may come in" in message


def test_trusting_the_network_must_be_meant() -> None:
    ((path, message),) = found(config(listeners=listener("0.0.0.0:1", access={"trust": {}})))
    assert path == "listeners.orders.access.trust"
    assert "allow_remote_trust: true" in message
    assert found(config(listeners=listener("0.0.0.0:1", access={"trust": {}, "allow_remote_trust": True}))) == []
    assert found(config(listeners=listener("0.0.0.0:1", access={"password": {"credential": "app"}}))) == []


TLS = {"cert": __file__, "key": __file__}


def test_plain_clients_beside_tls_need_a_protocol_that_tells_them_apart() -> None:
    both = {"listen": "127.0.0.1:1", "tls": TLS | {"mode": "allow"}}
    upstreams = {"orders": {"endpoints": "db:1"}}
    listeners = {"orders": both | {"postgres": {"upstream": "orders"}}}
    assert found(config(listeners=listeners, upstreams=upstreams)) == []
    listeners = {"orders": both | {"tcp": {"upstream": "orders"}}}
    assert found(config(listeners=listeners, upstreams=upstreams)) == [
        (
            "listeners.orders.tls.mode",
            "tcp does not show whether a client speaks TLS: write require, the default",
        )
    ]


@pytest.mark.parametrize(
    ("access", "missing", "enough"),
    [
        ({"mtls": {}}, {"tls": TLS}, {"tls": TLS | {"client_ca": __file__}}),
        ({"peer": {}}, {"listen": ["unix:/run/x", "127.0.0.1:1"]}, {"listen": "unix:/run/x"}),
        ({"password": {"cleartext": True}}, {"listen": "0.0.0.0:1"}, {"listen": "0.0.0.0:1", "tls": TLS}),
        (
            {"password": {"cleartext": True}},
            {"listen": "0.0.0.0:1", "tls": TLS | {"mode": "allow"}},
            {"listen": "127.0.0.1:1"},
        ),
    ],
)
def test_a_way_of_access_gets_what_it_needs(
    access: dict[str, Any], missing: dict[str, Any], enough: dict[str, Any]
) -> None:
    ((path, message),) = found(config(listeners=listener(**{"access": access} | missing)))
    assert path == f"listeners.orders.access.{next(iter(access))}"
    assert "tls" in message or "unix" in message
    assert found(config(listeners=listener(**{"access": access} | enough))) == []


@pytest.mark.usefixtures("real_plugins")
@pytest.mark.parametrize(
    ("protocol", "users", "good"),
    [("postgres", {}, True), ("redis", {}, False), ("redis", {"app": "*"}, True)],
)
def test_a_process_is_let_in_by_rules_where_clients_name_no_user(
    protocol: str, users: dict[str, str], good: bool
) -> None:
    one = {"listen": "unix:/run/x", protocol: {"upstream": "orders"}, "access": {"peer": {"users": users}}}
    faults = found(config(listeners={"orders": one}))
    assert [path for path, _ in faults] == ([] if good else ["listeners.orders.access.peer"])
    assert all("say with users or groups who may come in" in message for _, message in faults)


def test_what_is_missing_in_a_damaged_entry_proves_nothing() -> None:
    settings = config(listeners=listener("0.0.0.0:1", postgres={"upstream": "other"}))
    assert [path for path, _ in found(settings, damaged=(("listeners", "orders"),))] == [
        "listeners.orders.postgres.upstream"
    ]
