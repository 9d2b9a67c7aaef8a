"""The client certificate of the connection."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ambassador.credentials.vault.failure import Kind, VaultError
from ambassador.credentials.vault.logins.cert import CertLogin, CertOptions
from tests.support.certificates import Authority, Pair
from tests.support.leaks import SHARED_CHILDREN
from tests.support.openbao import Certificates, OpenBao
from tests.support.vaults import opened


@pytest.fixture(scope="module")
def secured(authority: Authority) -> Iterator[OpenBao]:
    """One that speaks TLS, and asks for certificates."""
    pair = authority.server("127.0.0.1")
    with OpenBao(certificates=Certificates(pair.cert, pair.key)) as found:
        SHARED_CHILDREN.add(found.pid)
        yield found


def tls(authority: Authority, pair: Pair) -> dict[str, Path]:
    return {"ca": authority.file, "cert": pair.cert, "key": pair.key}


@pytest.mark.parametrize("named", [True, False])
async def test_a_certificate_lets_us_in(secured: OpenBao, authority: Authority, named: bool) -> None:
    role = secured.cert(authority.file, common_name="ambassador", token_ttl=60)
    words: dict[str, Any] = {"mount": role.mount} | ({"role": role.name} if named else {})
    ours = tls(authority, authority.client("ambassador"))
    async with opened(secured.url, {"cert": words}, tls=ours) as vault:
        await vault.reach()
        assert vault.token is not None
        assert (vault.token.term.duration, vault.token.ours) == (60.0, True)


async def test_another_s_certificate_is_refused(secured: OpenBao, authority: Authority) -> None:
    role = secured.cert(authority.file, common_name="ambassador")
    theirs = tls(authority, authority.client("somebody-else"))
    async with opened(secured.url, {"cert": {"mount": role.mount}}, tls=theirs) as vault:
        with pytest.raises(VaultError, match="refused the login: ") as caught:
            await vault.reach()
        assert caught.value.kind is Kind.REJECTED


def test_it_needs_a_certificate_and_names_the_role() -> None:
    assert CertOptions().needs == {"vault_certificate"}
    assert CertLogin(CertOptions()).describe() == "cert"
    assert CertLogin(CertOptions(role="shop")).describe() == "cert role shop"
