"""The token of a service account."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ambassador.credentials.vault.failure import Kind, VaultError
from ambassador.credentials.vault.logins.kubernetes import KubernetesLogin, KubernetesOptions
from tests.support.clock import ManualClock
from tests.support.openbao import OpenBao
from tests.support.openbao_auth import Role
from tests.support.token_review import TokenReviewer
from tests.support.vaults import opened


@pytest.fixture
def reviewer() -> Iterator[TokenReviewer]:
    with TokenReviewer() as found:
        yield found


def login(role: Role, path: Path) -> dict[str, object]:
    return {"kubernetes": {"role": role.name, "mount": role.mount, "token_file": path}}


async def test_the_projected_token_lets_us_in_and_is_read_anew_at_every_login(
    openbao: OpenBao, reviewer: TokenReviewer, tmp_path: Path
) -> None:
    role, path, clock = openbao.kubernetes(reviewer, token_ttl=60), tmp_path / "token", ManualClock()
    first, second = (reviewer.service_account("shop", "app") for _ in range(2))
    path.write_text(first)
    async with opened(openbao.url, login(role, path), clock=clock) as vault:
        await vault.reach()
        assert vault.token is not None
        assert (vault.token.term.duration, vault.token.ours) == (60.0, True)
        path.write_text(second)
        await clock.advance(60)
        await vault.reach()
    assert reviewer.reviews == [first, second]


async def test_one_that_is_refused_says_so(openbao: OpenBao, reviewer: TokenReviewer, tmp_path: Path) -> None:
    role, path = openbao.kubernetes(reviewer), tmp_path / "token"
    path.write_text(reviewer.service_account("shop", "somebody-else"))
    async with opened(openbao.url, login(role, path)) as vault:
        with pytest.raises(VaultError, match="refused the login") as caught:
            await vault.reach()
        assert caught.value.kind is Kind.DENIED


async def test_without_a_projected_token_nothing_is_asked(
    openbao: OpenBao, reviewer: TokenReviewer, tmp_path: Path
) -> None:
    async with opened(openbao.url, login(openbao.kubernetes(reviewer), tmp_path / "token")) as vault:
        with pytest.raises(VaultError, match="No such file or directory") as caught:
            await vault.reach()
        assert caught.value.kind is Kind.NOT_READY
    assert reviewer.reviews == []


def test_it_names_the_role() -> None:
    assert KubernetesLogin(KubernetesOptions(role="shop")).describe() == "kubernetes role shop"
