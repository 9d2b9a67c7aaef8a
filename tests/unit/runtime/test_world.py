"""A world is built beside the one that runs: what did not change is the same object, what did is a new one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ambassador.config.address import Address
from ambassador.config.load import load_data
from ambassador.config.schema import Config
from ambassador.credentials.credential import Credential
from ambassador.credentials.rotation import TrialResult
from ambassador.credentials.store import Store
from ambassador.discovery.sentinel import Sentinel
from ambassador.discovery.static import Static
from ambassador.errors import ConfigError
from ambassador.kit.clock import SYSTEM
from ambassador.protocols.postgres.options import PostgresUpstreamOptions
from ambassador.runtime import world as module
from ambassador.runtime.world import Commons, build, client_contexts, make_discovery, resolved, upstream_of
from ambassador.telemetry.metrics import Metrics
from ambassador.upstreams.endpoint import Endpoint
from ambassador.upstreams.upstream import Upstream
from tests.support.certificates import Authority


@pytest.fixture
def commons() -> Commons:
    return Commons(SYSTEM, Metrics(), Store(SYSTEM))


def config(*, upstream: dict[str, Any] | None = None, listener: dict[str, Any] | None = None, **more: Any) -> Config:
    data: dict[str, Any] = {
        "credentials": {"db": {"env": {"username": "U", "password": "P"}}},
        "upstreams": {
            "orders": {"endpoints": ["127.0.0.1:1"], "credential": "db", **(upstream or {})},
            "queue": {"endpoints": ["127.0.0.1:2"]},
        },
        "listeners": {
            "orders": {"listen": "127.0.0.1:7001", "postgres": {"upstream": "orders"}, **(listener or {})},
            "queue": {"listen": "127.0.0.1:7002", "tcp": {"upstream": "queue"}},
        },
    }
    return load_data(data | more).config


def test_an_equal_configuration_is_carried_over_whole(commons: Commons) -> None:
    before = build(commons, config())
    after = build(commons, config(), before)
    assert all(after.upstreams[name] is before.upstreams[name] for name in ("orders", "queue"))
    assert all(after.plans[name] is before.plans[name] for name in ("orders", "queue"))
    assert after.keepers["db"] is before.keepers["db"]


def test_a_changed_upstream_makes_a_new_one_and_a_new_plan_and_leaves_the_others(commons: Commons) -> None:
    before = build(commons, config())
    after = build(commons, config(upstream={"connect_timeout": "9s"}), before)
    assert after.upstreams["orders"] is not before.upstreams["orders"]
    assert after.plans["orders"].routes.upstream is after.upstreams["orders"]
    assert after.plans["queue"] is before.plans["queue"]


def test_a_changed_listener_keeps_its_upstream_its_drain_and_its_way_of_access(commons: Commons) -> None:
    before = build(commons, config())
    after = build(commons, config(listener={"limits": {"connections": 7}}), before)
    old, new = before.plans["orders"], after.plans["orders"]
    assert new is not old
    assert (new.routes.upstream, new.drain, new.access) == (old.routes.upstream, old.drain, old.access)
    assert new.settings.limits.connections == 7


def test_a_changed_way_of_access_is_a_new_authenticator(commons: Commons) -> None:
    before = build(commons, config())
    after = build(commons, config(listener={"access": {"password": {"credential": "db"}}}), before)
    assert after.plans["orders"].access is not before.plans["orders"].access


def test_a_changed_credential_gets_a_new_keeper(commons: Commons) -> None:
    before = build(commons, config())
    other = {"db": {"env": {"username": "U", "password": "Q"}}}
    assert build(commons, config(credentials=other), before).keepers["db"] is not before.keepers["db"]


def test_cancel_keys_outlive_every_world(commons: Commons) -> None:
    before = build(commons, config())
    after = build(commons, config(listener={"limits": {"connections": 7}}), before)
    assert after.plans["orders"].protocol.shared is before.plans["orders"].protocol.shared


def test_what_listeners_need_are_their_upstreams_and_their_accesses_credentials(commons: Commons) -> None:
    more = {name: {"env": {"username": "U", "password": "P"}} for name in ("db", "app", "cert", "nobody-uses-this")}
    found = build(
        commons,
        config(
            credentials=more,
            upstream={"tls": {"credential": "cert"}},
            listener={"access": {"password": {"credential": "app"}}},
        ),
    )
    assert found.needed_credentials() == {"db", "app", "cert"}


def test_an_upstream_gets_the_defaults_of_the_protocol_spoken_to_it() -> None:
    settings = resolved(config().upstreams["orders"], "postgres")
    assert settings.options == PostgresUpstreamOptions()
    assert resolved(settings, "tcp") is settings


def test_without_tls_there_are_no_contexts() -> None:
    settings = config().upstreams["orders"]
    assert client_contexts(resolved(settings, "postgres")) is None
    off = config(upstream={"tls": {"mode": "disable"}}).upstreams["orders"]
    assert client_contexts(resolved(off, "postgres")) is None


def test_a_certificate_that_cannot_be_used_fails_the_build(commons: Commons, tmp_path: Path) -> None:
    authorities = tmp_path / "ca.pem"
    authorities.write_text("no certificate")
    with pytest.raises(ConfigError, match=r"ca\.pem"):
        build(commons, config(upstream={"tls": {"ca": str(authorities)}}))


def found_by(sentinel: dict[str, Any], **more: Any) -> Config:
    where = {"discovery": {"sentinel": {"master": "cache", "endpoints": "s:26379"} | sentinel}}
    upstreams = {"orders": where | more, "queue": {"endpoints": ["127.0.0.1:2"]}}
    credentials = {name: {"env": {"username": "U", "password": "P"}} for name in ("db", "guard", "cert")}
    return config(upstreams=upstreams, credentials=credentials)


def test_an_upstream_that_is_found_by_discovery_begins_nowhere(commons: Commons) -> None:
    world = build(commons, found_by({}))
    assert set(world.discoveries) == {"orders"}
    assert world.upstreams["orders"].endpoints == ()
    assert world.upstreams["queue"].endpoints != ()


def test_a_discovery_is_carried_over_as_long_as_its_own_settings_stay(commons: Commons) -> None:
    first = build(commons, found_by({}))
    second = build(commons, found_by({}, connect_timeout="9s"), first)
    third = build(commons, found_by({"poll": "1s"}, connect_timeout="9s"), second)
    assert second.upstreams["orders"] is not first.upstreams["orders"]
    assert second.discoveries["orders"] is first.discoveries["orders"]
    assert third.discoveries["orders"] is not first.discoveries["orders"]


def test_where_an_upstream_was_found_serves_the_next_one(commons: Commons) -> None:
    before = build(commons, found_by({}))
    before.upstreams["orders"].replace((Endpoint(Address("db", 1), "primary"),))
    after = build(commons, found_by({"poll": "1s"}), before)
    assert after.upstreams["orders"].endpoints == (Endpoint(Address("db", 1), "primary"),)


def test_a_discovery_s_credentials_and_certificate_are_looked_after(commons: Commons, authority: Authority) -> None:
    tls = {"ca": str(authority.file), "credential": "cert"}
    world = build(commons, found_by({"credential": "guard", "tls": tls}))
    assert world.needed_credentials() == {"guard", "cert"}
    assert world.certificates is not None
    assert world.certificates.contexts == {"discovery orders": world.discoveries["orders"].tls}
    pair = authority.client("ambassador")
    fields = {"tls.crt": pair.cert.read_bytes(), "tls.key": pair.key.read_bytes()}
    commons.store.put(Credential("cert", 1, fields))
    world.certificates.start()
    world.certificates.stop()
    shown = world.discoveries["orders"].tls
    assert shown is not None
    assert shown.not_after is not None


def test_a_discovery_without_a_certificate_of_its_own_has_none_to_renew(commons: Commons, authority: Authority) -> None:
    world = build(commons, found_by({"tls": {"ca": str(authority.file)}}))
    assert world.needed_credentials() == set()
    assert world.certificates is not None
    assert list(world.certificates.contexts) == ["discovery orders"]


def test_a_discovery_is_made_of_an_upstream_s_settings() -> None:
    upstreams = found_by({}).upstreams
    assert isinstance(make_discovery("orders", upstreams["orders"], Store(SYSTEM), SYSTEM), Sentinel)
    static = make_discovery("queue", upstreams["queue"], Store(SYSTEM), SYSTEM)
    assert isinstance(static, Static)
    assert static.known == (Endpoint(Address("127.0.0.1", 2)),)


def test_a_listener_names_its_upstream() -> None:
    assert {name: upstream_of(one) for name, one in config().listeners.items()} == {
        "orders": "orders",
        "queue": "queue",
    }


@pytest.mark.parametrize(
    ("answers", "verdict"),
    [
        ([TrialResult.ACCEPTED, TrialResult.REFUSED], TrialResult.REFUSED),
        ([TrialResult.UNKNOWN, TrialResult.ACCEPTED], TrialResult.ACCEPTED),
        ([TrialResult.UNKNOWN, TrialResult.UNKNOWN], TrialResult.UNKNOWN),
    ],
)
async def test_a_value_is_tried_wherever_it_is_used_and_one_refusal_refuses_it(
    commons: Commons, monkeypatch: pytest.MonkeyPatch, answers: list[TrialResult], verdict: TrialResult
) -> None:
    upstreams = {name: {"endpoints": ["127.0.0.1:1"], "credential": "db"} for name in ("a", "b")}
    listeners = {
        name: {"listen": f"127.0.0.1:{7000 + n}", "postgres": {"upstream": name}} for n, name in enumerate(upstreams, 1)
    }
    commons.current = build(commons, config(upstreams=upstreams, listeners=listeners))
    left = list(answers)

    async def trial(self: Upstream, credential: Credential, login: object) -> TrialResult:
        return left.pop(0)

    monkeypatch.setattr(Upstream, "trial", trial)
    candidate = Credential("db", 2, {"username": b"u", "password": b"p"})
    assert await module._try_everywhere(candidate, module._users("db", commons.current)) is verdict
    assert not left


def test_a_credential_that_only_clients_show_is_not_tried_upstream(commons: Commons) -> None:
    more = {name: {"env": {"username": "U", "password": "P"}} for name in ("db", "app")}
    found = build(commons, config(credentials=more, listener={"access": {"password": {"credential": "app"}}}))
    assert module._users("app", found) == []
    assert [upstream.name for upstream in module._users("db", found)] == ["orders"]


def test_a_credential_that_begins_to_log_in_gets_a_keeper_that_tries(commons: Commons) -> None:
    more = {name: {"env": {"username": "U", "password": "P"}} for name in ("db", "app")}
    access = {"access": {"password": {"credential": "app"}}}
    before = build(commons, config(credentials=more, listener=access))
    after = build(commons, config(credentials=more, listener=access, upstream={"credential": "app"}), before)
    assert after.keepers["app"] is not before.keepers["app"]
