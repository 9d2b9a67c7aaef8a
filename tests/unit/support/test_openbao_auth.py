"""Each auth method lets in whom it should, and nobody else."""

from __future__ import annotations

from typing import Any

from tests.support.jwts import Signer
from tests.support.openbao import OpenBao
from tests.support.openbao_api import Answer
from tests.support.openbao_auth import JwtRole, Role
from tests.support.secrets import MINTED
from tests.support.token_review import TokenReviewer


def login(role: Role, /, **said: Any) -> Answer:
    """What comes of it."""
    path = f"auth/{role.mount}/login/{role.name}" if "password" in said else f"auth/{role.mount}/login"
    return role.server.ask("POST", path, said, token="")


def test_an_application_proves_itself_with_a_secret_id(openbao: OpenBao) -> None:
    role = openbao.approle("default", token_ttl=20, token_max_ttl=40, secret_id_uses=1)
    secret = role.secret_id()
    auth = login(role, role_id=role.role_id, secret_id=secret).body["auth"]
    assert (auth["lease_duration"], auth["renewable"], auth["token_policies"]) == (20, True, ["default"])
    assert openbao.lookup(auth["client_token"])["path"] == f"auth/{role.mount}/login"
    assert login(role, role_id=role.role_id, secret_id=secret).status == 400  # it was good for one
    assert secret in MINTED


def test_a_wrapped_secret_id_can_be_had_once(openbao: OpenBao) -> None:
    role = openbao.approle("default", secret_id_ttl=600)
    wrapping = role.secret_id(wrap_ttl=60)
    first = openbao.ask("POST", "sys/wrapping/unwrap", {}, token=wrapping)
    second = openbao.ask("POST", "sys/wrapping/unwrap", {}, token=wrapping)
    assert (first.status, second.status) == (200, 400)
    assert first.body["data"]["secret_id_ttl"] == 600
    assert login(role, role_id=role.role_id, secret_id=first.body["data"]["secret_id"]).status == 200


def test_a_user_has_a_password_that_can_be_changed(openbao: OpenBao) -> None:
    user = openbao.userpass("default")
    assert login(user, password=user.password).status == 200
    password = user.set_password()
    assert (login(user, password=user.password).status, login(user, password=password).status) == (400, 200)


def test_a_token_of_the_right_key_and_audience_lets_in(openbao: OpenBao) -> None:
    role = openbao.jwt("default", audience="here")

    def status(token: str) -> int:
        return login(role, role=role.name, jwt=token).status

    elsewhere = JwtRole(role.server, role.mount, role.name, role.signer, "elsewhere")
    forged = JwtRole(role.server, role.mount, role.name, Signer(), "here")
    assert [status(one.mint()) for one in (role, elsewhere, forged)] == [200, 400, 400]
    assert status(role.mint(ttl=-600)) == 400


def test_a_service_account_is_who_the_cluster_says(openbao: OpenBao) -> None:
    with TokenReviewer() as reviewer:
        role = openbao.kubernetes(reviewer, "default", namespace="shop", account="app")
        good = reviewer.service_account("shop", "app")
        others = [
            reviewer.service_account("shop", "other"),
            reviewer.service_account("bank", "app"),
            reviewer.service_account("shop", "app", ttl=-600),
            gone := reviewer.service_account("shop", "app"),
        ]
        reviewer.refused.add(gone)
        answer = login(role, role=role.name, jwt=good)
        assert (answer.status, answer.body["auth"]["metadata"]["service_account_name"]) == (200, "app")
        assert [login(role, role=role.name, jwt=token).status for token in others] == [403] * 4
        assert reviewer.reviews == [good, gone]
