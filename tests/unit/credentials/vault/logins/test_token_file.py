"""A token in a file that others keep."""

from __future__ import annotations

from pathlib import Path

import pytest

from ambassador.credentials.vault import upkeep as module
from ambassador.credentials.vault.failure import Kind, VaultError
from ambassador.credentials.vault.logins.token_file import TokenFileLogin, TokenFileOptions
from ambassador.credentials.vault.vault import Vault
from tests.support.house import until
from tests.support.openbao import OpenBao
from tests.support.vaults import opened


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FILE_DEBOUNCE", 0.01)


def shows(vault: Vault, token: str) -> bool:
    return vault.token is not None and vault.token.secret.reveal() == token.encode()


async def test_it_is_looked_up_and_neither_renewed_nor_revoked(openbao: OpenBao, tmp_path: Path) -> None:
    token, path = openbao.token(ttl=600), tmp_path / "token"
    path.write_text(token)
    async with opened(openbao.url, {"token_file": {"path": path}}) as vault:
        await vault.reach()
        assert shows(vault, token)
        assert vault.token is not None
        assert not vault.token.term.renewable
    assert openbao.lookup(token)["ttl"] > 0


async def test_it_is_followed_when_it_changes_and_whoever_holds_leases_is_told(
    openbao: OpenBao, tmp_path: Path
) -> None:
    first, second, path = openbao.token(), openbao.token(), tmp_path / "token"
    path.write_text(first)
    told = []
    async with opened(openbao.url, {"token_file": {"path": path}}, kept=True) as vault:
        vault.on_token(lambda: told.append(1))
        await vault.reach()
        assert told == []
        (tmp_path / "new").write_text(second)
        (tmp_path / "new").replace(path)
        await until("the second token", lambda: shows(vault, second))
        assert told == [1]


async def test_one_that_is_half_written_leaves_the_one_we_have(openbao: OpenBao, tmp_path: Path) -> None:
    first, second, path = openbao.token(), openbao.token(), tmp_path / "token"
    path.write_text(first)
    async with opened(openbao.url, {"token_file": {"path": path}}, kept=True) as vault:
        await vault.reach()
        path.write_text("")
        await until("the trouble to be seen", lambda: vault.trouble is not None)
        assert shows(vault, first)
        path.write_text(second)
        await until("the second token", lambda: shows(vault, second))
        assert vault.trouble is None


async def test_it_need_not_be_there_yet(openbao: OpenBao, tmp_path: Path) -> None:
    token, path = openbao.token(), tmp_path / "later" / "token"
    async with opened(openbao.url, {"token_file": {"path": path}}, kept=True) as vault:
        with pytest.raises(VaultError, match="No such file or directory") as caught:
            await vault.reach()
        assert caught.value.kind is Kind.NOT_READY
        path.parent.mkdir()
        path.write_text(token)
        # At once, whatever the back-off of the login that failed says.
        await until("the token", lambda: shows(vault, token), timeout=5.0)


def test_it_names_the_file() -> None:
    login = TokenFileLogin(TokenFileOptions(path=Path("/run/token")))
    assert login.describe() == "token file /run/token"
    assert login.file == Path("/run/token")
