"""What holds in every namespace: policies, tokens, leases."""

from __future__ import annotations

import pytest

from tests.support.openbao import OpenBao, Refused
from tests.support.postgres import PostgresServer
from tests.support.secrets import MINTED


def test_a_policy_allows_until_it_is_taken_away(openbao: OpenBao) -> None:
    values = openbao.key_value()
    values.put("app", {"password": "x"})
    token = openbao.token(openbao.policy("allows", values.reading()))
    assert openbao.ask("GET", values.path("app"), token=token).status == 200
    openbao.remove_policy("allows")
    assert openbao.ask("GET", values.path("app"), token=token).status == 403
    assert openbao.ask("GET", "auth/token/lookup-self", token=token).status == 200


def test_a_token_has_the_life_that_was_asked_for(openbao: OpenBao) -> None:
    token = openbao.token("default", ttl=50, explicit_max_ttl=100, renewable=False)
    found = openbao.lookup(token)
    assert (found["creation_ttl"], found["explicit_max_ttl"], found["renewable"]) == (50, 100, False)
    periodic = openbao.lookup(openbao.token(period=30))
    assert (periodic["period"], periodic["creation_ttl"]) == (30, 30)
    assert token in MINTED


def test_a_token_may_be_without_the_default_policy(openbao: OpenBao) -> None:
    token = openbao.token(openbao.policy("lonely", 'path "none" { capabilities = ["read"] }'), default_policy=False)
    assert openbao.ask("GET", "auth/token/lookup-self", token=token).status == 403


def test_a_revoked_token_is_over_and_no_longer_counted(openbao: OpenBao) -> None:
    token = openbao.token("default")
    before = openbao.tokens()
    openbao.revoke_token(token)
    assert openbao.tokens() == before - 1
    with pytest.raises(Refused):
        openbao.lookup(token)


def test_an_answer_can_be_wrapped(openbao: OpenBao) -> None:
    values = openbao.key_value(1)
    values.put("app", {"password": "x"})
    wrapping = openbao.api("GET", values.path("app"), wrap_ttl=60)["wrap_info"]["token"]
    unwrapped = openbao.api("POST", "sys/wrapping/unwrap", {}, token=wrapping)
    assert unwrapped["data"] == {"password": "x"}


def test_leases_are_listed_below_any_path_and_revoked(openbao: OpenBao, postgres17: PostgresServer) -> None:
    database = openbao.postgres_database(postgres17)
    made = [database.credentials()["lease_id"] for _ in range(2)]
    assert sorted(openbao.leases(f"{database.mount}/creds/app")) == sorted(made)
    assert set(made) <= set(openbao.leases())
    openbao.revoke_leases(database.mount)
    assert (openbao.leases(database.mount), database.live_roles()) == ([], [])
    assert openbao.leases("nothing/there") == []


def test_what_cannot_be_listed_is_no_empty_list(openbao: OpenBao) -> None:
    with pytest.raises(Refused, match="405"):
        openbao.listed("sys/health")
