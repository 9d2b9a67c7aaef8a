"""The shared servers of the Redis protocol: each kind starts, lets in whom it should, and speaks TLS where it can."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from ambassador.demo.resp import Conversation, Refused
from tests.support import valkey as support
from tests.support.certificates import Authority, Pair
from tests.support.leaks import SHARED_CHILDREN
from tests.support.redis_client import RedisClient
from tests.support.valkey import ServerFailed, ValkeyServer, ValkeyServers, certificates, new_account, program


def login(server: ValkeyServer, name: str, password: str) -> object:
    """Log in over TCP and say who the server thinks it is."""
    with Conversation((server.host, server.port)) as client:
        client.ask("AUTH", name, password)
        return client.ask("ACL", "WHOAMI")


def test_valkey_lets_a_new_account_in(valkey: ValkeyServer) -> None:
    account = new_account(valkey)
    assert login(valkey, account.name, account.password) == account.name
    assert valkey.info("server")["valkey_version"].startswith("9.")


def test_redis_lets_a_new_account_in(redis7: ValkeyServer) -> None:
    account = new_account(redis7)
    assert login(redis7, account.name, account.password) == account.name
    assert redis7.info("server")["redis_version"].startswith("7.")


def test_an_account_is_the_same_on_several_servers(valkey: ValkeyServer, redis7: ValkeyServer) -> None:
    account = new_account(valkey, redis7, password="chosen")
    assert [login(server, account.name, "chosen") for server in (valkey, redis7)] == [account.name] * 2


@pytest.mark.parametrize("word", ["wrong", ""])
def test_a_wrong_password_is_refused(valkey: ValkeyServer, word: str) -> None:
    account = new_account(valkey)
    with pytest.raises(Refused, match="WRONGPASS"):
        login(valkey, account.name, word)


def test_the_default_user_is_off(valkey: ValkeyServer) -> None:
    with RedisClient((valkey.host, valkey.port)) as client:
        assert client.ask("PING").error.code == "NOAUTH"


def test_a_client_certificate_of_the_authority_may_be_shown(redis_tls: ValkeyServer, authority: Authority) -> None:
    account = new_account(redis_tls)
    context = ssl.create_default_context(cafile=str(authority.file))
    pair = authority.client("client")
    context.load_cert_chain(pair.cert, pair.key)
    with RedisClient((redis_tls.host, redis_tls.port), tls=context) as client:
        assert client.ask("AUTH", account.name, account.password).value == b"OK"


def shown(server: ValkeyServer, authority: Authority) -> bytes | None:
    """The certificate a server shows, DER."""
    context = ssl.create_default_context(cafile=str(authority.file))
    with RedisClient((server.host, server.port), tls=context) as client:
        assert isinstance(client.socket, ssl.SSLSocket)
        return client.socket.getpeercert(binary_form=True)


@pytest.mark.apt
def test_certificates_are_replaced_when_the_call_returns(authority: Authority) -> None:
    pair: Pair = authority.server("localhost")
    with ValkeyServer(program("redis7"), certificates=certificates(authority)) as server:
        before = shown(server, authority)
        server.set_certificates(support.Certificates(pair.cert, pair.key))
        after = shown(server, authority)
    assert before != after
    assert after is not None
    assert ssl.DER_cert_to_PEM_cert(after).strip() in pair.cert.read_text()


@pytest.mark.apt
def test_without_a_client_ca_no_certificate_is_asked_for(authority: Authority) -> None:
    pair = authority.server("localhost")
    with ValkeyServer(program("redis7"), certificates=support.Certificates(pair.cert, pair.key)) as server:
        assert shown(server, authority) is not None
        assert server.ask("CONFIG", "GET", "tls-auth-clients") == ["tls-auth-clients", "no"]


def test_valkey_was_built_without_tls(authority: Authority) -> None:
    assert not program("valkey9").tls
    with (
        pytest.raises(ServerFailed, match="Failed finding TLS support"),
        ValkeyServer(certificates=certificates(authority)),
    ):
        pass


def test_two_asks_for_one_kind_give_one_server(valkeys: ValkeyServers) -> None:
    first = valkeys.get("valkey9")
    assert valkeys.get("valkey9") is first
    assert first.pid in SHARED_CHILDREN


def test_redis_is_skipped_with_the_reason_where_it_is_absent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(support, "DEBIAN", tmp_path / "redis-server")
    with pytest.raises(pytest.skip.Exception, match=r"redis-server brings it \(`make apt`\)"):
        program("redis7")
