"""A token in an environment variable."""

from __future__ import annotations

import pytest

from ambassador.credentials.vault.failure import Kind, VaultError
from ambassador.credentials.vault.logins.token import TokenLogin, TokenOptions
from tests.support.openbao import OpenBao
from tests.support.secrets import canary
from tests.support.vaults import opened


async def test_it_is_looked_up_and_left_alive(openbao: OpenBao, monkeypatch: pytest.MonkeyPatch) -> None:
    token = openbao.token(ttl=600)
    monkeypatch.setenv("OURS", token)
    monkeypatch.setenv("VAULT_TOKEN", openbao.root)
    async with opened(openbao.url, {"token": {"env": "OURS"}}) as vault:
        await vault.reach()
        assert vault.token is not None
        assert vault.token.secret.reveal() == token.encode()
        assert 590 < vault.token.term.duration <= 600
        assert vault.token.term.renewable
        assert not vault.token.ours
    assert openbao.lookup(token)["ttl"] > 0


async def test_vault_s_own_variable_is_the_default(openbao: OpenBao, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAULT_TOKEN", openbao.root)
    async with opened(openbao.url, {"token": {}}) as vault:
        await vault.reach()
        assert vault.token is not None
        assert vault.token.term.ends_at == float("inf")


@pytest.mark.parametrize(
    ("value", "kind"), [(None, Kind.NOT_READY), (canary("wrong"), Kind.DENIED)], ids=["none", "wrong"]
)
async def test_none_and_a_wrong_one_are_told_apart(
    openbao: OpenBao, monkeypatch: pytest.MonkeyPatch, value: str | None, kind: Kind
) -> None:
    monkeypatch.delenv("OURS", raising=False)
    if value is not None:
        monkeypatch.setenv("OURS", value)
    async with opened(openbao.url, {"token": {"env": "OURS"}}) as vault:
        with pytest.raises(VaultError, match="to log in \\(token of OURS\\)") as caught:
            await vault.reach()
        assert caught.value.kind is kind
        assert str(value) not in str(caught.value)


def test_it_names_the_variable() -> None:
    assert TokenLogin(TokenOptions(env="OURS")).describe() == "token of OURS"
