"""A JSON Web Token in a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from ambassador.credentials.vault.failure import VaultError
from ambassador.credentials.vault.logins.jwt import JwtLogin, JwtOptions
from tests.support.clock import ManualClock
from tests.support.openbao import OpenBao
from tests.support.openbao_auth import JwtRole
from tests.support.vaults import opened


def login(role: JwtRole, path: Path) -> dict[str, object]:
    return {"jwt": {"role": role.name, "mount": role.mount, "token_file": path}}


async def test_it_lets_us_in_and_is_read_anew_at_every_login(openbao: OpenBao, tmp_path: Path) -> None:
    role, path, clock = openbao.jwt(token_ttl=60), tmp_path / "jwt", ManualClock()
    path.write_text(role.mint())
    async with opened(openbao.url, login(role, path), clock=clock) as vault:
        await vault.reach()
        assert vault.token is not None
        assert (vault.token.term.duration, vault.token.ours) == (60.0, True)
        path.write_text("no token")
        await clock.advance(60)
        with pytest.raises(VaultError, match="refused the login"):
            await vault.reach()
        path.write_text(role.mint())
        await clock.advance(60)
        await vault.reach()


async def test_one_that_has_ended_is_refused_and_not_shown(openbao: OpenBao, tmp_path: Path) -> None:
    role, path = openbao.jwt(), tmp_path / "jwt"
    ended = role.mint(ttl=-300)
    path.write_text(ended)
    async with opened(openbao.url, login(role, path)) as vault:
        with pytest.raises(VaultError, match="refused the login") as caught:
            await vault.reach()
        assert ended not in str(caught.value)


def test_it_names_the_role() -> None:
    assert JwtLogin(JwtOptions(role="shop", token_file=Path("/t"))).describe() == "jwt role shop"
