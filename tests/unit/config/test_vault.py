"""Settings of a Vault."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from ambassador.config.load import load_text
from ambassador.config.types import FROM_FILE
from ambassador.config.vault import VaultPath, VaultSettings, VaultTls, VaultUrl, vault_role
from ambassador.errors import ConfigError

AUTH = {"word": {"word": "hunter22"}}


def vault(**keys: Any) -> VaultSettings:
    data = {"address": "https://v.example:8200", "auth": AUTH, **keys}
    return VaultSettings.model_validate(data, context=FROM_FILE)


def faults(**keys: Any) -> dict[tuple[str | int, ...], str]:
    with pytest.raises(ValidationError) as caught:
        vault(**keys)
    return dict(VaultSettings.explain(caught.value))


def test_an_address_and_a_way_to_log_in_are_enough() -> None:
    found = vault()
    assert (found.address, found.auth.method) == ("https://v.example:8200", "word")
    assert (found.namespace, found.tls, found.timeout, found.revoke) == (None, VaultTls(), 10.0, True)
    assert not found.is_cleartext


def test_what_it_shows_of_itself_holds_no_secret() -> None:
    found = vault(namespace="team/shop", timeout="3s")
    shown = found.redacted()
    assert shown["address"] == "https://v.example:8200"
    assert shown["namespace"] == "team/shop"
    assert shown["auth"] == {"word": {"word": "***"}}
    assert "hunter22" not in repr(found)


@pytest.mark.parametrize(
    ("written", "address"),
    [
        ("https://vault.example.com:8200", "https://vault.example.com:8200"),
        ("https://vault.example.com:8200/", "https://vault.example.com:8200"),
        ("https://vault.example.com", "https://vault.example.com"),
        ("https://[2001:db8::1]:8200", "https://[2001:db8::1]:8200"),
        ("http://127.0.0.1:8200", "http://127.0.0.1:8200"),
    ],
)
def test_addresses_are_urls_without_a_path(written: str, address: str) -> None:
    assert TypeAdapter(VaultUrl).validate_python(written) == address


@pytest.mark.parametrize(
    "written",
    [
        "",
        "vault.example.com:8200",
        "ftp://vault.example.com",
        "unix:/run/vault",
        "https://",
        "https://:8200",
        "https://v:0",
        "https://v:99999",
        "https://v:port",
        "https://[::1",
        "https://v/v1",
        "https://v?x=1",
        "https://v#x",
        "https://user:hunter22@v",
        "https://v\x00",
        "https://v w",
        "https://v\n",
        "https://vä",
    ],
)
def test_what_is_no_address_of_a_vault_is_refused_and_not_quoted(written: str) -> None:
    assert faults(address=written) == {("address",): "addresses of a Vault look like https://vault.example.com:8200"}


@pytest.mark.parametrize(
    ("written", "path"),
    [("secret", "secret"), ("/secret/", "secret"), ("a/b.c/d-e_f@g+h", "a/b.c/d-e_f@g+h"), ("1.2", "1.2")],
)
def test_paths_lose_the_slashes_around_them(written: str, path: str) -> None:
    assert TypeAdapter(VaultPath).validate_python(written) == path


@pytest.mark.parametrize(
    "written",
    ["", "/", "a//b", "..", ".", "a/../b", "a/./b", "a/...", "a b", "a?b", "a#b", "a%2fb", "ä", "a\n", "a\\b"],
)
def test_what_could_lead_elsewhere_is_no_path(written: str) -> None:
    with pytest.raises(ValidationError, match="paths in a Vault are made of"):
        TypeAdapter(VaultPath).validate_python(written)


@pytest.mark.parametrize("address", ["http://127.0.0.1:8200", "http://localhost:8200", "http://[::1]:8200"])
def test_this_machine_may_be_asked_in_clear_text(address: str) -> None:
    assert vault(address=address).is_cleartext


def test_other_machines_may_not_unless_that_is_meant() -> None:
    text = "this address is not encrypted: write https://, or allow_cleartext: true to mean it"
    assert faults(address="http://v.example:8200") == {(): text}
    assert vault(address="http://v.example:8200", allow_cleartext=True).is_cleartext


def test_tls_settings_need_tls(tmp_path: Path) -> None:
    text = "tls does nothing for an address with http://: write https://"
    assert faults(address="http://127.0.0.1:8200", tls={"server_name": "v.example"}) == {(): text}


@pytest.mark.parametrize("half", ["cert", "key"])
def test_a_client_certificate_needs_both_halves(half: str, tmp_path: Path) -> None:
    (tmp_path / "x.pem").touch()
    assert faults(tls={half: str(tmp_path / "x.pem")}) == {("tls",): "a client certificate needs both cert and key"}


def test_to_log_in_with_a_certificate_one_must_have_one(tmp_path: Path) -> None:
    (tmp_path / "x.pem").touch()
    pair = {"cert": str(tmp_path / "x.pem"), "key": str(tmp_path / "x.pem")}
    text = "this way to log in shows a client certificate: add cert and key to tls"
    assert faults(auth={"cert": {}}) == {(): text}
    assert vault(auth={"cert": {}}, tls=pair).tls.cert == tmp_path / "x.pem"


@pytest.mark.parametrize("key", ["mode", "verify", "insecure"])
def test_there_is_no_way_not_to_verify(key: str) -> None:
    assert "unknown key" in faults(tls={key: "require"})["tls", key]
    assert vault().tls.mode == "verify-full"


@pytest.mark.parametrize(
    ("auth", "words"),
    [
        ({}, "no way to log in is named: add one of cert, word"),
        ({"wrd": {}}, "unknown key; did you mean 'word'?"),
        ({"word": {}, "cert": {}}, "'word' stands here already: keep one way to log in"),
        (None, "no way to log in is named: add one of cert, word"),
    ],
)
def test_one_way_to_log_in_is_named(auth: Any, words: str) -> None:
    assert words in [*faults(auth=auth).values()]


@pytest.mark.parametrize("timeout", ["0s", 5, "-1s", None])
def test_every_request_has_an_end(timeout: Any) -> None:
    assert faults(timeout=timeout)


NAMED = """\
vaults: {main: {address: "https://v:8200", auth: {kubernetes: {role: shop}}}}
credentials: {db: {vault_kv: {vault: mian, path: app}}}
upstreams: {orders: {endpoints: "db:1", credential: db}}
listeners: {orders: {listen: "127.0.0.1:1", postgres: {upstream: orders}}}
"""


@pytest.mark.usefixtures("real_plugins")
def test_a_source_names_a_vault_that_exists() -> None:
    with pytest.raises(
        ConfigError, match=r"credentials\.db\.vault_kv\.vault: there is no such vault; did you mean 'main'"
    ):
        load_text(NAMED)
    config = load_text(NAMED.replace("mian", "main")).config
    assert config.vaults["main"].auth.method == "kubernetes"
    assert config.redacted()["vaults"]["main"]["auth"] == {
        "kubernetes": {
            "role": "shop",
            "mount": "kubernetes",
            "token_file": "/var/run/secrets/kubernetes.io/serviceaccount/token",
        }
    }


@pytest.mark.parametrize("name", ["app", "team-a.orders", "a@b", "x", "a_b"])
def test_a_role_is_the_last_part_of_a_path(name: str) -> None:
    assert vault_role(name) == name


@pytest.mark.parametrize("name", ["", "a/b", "../../sys/health", "..", ".a", "a.", "a b", "a%2fb", "a?b", "-a", "a\n"])
def test_a_role_leads_nowhere_else(name: str) -> None:
    with pytest.raises(ValueError, match="a path goes to mount"):
        vault_role(name)
