"""A mounted Secret as a source."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from ambassador.credentials.sources import file
from ambassador.credentials.sources.file import File, FileOptions
from ambassador.errors import CredentialError, Reason
from ambassador.kit.clock import SYSTEM
from tests.support.secrets import SecretDir, mountinfo

CONTENT = {"username": "app\n", "password": "hunter22\n"}


def source(path: Path, **options: Any) -> File:
    return File("db", FileOptions(path=path, **options))


@pytest.fixture
def secret(tmp_path: Path) -> SecretDir:
    return SecretDir(tmp_path / "secret", CONTENT)


# Reading


async def test_the_well_known_keys_are_the_fields_and_no_other_file_is_read(secret: SecretDir) -> None:
    secret.swap({**CONTENT, "tls.crt": "crt", "tls.key": "key", "ca.crt": "ca", "host": "db.example.com"})
    found = await source(secret.path).fetch()
    assert found.fields == {
        "username": b"app",
        "password": b"hunter22",
        "tls.crt": b"crt",
        "tls.key": b"key",
        "ca.crt": b"ca",
    }
    assert found.not_after is None


@pytest.mark.parametrize("password", [b"\xff" * 4, bytes(range(1, 10)), b"x" * 900, b"y" * 100_000, b" spaces "])
async def test_passwords_of_any_length_and_any_bytes_are_read(secret: SecretDir, password: bytes) -> None:
    secret.swap({"password": password})
    assert (await source(secret.path).fetch()).fields == {"password": password}


async def test_other_names_of_files_can_be_chosen_and_further_fields_added(secret: SecretDir) -> None:
    secret.swap({"user": "app", "pass": "p", "username": "not read", "db/token": "t"})
    keys = {"username": "user", "password": "pass", "token": "db/token"}
    found = await source(secret.path, keys=keys).fetch()
    assert found.fields == {"username": b"app", "password": b"p", "token": b"t"}


async def test_a_file_that_was_named_must_exist(secret: SecretDir) -> None:
    with pytest.raises(CredentialError, match=r"secret/pass, named as the password, does not exist") as caught:
        await source(secret.path, keys={"password": "pass"}).fetch()
    assert caught.value.reason is Reason.SOURCE_FAILED


async def test_the_user_name_can_stand_in_the_options(secret: SecretDir) -> None:
    found = await source(secret.path, username="other").fetch()
    assert found.fields == {"username": b"other", "password": b"hunter22"}


async def test_a_single_file_holds_the_password(secret: SecretDir) -> None:
    assert (await source(secret.path / "password").fetch()).fields == {"password": b"hunter22"}
    found = await source(secret.path / "password", username="app").fetch()
    assert found.fields == {"username": b"app", "password": b"hunter22"}


async def test_keys_of_a_single_file_make_no_sense(secret: SecretDir) -> None:
    with pytest.raises(CredentialError, match="is no directory, so `keys` cannot name files in it"):
        await source(secret.path / "password", keys={"username": "user"}).fetch()


async def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CredentialError, match=r"credential 'db': .*/nowhere: No such file or directory") as caught:
        await source(tmp_path / "nowhere").fetch()
    assert caught.value.reason is Reason.SOURCE_FAILED


def test_it_tells_its_path(tmp_path: Path) -> None:
    assert source(tmp_path / "x").describe() == f"file {tmp_path / 'x'}"


# Changes


@pytest.mark.parametrize("alone", [False, True])
async def test_swaps_of_the_whole_secret_are_told_one_after_the_other(secret: SecretDir, alone: bool) -> None:
    found = source(secret.path / "password" if alone else secret.path)
    async with asyncio.timeout(20), aclosing(found.changes(poll=60, debounce=0.01, clock=SYSTEM)) as changes:
        for number in range(3):
            secret.swap({"password": f"number {number}"})
            await anext(changes)
            assert (await found.fetch()).fields["password"] == f"number {number}".encode()


async def test_a_change_of_a_key_further_down_is_told(secret: SecretDir) -> None:
    secret.swap({"db/password": "one"})
    found = source(secret.path, keys={"password": "db/password"})
    async with asyncio.timeout(20), aclosing(found.changes(poll=60, debounce=0.01, clock=SYSTEM)) as changes:
        secret.swap({"db/password": "two"})
        await anext(changes)
        assert (await found.fetch()).fields == {"password": b"two"}


# subPath


async def test_a_secret_mounted_as_a_directory_gives_no_warning(
    secret: SecretDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tmp_path / "mountinfo"
    table.write_text(mountinfo((secret.path, "/")))
    monkeypatch.setattr(file, "MOUNTINFO", table)
    assert await source(secret.path).warnings() == ()
    assert await source(secret.path / "password").warnings() == ()
    assert await source(tmp_path / "nowhere").warnings() == ()


@pytest.mark.parametrize("alone", [False, True])
async def test_a_file_mounted_with_sub_path_is_warned_about(
    secret: SecretDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alone: bool
) -> None:
    mounted = secret.sub_path("password", tmp_path / "app" / "password")
    table = tmp_path / "mountinfo"
    table.write_text(mountinfo((mounted, f"/{secret.generation.name}/password")))
    monkeypatch.setattr(file, "MOUNTINFO", table)
    (warning,) = await source(mounted if alone else mounted.parent).warnings()
    assert str(mounted) in warning
    assert "subPath" in warning
    assert "mount the directory" in warning


async def test_this_machine_s_own_table_can_be_read(secret: SecretDir) -> None:
    assert await source(secret.path).warnings() == ()


async def test_without_a_table_nothing_is_claimed(
    secret: SecretDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file, "MOUNTINFO", tmp_path / "nowhere")
    assert await source(secret.path).warnings() == ()


# Options


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"path": "/x", "keys": {"password": "/etc/shadow"}},
        {"path": "/x", "keys": {"password": "../other/password"}},
        {"path": "/x", "keys": {"password": "a/../../b"}},
        {"path": "/x", "keys": {"password": "..data/password"}},
        {"path": "/x", "keys": {"password": ""}},
        {"path": "/x", "keys": {"password": "nul\0"}},
        {"path": "/x", "keys": {"pass word": "x"}},
        {"path": "/x", "keys": {"": "x"}},
        {"path": "/x", "keys": {f"field{number}": "x" for number in range(33)}},
        {"path": "/x", "username": ""},
        {"path": "/x", "watch": False},
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        FileOptions.model_validate(options)


def test_its_options_are_names_and_may_be_shown() -> None:
    options = FileOptions(path=Path("/x"), keys={"password": "pass"}, username="app")
    assert options.redacted(wary=True) == {"path": "/x", "keys": {"password": "pass"}, "username": "app"}


def test_the_option_keys_and_the_method_of_models_do_not_get_in_each_other_s_way() -> None:
    assert FileOptions.key_names() == {"path", "keys", "username"}
    assert FileOptions(path=Path("/x"), keys={"password": "p"}).keys == {"password": "p"}
