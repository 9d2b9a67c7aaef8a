"""A certificate that a Vault issues."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from ambassador.config.tls import ClientTls, ServerTls
from ambassador.credentials.candidate import credential_of
from ambassador.credentials.pem import pem_of
from ambassador.credentials.sources.vault_pki import VaultPki, VaultPkiOptions
from ambassador.credentials.vault.failure import Kind, VaultError
from ambassador.credentials.vault.vault import Vault
from ambassador.kit.clock import SYSTEM
from ambassador.net.tls import ClientContexts, ServerContexts
from tests.support.fake_vault import FakeVault
from tests.support.openbao import OpenBao
from tests.support.openbao_engines import Authority
from tests.support.vaults import opened


@pytest.fixture(autouse=True)
def token(openbao: OpenBao, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PKI_TOKEN", openbao.root)


@pytest.fixture
async def vault(openbao: OpenBao) -> AsyncIterator[Vault]:
    async with opened(openbao.url, {"token": {"env": "PKI_TOKEN"}}) as found:
        yield found


@pytest.fixture
def issuer(openbao: OpenBao) -> Authority:
    return openbao.authority(ttl=600)


def source(vault: Vault, mount: str, **more: Any) -> VaultPki:
    words = {"vault": "main", "role": "app", "common_name": "app.example", "mount": mount, **more}
    return VaultPki("cert", VaultPkiOptions.model_validate(words), {"main": vault})


async def test_certificate_key_and_authority_are_there_until_they_end(vault: Vault, issuer: Authority) -> None:
    found = await source(vault, issuer.mount).fetch()
    leaf, *chain = x509.load_pem_x509_certificates(found.fields["tls.crt"])
    (root,) = x509.load_pem_x509_certificates(issuer.ca.encode())
    assert leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == "app.example"
    assert found.not_after == leaf.not_valid_after_utc.timestamp()
    assert 590 < found.not_after - time.time() <= 601
    assert x509.load_pem_x509_certificates(found.fields["ca.crt"]) == [root]
    assert chain in ([], [root])
    leaf.verify_directly_issued_by(root)
    assert (found.lease, found.again) == (None, None)


async def test_what_it_brings_is_good_for_a_listener_and_for_an_upstream(vault: Vault, issuer: Authority) -> None:
    credential = credential_of("cert", await source(vault, issuer.mount).fetch(), SYSTEM, version=1)
    server = ServerContexts(ServerTls(credential="cert"), pem_of(credential))
    client = ClientContexts(ClientTls(credential="cert"), pem_of(credential))
    assert server.not_after == client.not_after == credential.not_after
    assert server.current.certificate == client.current.certificate is not None


async def test_each_fetch_makes_another(vault: Vault, issuer: Authority) -> None:
    issued = source(vault, issuer.mount)
    assert issued.makes_new
    assert issued.pace == (3, 5.0)
    assert (await issued.fetch()).fields["tls.key"] != (await issued.fetch()).fields["tls.key"]


async def test_names_addresses_and_life_are_asked_for(openbao: OpenBao, vault: Vault) -> None:
    wanted = source(
        vault,
        openbao.authority(ttl=600, allowed_uri_sans="*").mount,
        alt_names=["a.example", "b.example"],
        ip_sans=["10.0.0.1", "::1"],
        uri_sans=["spiffe://example/app"],
        ttl=60.0,
    )
    found = await wanted.fetch()
    leaf = x509.load_pem_x509_certificates(found.fields["tls.crt"])[0]
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert {"a.example", "b.example"} <= {*names.get_values_for_type(x509.DNSName)}
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["10.0.0.1", "::1"]
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == ["spiffe://example/app"]
    assert found.not_after is not None
    assert found.not_after - time.time() <= 61


async def test_a_role_that_does_not_exist_is_said_not_to(vault: Vault, issuer: Authority) -> None:
    with pytest.raises(VaultError, match="unknown role: nobody") as caught:
        await source(vault, issuer.mount, role="nobody").fetch()
    assert caught.value.kind is Kind.REJECTED


@pytest.mark.parametrize(
    "change",
    [{"certificate": ""}, {"private_key": None}, {"expiration": None}, {"expiration": "soon"}, {"private_key": 5}],
)
async def test_half_an_answer_is_none(monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]) -> None:
    with FakeVault().authority("pki/issue/app") as server:
        monkeypatch.setenv("PKI_TOKEN", server.root)
        server.on("pki/", change=lambda said: said | {"data": said["data"] | change})
        async with opened(server.url, {"token": {"env": "PKI_TOKEN"}}) as vault:
            with pytest.raises(VaultError, match="no usable certificate, private_key and expiration") as caught:
                await source(vault, "pki").fetch()
    assert caught.value.kind is Kind.MALFORMED


@pytest.mark.parametrize(
    ("change", "chain", "root"),
    [
        ({"ca_chain": ["A", "R"], "issuing_ca": "A"}, b"\nA\nR", b"R"),
        ({"ca_chain": ["A", 5, None]}, b"\nA", b"A"),
        ({"ca_chain": None, "issuing_ca": "I"}, b"", b"I"),
        ({"ca_chain": "A", "issuing_ca": None}, b"", None),
        ({"ca_chain": [], "issuing_ca": ""}, b"", None),
    ],
)
async def test_the_chain_follows_the_certificate_and_its_last_is_the_authority(
    monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], chain: bytes, root: bytes | None
) -> None:
    with FakeVault().authority("pki/issue/app") as server:
        monkeypatch.setenv("PKI_TOKEN", server.root)
        server.on("pki/", change=lambda said: said | {"data": said["data"] | change})
        async with opened(server.url, {"token": {"env": "PKI_TOKEN"}}) as vault:
            found = await source(vault, "pki").fetch()
    leaf, _, behind = found.fields["tls.crt"].partition(b"\n-----END CERTIFICATE-----")
    assert leaf.startswith(b"-----BEGIN CERTIFICATE-----\n")
    assert behind == chain
    assert found.fields.get("ca.crt") == root


async def test_a_certificate_ends_when_it_says_whatever_is_said_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeVault().authority("pki/issue/app") as server:
        monkeypatch.setenv("PKI_TOKEN", server.root)
        server.on("pki/", change=lambda said: said | {"data": said["data"] | {"expiration": 4e9}})
        async with opened(server.url, {"token": {"env": "PKI_TOKEN"}}) as vault:
            found = await source(vault, "pki").fetch()
    leaf, *_ = x509.load_pem_x509_certificates(found.fields["tls.crt"])
    assert credential_of("cert", found, SYSTEM).not_after == leaf.not_valid_after_utc.timestamp()


async def test_it_says_where_it_asks(vault: Vault) -> None:
    assert source(vault, "pki").describe() == "vault main pki/issue/app for app.example"
