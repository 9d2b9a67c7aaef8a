"""What a way to log in shows, and how it is found."""

from __future__ import annotations

import os
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from ambassador import registry
from ambassador.config.model import Model
from ambassador.config.vault import VaultAuthSettings, VaultSettings
from ambassador.credentials.vault.http import Http
from ambassador.credentials.vault.logins.base import (
    LONGEST,
    NotReady,
    VaultLogin,
    look_up,
    secret_from,
    secret_in,
    shown,
)
from ambassador.credentials.vault.logins.jwt import JwtLogin, JwtOptions
from ambassador.credentials.vault.logins.token import TokenLogin, TokenOptions
from tests.support.fake_vault import FakeVault
from tests.support.openbao import OpenBao
from tests.support.secrets import canary


class Spoken(VaultLogin):
    """The least one can do."""

    Options: ClassVar[type[Model]] = Model

    def log_in(self, http: Http) -> Any:
        return {}

    def describe(self) -> str:
        return "spoken"


def test_most_tokens_are_ours_to_renew_and_to_revoke_and_come_from_no_file() -> None:
    login = Spoken(Model())
    assert (login.renews, login.ours, login.file) == (True, True, None)


@pytest.mark.parametrize("name", sorted(registry.VAULT_LOGINS))
def test_every_way_to_log_in_is_one(name: str) -> None:
    found = registry.resolve("vault_logins", name)
    assert issubclass(found, VaultLogin)
    assert issubclass(found.Options, Model)
    assert VaultAuthSettings.options_model(name) is found.Options


# What lies in a file


@pytest.mark.parametrize("around", ["", "\n", " \t\r\n"])
def test_a_file_s_content_is_taken_without_the_white_space_around_it(tmp_path: Path, around: str) -> None:
    (tmp_path / "token").write_text(f"{around}s.abcdef{around}")
    assert secret_in(tmp_path / "token").reveal() == b"s.abcdef"


def test_the_longest_is_taken_and_no_longer(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("x" * LONGEST)
    assert len(secret_in(tmp_path / "token").reveal()) == LONGEST
    (tmp_path / "token").write_text("x" * (LONGEST + 1))
    with pytest.raises(NotReady, match="it is empty, too large, or no text"):
        secret_in(tmp_path / "token")


@pytest.mark.parametrize("content", [b"", b" \n", b"\xff\xfe", b"a\x00b", b"a\nb", b"a\x1bb"])
def test_what_is_no_line_of_text_is_refused_and_not_quoted(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "token"
    path.write_bytes(content)
    with pytest.raises(NotReady) as caught:
        secret_in(path)
    assert str(caught.value) == f"cannot use {path}: it is empty, too large, or no text"


def test_what_was_read_is_not_carried_along(tmp_path: Path) -> None:
    secret = canary("token")
    (tmp_path / "token").write_bytes(secret.encode() + b"\xff")
    with pytest.raises(NotReady) as caught:
        secret_in(tmp_path / "token")
    assert secret not in "".join(traceback.format_exception(caught.value, chain=True))
    assert caught.value.__context__ is None


def test_a_file_that_is_not_there_is_said_not_to_be(tmp_path: Path) -> None:
    with pytest.raises(NotReady, match=r"cannot use .*/token: No such file or directory"):
        secret_in(tmp_path / "token")


def test_what_is_no_file_holds_nobody_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero"), tmp_path):
        with pytest.raises(NotReady, match="cannot use"):
            secret_in(path)


def test_variables_and_files_are_looked_at_as_they_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "token").write_text("of the file")
    monkeypatch.setenv("SHOWN", " of the variable\n")
    assert secret_from(None, tmp_path / "token").reveal() == b"of the file"
    assert secret_from("SHOWN", None).reveal() == b"of the variable"
    assert shown(secret_from("SHOWN", None)) == "of the variable"


@pytest.mark.parametrize("value", [None, "", "  "])
def test_a_variable_without_a_value_is_not_set(monkeypatch: pytest.MonkeyPatch, value: str | None) -> None:
    monkeypatch.delenv("SHOWN", raising=False)
    if value is not None:
        monkeypatch.setenv("SHOWN", value)
    with pytest.raises(NotReady, match="the environment variable SHOWN is not set"):
        secret_from("SHOWN", None)


def test_a_variable_that_holds_no_text_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environb, b"SHOWN", b"a\xffb")
    with pytest.raises(NotReady, match="the environment variable SHOWN is not set, too long, or no text"):
        secret_from("SHOWN", None)


# What a Vault says of a token that others gave us


@pytest.fixture
def http(openbao: OpenBao) -> Iterator[Http]:
    found = Http(VaultSettings.model_validate({"address": openbao.url, "auth": {"token": {}}}), None)
    yield found
    found.close()


def looked_up(http: Http, token: str, tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "token").write_text(token)
    answer = look_up(http, secret_in(tmp_path / "token"))
    assert answer["auth"]["client_token"] == token
    return {key: answer["auth"][key] for key in ("lease_duration", "renewable")}


def test_a_token_is_looked_up_in_the_words_of_a_login(openbao: OpenBao, http: Http, tmp_path: Path) -> None:
    found = looked_up(http, openbao.token(ttl=600), tmp_path)
    assert 598 <= found["lease_duration"] <= 600
    assert found["renewable"] is True
    assert looked_up(http, openbao.token(ttl=600, renewable=False), tmp_path)["renewable"] is False


def test_one_without_an_end_has_none_and_one_that_ends_now_has_one(
    openbao: OpenBao, http: Http, tmp_path: Path
) -> None:
    assert looked_up(http, openbao.root, tmp_path)["lease_duration"] == 0
    with FakeVault().on("auth/token/lookup-self", change=ending) as server:
        other = Http(VaultSettings.model_validate({"address": server.url, "auth": {"token": {}}}), None)
        assert looked_up(other, server.root, tmp_path)["lease_duration"] == 1
        other.close()


@pytest.mark.parametrize("body", ["<html>", "[]", '{"data": null}'])
def test_an_answer_of_another_shape_is_handed_on_to_be_refused(tmp_path: Path, body: str) -> None:
    with FakeVault().on("auth/token/lookup-self", body=body) as server:
        http = Http(VaultSettings.model_validate({"address": server.url, "auth": {"token": {}}}), None)
        (tmp_path / "token").write_text(server.root)
        answer = look_up(http, secret_in(tmp_path / "token"))
        http.close()
    assert not (isinstance(answer, dict) and "auth" in answer)


def ending(said: dict[str, Any]) -> dict[str, Any]:
    return said | {"data": said["data"] | {"ttl": 0}}


def test_a_file_that_was_replaced_has_another_stamp(tmp_path: Path) -> None:
    file = tmp_path / "jwt"
    login = JwtLogin(JwtOptions(role="app", token_file=file))
    missing = login.stamp()
    file.write_text("one")
    first = login.stamp()
    assert first == login.stamp() != missing
    (tmp_path / "new").write_text("two")
    (tmp_path / "new").replace(file)
    assert login.stamp() not in {first, missing}
    assert TokenLogin(TokenOptions()).stamp() == ()
