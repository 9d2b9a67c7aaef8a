"""A user name and a password of Vault's own."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from ambassador.credentials.vault.failure import Kind, VaultError
from ambassador.credentials.vault.logins.userpass import UserpassLogin, UserpassOptions
from tests.support.clock import ManualClock
from tests.support.openbao import OpenBao
from tests.support.vaults import opened


async def test_the_password_of_a_file_lets_us_in_and_is_read_anew(openbao: OpenBao, tmp_path: Path) -> None:
    user, path, clock = openbao.userpass(token_ttl=60), tmp_path / "password", ManualClock()
    path.write_text(user.password + "\n")
    words = {"username": user.name, "password_file": path, "mount": user.mount}
    async with opened(openbao.url, {"userpass": words}, clock=clock) as vault:
        await vault.reach()
        assert vault.token is not None
        assert vault.token.ours
        path.write_text(user.set_password())
        await clock.advance(60)
        await vault.reach()


async def test_the_password_of_a_variable_does_too(openbao: OpenBao, monkeypatch: pytest.MonkeyPatch) -> None:
    user = openbao.userpass()
    monkeypatch.setenv("PASSWORD_HERE", user.password)
    words = {"username": user.name, "password_env": "PASSWORD_HERE", "mount": user.mount}
    async with opened(openbao.url, {"userpass": words}) as vault:
        await vault.reach()


async def test_a_password_may_hold_any_letters(openbao: OpenBao, tmp_path: Path) -> None:
    user, password = openbao.userpass(), "pässwörd ☃ of a cat"
    openbao.api("POST", f"auth/{user.mount}/users/{user.name}/password", {"password": password})
    (tmp_path / "password").write_text(password)
    words = {"username": user.name, "password_file": tmp_path / "password", "mount": user.mount}
    async with opened(openbao.url, {"userpass": words}) as vault:
        await vault.reach()


async def test_a_wrong_one_is_refused_and_not_shown(openbao: OpenBao, monkeypatch: pytest.MonkeyPatch) -> None:
    user = openbao.userpass()
    wrong = user.password[::-1]
    monkeypatch.setenv("PASSWORD_HERE", wrong)
    words = {"username": user.name, "password_env": "PASSWORD_HERE", "mount": user.mount}
    async with opened(openbao.url, {"userpass": words}) as vault:
        with pytest.raises(VaultError, match="refused the login: invalid username or password") as caught:
            await vault.reach()
        assert caught.value.kind is Kind.REJECTED
        assert wrong not in str(caught.value)


@pytest.mark.parametrize("words", [{}, {"password_file": "/p", "password_env": "P"}])
def test_the_password_comes_from_one_place(words: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match="say where the password is: by password_file, or by password_env"):
        UserpassOptions.model_validate({"username": "app", **words})


def test_it_names_the_user() -> None:
    login = UserpassLogin(UserpassOptions(username="app", password_env="P"))
    assert login.describe() == "userpass user app"
