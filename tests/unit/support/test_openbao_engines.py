"""Each secrets engine lends what it should."""

from __future__ import annotations

from typing import Literal

import psycopg
import pytest
from cryptography import x509

from ambassador.demo.resp import Conversation
from ambassador.demo.resp import Refused as NotLetIn
from tests.support.openbao import OpenBao, Refused
from tests.support.postgres import PostgresServer, new_role
from tests.support.processes import wait_until
from tests.support.secrets import MINTED
from tests.support.valkey import ValkeyServer


@pytest.mark.parametrize("version", [1, 2])
def test_a_secret_is_read_as_it_was_written(openbao: OpenBao, version: Literal[1, 2]) -> None:
    values = openbao.key_value(version)
    assert values.put("shop/app", {"username": "u"}) == version - 1
    values.put("shop/app", {"username": "v", "port": 5432})
    assert values.read("shop/app") == {"username": "v", "port": 5432}
    token = openbao.token(openbao.policy(f"reads-{version}", values.reading()))
    assert openbao.ask("GET", values.path("shop/app"), token=token).status == 200
    values.delete("shop/app")
    with pytest.raises(Refused, match="404"):
        values.read("shop/app")


def test_versions_are_hidden_shown_and_destroyed(openbao: OpenBao) -> None:
    values = openbao.key_value()
    for number in (1, 2):
        values.put("app", {"number": number})
    values.delete("app", 2)
    assert values.read("app", 1) == {"number": 1}
    hidden = openbao.ask("GET", values.path("app"))
    assert (hidden.status, hidden.body["data"]["data"]) == (404, None)
    values.undelete("app", 2)
    assert values.read("app") == {"number": 2}
    values.destroy("app", 2)
    assert openbao.ask("GET", values.path("app")).body["data"]["metadata"]["destroyed"] is True
    values.destroy("app")
    assert openbao.ask("GET", values.path("app")).body == {"errors": []}


def rights(openbao: OpenBao) -> str:
    """A token that may read everywhere."""
    return openbao.token(openbao.policy("reads", 'path "*" { capabilities = ["read"] }'))


def logs_in(server: PostgresServer, name: str, password: str) -> bool:
    """Whether it may."""
    try:
        with psycopg.connect(
            host=server.host, port=server.port, user=name, password=password, dbname="postgres", sslmode="disable"
        ) as connection:
            return connection.execute("SELECT current_user").fetchone() == (name,)
    except psycopg.OperationalError:
        return False


def test_a_lent_postgres_role_lives_as_long_as_its_lease(openbao: OpenBao, postgres17: PostgresServer) -> None:
    database = openbao.postgres_database(postgres17, default_ttl=2, max_ttl=600)
    made = database.credentials(token=rights(openbao))
    name, password = made["data"]["username"], made["data"]["password"]
    assert (made["lease_duration"], made["renewable"], database.leases()) == (2, True, [made["lease_id"]])
    assert database.live_roles() == [name]
    assert logs_in(postgres17, name, password)
    wait_until("the lease to end", lambda: not database.live_roles())
    assert not logs_in(postgres17, name, password)
    assert password in MINTED


def test_a_postgres_role_of_one_s_own_statements(openbao: OpenBao, postgres17: PostgresServer) -> None:
    database = openbao.postgres_database(postgres17)
    database.set_role("other", ["CREATE ROLE \"{{name}}\" NOLOGIN PASSWORD '{{password}}'"], default_ttl=60, max_ttl=60)
    made = database.credentials("other")
    assert not logs_in(postgres17, made["data"]["username"], made["data"]["password"])
    assert (len(database.leases("other")), len(database.leases())) == (1, 0)
    openbao.revoke_leases(database.mount)


def test_a_static_role_gets_another_password_when_it_is_rotated(openbao: OpenBao, postgres17: PostgresServer) -> None:
    database, role = openbao.postgres_database(postgres17), new_role(postgres17)
    database.set_static_role("kept", role.name)
    first = database.static_credentials("kept")
    assert logs_in(postgres17, first["username"], first["password"])
    assert not logs_in(postgres17, role.name, role.password)
    database.rotate("kept")
    second = database.static_credentials("kept")
    assert (first["username"], second["username"]) == (role.name, role.name)
    assert not logs_in(postgres17, role.name, first["password"])
    assert logs_in(postgres17, role.name, second["password"])


def test_a_lent_valkey_user_lives_as_long_as_its_lease(openbao: OpenBao, valkey: ValkeyServer) -> None:
    database = openbao.valkey_database(valkey, rules="~* +@all -flushall")
    made = database.credentials(token=rights(openbao))["data"]
    assert database.live_users() == [made["username"]]
    with Conversation((valkey.host, valkey.port)) as client:
        client.ask("AUTH", made["username"], made["password"])
        assert client.ask("ACL", "WHOAMI") == made["username"]
        with pytest.raises(NotLetIn, match="NOPERM"):
            client.ask("FLUSHALL")
    openbao.revoke_leases(database.mount)
    assert database.live_users() == []


def test_an_authority_signs_for_a_while(openbao: OpenBao) -> None:
    authority = openbao.authority(ttl=20, max_ttl=30)
    made = authority.issue("app.example", alt_names="www.example", ttl="1h")
    leaf, root = (x509.load_pem_x509_certificate(text.encode()) for text in (made["certificate"], authority.ca))
    leaf.verify_directly_issued_by(root)
    assert leaf.not_valid_after_utc.timestamp() == made["expiration"]
    assert 45 <= (leaf.not_valid_after_utc - leaf.not_valid_before_utc).total_seconds() <= 61
    assert openbao.leases(authority.mount) == []
    assert made["private_key"] in MINTED


def test_an_authority_may_lend_its_certificates(openbao: OpenBao) -> None:
    authority = openbao.authority(lease=True)
    authority.issue("app.example")
    assert len(openbao.leases(f"{authority.mount}/issue/app")) == 1


def test_reading_may_be_restricted_to_some_paths(openbao: OpenBao) -> None:
    values = openbao.key_value(1)
    for name in ("a", "b"):
        values.put(name, {"x": "y"})
    token = openbao.token(openbao.policy("only-a", values.reading("a", "c")))
    assert [openbao.ask("GET", values.path(name), token=token).status for name in "ab"] == [200, 403]
