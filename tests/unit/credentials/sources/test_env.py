"""Environment variables as a source."""

from __future__ import annotations

import os

import pytest
from pydantic import ValidationError

from ambassador.credentials.sources.env import Env, EnvOptions
from ambassador.errors import CredentialError, Reason


def env(**options: str) -> Env:
    return Env("db", EnvOptions.model_validate(options))


@pytest.fixture(autouse=True)
def variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB_USER", "app\n")
    monkeypatch.setitem(os.environb, b"DB_PASSWORD", b"hunter\xff22\n\n")
    monkeypatch.delenv("DB_NOTHING", raising=False)


async def test_the_variables_hold_user_name_and_password_to_the_byte() -> None:
    found = await env(username="DB_USER", password="DB_PASSWORD").fetch()
    assert found.fields == {"username": b"app", "password": b"hunter\xff22\n"}
    assert found.not_after is None


async def test_a_password_alone_will_do() -> None:
    assert (await env(password="DB_PASSWORD").fetch()).fields == {"password": b"hunter\xff22\n"}


async def test_a_variable_that_is_not_set_is_named() -> None:
    with pytest.raises(
        CredentialError, match="credential 'db': the environment variable DB_NOTHING is not set"
    ) as caught:
        await env(username="DB_USER", password="DB_NOTHING").fetch()
    assert caught.value.reason is Reason.SOURCE_FAILED


def test_it_tells_the_names_and_is_fixed() -> None:
    assert env(username="DB_USER", password="DB_PASSWORD").describe() == "env DB_USER, DB_PASSWORD"
    assert env(password="DB_PASSWORD").describe() == "env DB_PASSWORD"
    assert Env.fixed


@pytest.mark.parametrize(
    "options",
    [{}, {"password": "not a name"}, {"username": "SAME", "password": "SAME"}, {"password": "A", "user": "B"}],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        EnvOptions.model_validate(options)
