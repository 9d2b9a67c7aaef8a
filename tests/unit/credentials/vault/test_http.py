"""The session that hvac speaks through."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from hvac import exceptions
from urllib3.exceptions import HTTPError

from ambassador.config.tls import TlsVersion
from ambassador.config.vault import VaultSettings, VaultTls
from ambassador.credentials.vault import http as module
from ambassador.credentials.vault.failure import Kind, TooLong, explained
from ambassador.credentials.vault.http import Http
from ambassador.demo.servers import Certificates
from ambassador.net.tls import ClientContexts
from tests.support.certificates import Authority
from tests.support.fake_vault import FakeVault
from tests.support.openbao import OpenBao
from tests.support.secrets import canary

TOKEN: dict[str, dict[str, str]] = {"token": {}}


@contextmanager
def speaking(address: str, *, connections: int = 1, **settings: Any) -> Iterator[Http]:
    found = VaultSettings.model_validate({"address": address, "auth": TOKEN, "timeout": 5.0, **settings})
    http = Http(found, None if found.is_cleartext else ClientContexts(found.tls), connections)
    try:
        yield http
    finally:
        http.close()


@pytest.fixture
def server() -> Iterator[FakeVault]:
    with FakeVault().key_value("kv", 1) as found:
        found.put("kv", "app", username="u")
        yield found


@pytest.fixture
def secured(authority: Authority) -> Iterator[FakeVault]:
    """One that speaks TLS, as 127.0.0.1."""
    pair = authority.server("127.0.0.1")
    with FakeVault(certificates=Certificates(pair.cert, pair.key)).key_value("kv", 1) as found:
        found.put("kv", "app", username="u")
        yield found


def read(http: Http, server: FakeVault, path: str = "kv/app") -> Any:
    return http.adapter(server.root.encode()).get(f"/v1/{path}")


def kind(error: Exception) -> Kind:
    return explained(error, vault="v", address="a", doing="d").kind


def test_a_request_shows_token_and_namespace_and_brings_json(server: FakeVault) -> None:
    with speaking(server.url, namespace="team/shop") as http:
        assert read(http, server)["data"] == {"username": "u"}
        http.adapter(None).get("/v1/sys/health")
    first, second = server.asked()
    assert (first.token, first.namespace) == (server.root, "team/shop")
    assert (second.token, second.namespace) == ("", "team/shop")


def test_a_connection_is_used_again(server: FakeVault) -> None:
    with speaking(server.url) as http:
        for _ in range(5):
            read(http, server)
        assert len(server.asked()) == 5
        assert connections(http) == [1]


def connections(http: Http) -> list[int]:
    """How many connections each pool has made."""
    pools = http._session.adapters["https://"].poolmanager.pools  # type: ignore[attr-defined]  # nobody else counts
    pools = pools if len(pools) else http._session.adapters["http://"].poolmanager.pools  # type: ignore[attr-defined]
    return [pools[key].num_connections for key in pools.keys()]  # noqa: SIM118 - iterating it itself is forbidden


# Whom it trusts


def test_a_certificate_of_the_named_authority_is_trusted(secured: FakeVault, authority: Authority) -> None:
    with speaking(secured.url, tls={"ca": authority.file}) as http:
        assert read(http, secured)["data"] == {"username": "u"}


def untrusted(server: FakeVault, **tls: Any) -> str:
    with speaking(server.url, tls=tls) as http, pytest.raises(requests.exceptions.SSLError) as caught:
        read(http, server)
    assert server.asked() == []
    assert kind(caught.value) is Kind.TLS
    return str(explained(caught.value, vault="v", address="a", doing="d"))


def test_without_the_authority_it_is_not(secured: FakeVault, tmp_path: Path) -> None:
    assert "unable to get local issuer certificate" in untrusted(secured)
    other = Authority(tmp_path)
    assert "certificate verify failed" in untrusted(secured, ca=other.file)


def test_one_that_speaks_no_tls_is_said_to(openbao: OpenBao) -> None:
    with speaking(openbao.url.replace("http:", "https:")) as http, pytest.raises(requests.RequestException) as caught:
        http.adapter(None).get("/v1/sys/health")
    told = str(explained(caught.value, vault="v", address="a", doing="d"))
    assert "does it speak TLS at all? then the address begins with http://" in told


def test_the_name_must_be_the_one_asked_for(secured: FakeVault, authority: Authority) -> None:
    assert "certificate verify failed" in untrusted(secured, ca=authority.file, server_name="vault.example")
    pair = authority.server("vault.example")
    with FakeVault(certificates=Certificates(pair.cert, pair.key)) as elsewhere:
        assert "IP address mismatch" in untrusted(elsewhere, ca=authority.file)
        with speaking(elsewhere.url, tls={"ca": authority.file, "server_name": "vault.example"}) as http:
            http.adapter(None).get("/v1/sys/health")


def test_nobody_else_is_trusted_where_an_authority_is_named(
    secured: FakeVault, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if the server's authority were a public one: the file of the system's, and what requests brings along."""
    other = Authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    monkeypatch.setattr("requests.adapters.DEFAULT_CA_BUNDLE_PATH", str(authority.file))
    monkeypatch.setattr("certifi.where", lambda: str(authority.file))
    assert "certificate verify failed" in untrusted(secured, ca=other.file)


@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "VAULT_CACERT"])
def test_variables_bring_no_authorities(
    secured: FakeVault, authority: Authority, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, str(authority.file))
    assert "unable to get local issuer certificate" in untrusted(secured)


def test_a_certificate_is_shown_to_a_server_that_asks(authority: Authority) -> None:
    pair, ours = authority.server("127.0.0.1"), authority.client("ambassador")
    with FakeVault(certificates=Certificates(pair.cert, pair.key, authority.file)) as server:
        tls = {"ca": authority.file, "cert": ours.cert, "key": ours.key}
        with speaking(server.url, tls=tls) as http:
            http.adapter(None).get("/v1/sys/health")
        with speaking(server.url, tls={"ca": authority.file}) as http, pytest.raises(requests.ConnectionError):
            http.adapter(None).get("/v1/sys/health")


def test_a_replaced_authority_holds_for_the_next_request(
    secured: FakeVault, authority: Authority, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    other, file = Authority(tmp_path / "other"), tmp_path / "ca.pem"
    file.write_bytes(authority.file.read_bytes())
    settings = VaultSettings.model_validate({"address": secured.url, "auth": TOKEN, "tls": {"ca": file}})
    contexts = ClientContexts(settings.tls)
    http = Http(settings, contexts)
    read(http, secured)
    file.write_bytes(other.file.read_bytes())
    contexts.rebuild()
    with pytest.raises(requests.exceptions.SSLError):
        read(http, secured)
    http.close()


def test_old_versions_are_not_spoken(authority: Authority) -> None:
    newest: TlsVersion = "1.3"
    assert ClientContexts(VaultTls(ca=authority.file, min_version=newest)).current.minimum_version.name == "TLSv1_3"


# What the environment says is nothing to us


def test_no_proxy_and_no_netrc_of_the_environment_are_used(
    server: FakeVault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FakeVault() as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password no")
        monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
        with speaking(server.url) as http:
            assert read(http, server)["data"] == {"username": "u"}
        assert proxy.asked() == []


def test_no_token_and_no_address_of_the_environment_are_used(
    server: FakeVault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".vault-token").write_text(server.root)
    monkeypatch.setenv("HOME", str(tmp_path))
    with FakeVault() as other:
        monkeypatch.setenv("VAULT_TOKEN", other.root)
        monkeypatch.setenv("VAULT_ADDR", other.url)
        monkeypatch.setenv("VAULT_NAMESPACE", "elsewhere")
        with speaking(server.url) as http, pytest.raises(exceptions.Forbidden):
            http.adapter(None).get("/v1/kv/app")
        assert other.asked() == []
    (asked,) = server.asked()
    assert (asked.token, asked.namespace) == ("", "")


def test_cookies_are_not_kept(server: FakeVault) -> None:
    server.on(headers={"Set-Cookie": "session=1; Path=/"})
    with speaking(server.url) as http:
        read(http, server)
        assert len(http._session.cookies) == 0


# Redirects


@pytest.mark.parametrize("location", ["/v1/kv/app?again", "{same}/v1/kv/app?again", "{other}/v1/kv/app"])
def test_nothing_leads_elsewhere_not_even_within_tls_or_to_the_same_server(
    secured: FakeVault, authority: Authority, location: str
) -> None:
    pair = authority.server("127.0.0.1")
    with FakeVault(certificates=Certificates(pair.cert, pair.key)) as other:
        secured.on(status=307, headers={"Location": location.format(same=secured.url, other=other.url)}, times=1)
        with (
            speaking(secured.url, tls={"ca": authority.file}) as http,
            pytest.raises(requests.TooManyRedirects) as caught,
        ):
            read(http, secured)
        assert other.asked() == []
    assert len(secured.asked()) == 1
    assert kind(caught.value) is Kind.FAILED


def test_nothing_leads_elsewhere_in_the_clear(server: FakeVault) -> None:
    with FakeVault() as stranger:
        server.on(status=307, headers={"Location": f"{stranger.url}/v1/kv/app"}, times=1)
        with speaking(server.url) as http, pytest.raises(requests.TooManyRedirects):
            read(http, server)
        assert stranger.asked() == []


def test_many_connections_at_once_are_kept_without_a_word(server: FakeVault, caplog: pytest.LogCaptureFixture) -> None:
    server.on(delay=0.2)
    with speaking(server.url, connections=6) as http:
        threads = [threading.Thread(target=read, args=(http, server)) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert "pool is full" not in caplog.text


# Answers without an end


def failing(server: FakeVault, timeout: float) -> tuple[Exception, float]:
    """How a request ends, and after how many seconds."""
    began = time.monotonic()
    with (
        speaking(server.url, timeout=timeout) as http,
        pytest.raises((requests.RequestException, HTTPError, TooLong)) as caught,
    ):
        read(http, server)
    return caught.value, time.monotonic() - began


@pytest.mark.parametrize(("act", "reason"), [("hang", Kind.TIMEOUT), ("drip", Kind.TIMEOUT)])
def test_one_that_does_not_come_to_an_end_is_given_up(server: FakeVault, act: Any, reason: Kind) -> None:
    server.on(act=act)
    error, seconds = failing(server, 0.3)
    assert kind(error) is reason
    assert 0.2 < seconds < 3.0


def test_one_without_an_end_is_given_up(server: FakeVault, monkeypatch: pytest.MonkeyPatch) -> None:
    server.on(act="endless")
    error, seconds = failing(server, 0.5)
    assert kind(error) is Kind.TIMEOUT
    assert seconds < 3.0
    monkeypatch.setattr(module, "LONGEST", 1 << 20)
    error, _ = failing(server, 30.0)
    assert str(error) == "sent an answer of more than 1 MiB"


@pytest.mark.parametrize("act", ["close", "reset", "cut"])
def test_one_that_breaks_off_is_a_vault_that_is_away(server: FakeVault, act: Any) -> None:
    server.on(act=act)
    error, _ = failing(server, 5.0)
    assert kind(error) is Kind.UNREACHABLE


def test_nobody_there_is_a_vault_that_is_away() -> None:
    with FakeVault() as gone:
        pass
    error, _ = failing(gone, 5.0)
    assert "cannot be reached: Connection refused" in str(explained(error, vault="v", address="a", doing="d"))


def test_a_connection_that_was_given_up_is_not_used_again(server: FakeVault) -> None:
    server.on(act="drip", times=1)
    with speaking(server.url, timeout=0.3) as http:
        with pytest.raises(TooLong):
            read(http, server)
        assert read(http, server)["data"] == {"username": "u"}


@pytest.mark.parametrize(
    ("status", "error"),
    [(429, exceptions.RateLimitExceeded), (503, exceptions.VaultDown), (500, exceptions.InternalServerError)],
)
def test_statuses_come_through(server: FakeVault, status: int, error: type[Exception]) -> None:
    server.on(status=status, errors=["no"])
    with speaking(server.url) as http, pytest.raises(error):
        read(http, server)


def test_what_is_not_json_comes_as_it_is(server: FakeVault) -> None:
    server.on(body="<html>", headers={"Content-Encoding": "identity"})
    with speaking(server.url) as http:
        assert isinstance(read(http, server), requests.Response)


# Nothing shows


def test_no_token_shows_in_a_representation_or_an_error(server: FakeVault) -> None:
    token = canary("token")
    with speaking(server.url) as http:
        adapter = http.adapter(token.encode())
        with pytest.raises(exceptions.Forbidden) as caught:
            adapter.get("/v1/kv/app")
        told = [repr(http), repr(adapter), repr(vars(http)), str(caught.value), repr(caught.value)]
    assert not [text for text in told if token in text]
