"""A role id and a secret id."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from ambassador.credentials.vault.failure import Kind, VaultError
from ambassador.credentials.vault.logins.approle import AppRoleLogin, AppRoleOptions
from tests.support.clock import ManualClock
from tests.support.fake_vault import FakeVault
from tests.support.openbao import OpenBao
from tests.support.openbao_auth import AppRole
from tests.support.secrets import canary
from tests.support.vaults import opened


def login(role: AppRole, path: Path, **more: Any) -> dict[str, object]:
    return {"approle": {"role_id": role.role_id, "secret_id_file": path, "mount": role.mount, **more}}


def put(path: Path, text: str) -> None:
    path.write_text(text)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "secret-id"


async def test_both_ids_let_us_in_and_the_secret_one_is_read_anew(openbao: OpenBao, path: Path) -> None:
    role, clock = openbao.approle(token_ttl=60, secret_id_uses=1), ManualClock()
    put(path, role.secret_id() + "\n")
    async with opened(openbao.url, login(role, path), clock=clock) as vault:
        await vault.reach()
        assert vault.token is not None
        assert (vault.token.term.duration, vault.token.ours) == (60.0, True)
        put(path, role.secret_id())
        await clock.advance(60)
        await vault.reach()


async def test_the_role_id_may_lie_in_a_file_and_the_secret_id_in_a_variable(
    openbao: OpenBao, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    role = openbao.approle()
    (tmp_path / "role-id").write_text(role.role_id + "\n")
    monkeypatch.setenv("SECRET_ID", role.secret_id())
    words = {"role_id_file": tmp_path / "role-id", "secret_id_env": "SECRET_ID", "mount": role.mount}
    async with opened(openbao.url, {"approle": words}) as vault:
        await vault.reach()
        assert vault.token is not None


async def test_a_wrong_secret_id_says_what_was_refused_and_not_what_it_was(openbao: OpenBao, path: Path) -> None:
    role, secret = openbao.approle(), canary("secret-id")
    put(path, secret)
    async with opened(openbao.url, login(role, path)) as vault:
        with pytest.raises(VaultError, match="refused the login: invalid role or secret ID") as caught:
            await vault.reach()
        assert caught.value.kind is Kind.REJECTED
        assert secret not in str(caught.value)


async def test_a_wrapped_one_is_unwrapped_once_and_kept_for_later_logins(openbao: OpenBao, path: Path) -> None:
    role, clock = openbao.approle(token_ttl=60), ManualClock()
    put(path, role.secret_id(wrap_ttl=60))
    before = len(openbao.requests("sys/wrapping/unwrap"))
    async with opened(openbao.url, login(role, path, wrapped=True), clock=clock) as vault:
        await vault.reach()
        first = vault.token
        await clock.advance(60)
        await vault.reach()
        assert vault.token is not first
        # Another one in its place is unwrapped too.
        put(path, role.secret_id(wrap_ttl=60))
        await clock.advance(60)
        await vault.reach()
    assert len(openbao.requests("sys/wrapping/unwrap")) == before + 2


async def test_what_was_unwrapped_is_taken_over_by_who_comes_after_a_reload(openbao: OpenBao, path: Path) -> None:
    role = openbao.approle()
    put(path, role.secret_id(wrap_ttl=60))
    async with (
        opened(openbao.url, login(role, path, wrapped=True)) as before,
        opened(openbao.url, login(role, path, wrapped=True)) as after,
        opened(openbao.url, {"token": {}}) as other,
    ):
        await before.reach()
        after.inherit(other)
        after.inherit(before)
        await after.reach()
        assert after.token is not None


async def test_one_that_somebody_else_has_unwrapped_is_refused(openbao: OpenBao, path: Path) -> None:
    role = openbao.approle()
    token = role.secret_id(wrap_ttl=60)
    openbao.api("POST", "sys/wrapping/unwrap", token=token)
    put(path, token)
    async with opened(openbao.url, login(role, path, wrapped=True)) as vault:
        with pytest.raises(VaultError, match="refused the login") as caught:
            await vault.reach()
        assert caught.value.kind is Kind.REJECTED


@pytest.mark.parametrize("elsewhere", ["another mount", "another thing"])
async def test_one_that_was_made_for_something_else_is_not_unwrapped(
    openbao: OpenBao, path: Path, elsewhere: str
) -> None:
    """Whoever takes the token away and puts his own in its place must not log us in as he likes."""
    role = openbao.approle()
    if elsewhere == "another mount":
        token = openbao.approle().secret_id(wrap_ttl=60)
    else:
        store = openbao.key_value(1)
        store.put("app", {"secret_id": canary("planted")})
        made = openbao.api("GET", store.path("app"), wrap_ttl=60)
        token = made["wrap_info"]["token"]
    put(path, token)
    async with opened(openbao.url, login(role, path, wrapped=True)) as vault:
        with pytest.raises(VaultError, match="was not made for a secret id of this auth method") as caught:
            await vault.reach()
        assert caught.value.kind is Kind.NOT_READY
    # It can still be unwrapped, so it was not by us.
    assert openbao.api("POST", "sys/wrapping/unwrap", token=token)["data"]["secret_id"]


@pytest.mark.parametrize("data", [None, {}, {"secret_id": ""}, {"secret_id": 5}])
async def test_what_was_unwrapped_and_is_no_secret_id_is_refused(path: Path, data: Any) -> None:
    with FakeVault() as server:
        server.on("sys/wrapping/lookup", body='{"data": {"creation_path": "auth/approle/role/app/secret-id"}}')
        server.on("sys/wrapping/unwrap", change=lambda said: said | {"data": data})
        put(path, server.wrap({}))
        words = {"role_id": "r", "secret_id_file": path, "wrapped": True}
        async with opened(server.url, {"approle": words}) as vault:
            with pytest.raises(VaultError, match="what was unwrapped is no secret id"):
                await vault.reach()
        assert not server.asked("auth/approle/login")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ({"secret_id_env": "S"}, "say what the role id is: by role_id, or by role_id_file"),
        ({"role_id": "r", "role_id_file": "/r", "secret_id_env": "S"}, "say what the role id is"),
        ({"role_id": "r"}, "say where the secret id is: by secret_id_file, or by secret_id_env"),
        ({"role_id": "r", "secret_id_file": "/s", "secret_id_env": "S"}, "say where the secret id is"),
    ],
)
def test_each_id_comes_from_one_place(words: dict[str, str], text: str) -> None:
    with pytest.raises(ValidationError, match=text):
        AppRoleOptions.model_validate(words)


def test_it_shows_neither_id() -> None:
    role_id = canary("role-id")
    options = AppRoleOptions(role_id=role_id, secret_id_env="S", mount="shop/approle")
    login = AppRoleLogin(options)
    assert login.describe() == "approle at shop/approle"
    assert role_id not in str(options.redacted(wary=True)) + repr(login)
