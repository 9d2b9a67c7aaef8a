"""A secret in a Vault's key/value store."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import pytest
from pydantic import ValidationError

from ambassador.credentials.sources.vault_kv import VaultKv, VaultKvOptions
from ambassador.credentials.vault.failure import Kind, VaultError
from ambassador.credentials.vault.vault import Vault
from ambassador.errors import CredentialError
from tests.support.fake_vault import FakeVault
from tests.support.openbao import OpenBao
from tests.support.openbao_engines import KeyValue
from tests.support.secrets import canary
from tests.support.vaults import opened


@pytest.fixture(autouse=True)
def token(openbao: OpenBao, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KV_TOKEN", openbao.root)


@pytest.fixture
async def vault(openbao: OpenBao) -> AsyncIterator[Vault]:
    async with opened(openbao.url, {"token": {"env": "KV_TOKEN"}}) as found:
        yield found


@pytest.fixture(params=[1, 2])
def store(openbao: OpenBao, request: pytest.FixtureRequest) -> KeyValue:
    """An empty place, of each version in turn."""
    return openbao.key_value(request.param)


def source(vault: Vault, store: KeyValue, path: str = "app", **more: Any) -> VaultKv:
    words = {"vault": "main", "path": path, "mount": store.mount, "engine": str(store.version), **more}
    return VaultKv("db", VaultKvOptions.model_validate(words), {"main": vault})


async def failing(source: VaultKv) -> VaultError:
    with pytest.raises(VaultError) as caught:
        await source.fetch()
    return caught.value


async def test_the_fields_that_everybody_names_so_are_taken_as_they_are(vault: Vault, store: KeyValue) -> None:
    store.put("app", {"username": "u", "password": " p\n", "tls.crt": "c", "tls.key": "k", "ca.crt": "a", "note": "n"})
    found = await source(vault, store).fetch()
    assert found.fields == {
        "username": b"u",
        "password": b" p\n",
        "tls.crt": b"c",
        "tls.key": b"k",
        "ca.crt": b"a",
    }
    assert (found.lease, found.again, found.not_after) == (None, None, None)


async def test_other_names_are_mapped_and_nothing_else_is_taken(vault: Vault, store: KeyValue) -> None:
    store.put("a/b/app", {"user": "u", "db_pass": "pässwörd", "password": "another", "api": "x"})
    fields = {"username": "user", "password": "db_pass", "api.key": "api"}
    found = await source(vault, store, "a/b/app", fields=fields).fetch()
    assert found.fields == {"username": b"u", "password": "pässwörd".encode(), "api.key": b"x"}


async def test_the_newest_version_is_shown_and_the_next_look_shows_the_next(vault: Vault, store: KeyValue) -> None:
    shown = source(vault, store)
    for password in ("one", "two"):
        store.put("app", {"password": password})
        assert (await shown.fetch()).fields == {"password": password.encode()}


async def test_a_pinned_version_stays(openbao: OpenBao, vault: Vault) -> None:
    store = openbao.key_value(2)
    for password in ("one", "two"):
        store.put("app", {"password": password})
    pinned = source(vault, store, version=1)
    assert (await pinned.fetch()).fields == {"password": b"one"}
    assert pinned.describe() == f"vault main {store.mount}/app version 1"


@pytest.mark.parametrize("end", ["delete", "destroy"])
async def test_a_version_that_was_deleted_is_missing(openbao: OpenBao, vault: Vault, end: str) -> None:
    store = openbao.key_value(2)
    store.put("app", {"password": "one"})
    store.put("app", {"password": "two"})
    if end == "delete":
        store.delete("app")
    else:
        store.destroy("app", 2)
    error = await failing(source(vault, store))
    assert error.kind is Kind.MISSING
    assert "has nothing there: check mount, path (of KV: without data/) or role, and version" in str(error)
    assert (await source(vault, store, version=1).fetch()).fields == {"password": b"one"}


async def test_a_version_that_never_was_is_missing(openbao: OpenBao, vault: Vault) -> None:
    store = openbao.key_value(2)
    store.put("app", {"password": "one"})
    assert (await failing(source(vault, store, version=7))).kind is Kind.MISSING


def within(store: KeyValue, mount: str) -> str:
    """Where in a mount its secrets are, as a policy must say it."""
    return f"{mount}/data" if store.version == 2 else mount


@pytest.mark.parametrize("where", [{"path": "nothing"}, {"mount": "nowhere"}])
async def test_a_wrong_path_and_a_wrong_mount_are_said_to_be_so(
    vault: Vault, store: KeyValue, where: dict[str, str]
) -> None:
    store.put("app", {"password": "one"})
    error = await failing(source(vault, store, **{"path": "app", **where}))
    assert error.kind in {Kind.MISSING, Kind.DENIED}
    mount, path = where.get("mount", store.mount), where.get("path", "app")
    assert str(error).startswith(f"vault 'main', to read {within(store, mount)}/{path}: ")


async def test_a_policy_that_is_missing_is_said_to_be(
    openbao: OpenBao, store: KeyValue, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put("app", {"password": "one"})
    monkeypatch.setenv("KV_TOKEN", openbao.token("default"))
    async with opened(openbao.url, {"token": {"env": "KV_TOKEN"}}) as vault:
        error = await failing(source(vault, store))
    assert error.kind is Kind.DENIED
    assert "no policy of our token allows this" in str(error)


@pytest.mark.parametrize(
    ("written", "fields", "words"),
    [
        ({"note": "n"}, {}, "none of the keys username, password, tls.crt, tls.key, ca.crt: name its own with fields"),
        ({"a": "x"}, {"password": "b"}, "no key 'b'"),
        ({"a": 5}, {"password": "a"}, "no text under the key 'a'"),
        ({"a": None}, {"password": "a"}, "no text under the key 'a'"),
        ({"a": {"b": "c"}}, {"password": "a"}, "no text under the key 'a'"),
        ({"password": ["x"]}, {}, "no text under the key 'password'"),
    ],
)
async def test_a_field_that_is_not_there_is_named(
    vault: Vault, store: KeyValue, written: Mapping[str, Any], fields: dict[str, str], words: str
) -> None:
    secret = canary()
    store.put("app", {**written, "else": secret})
    error = await failing(source(vault, store, fields=fields))
    assert str(error) == f"vault 'main', to read {within(store, store.mount)}/app: the secret has {words}"
    assert error.kind is Kind.MISSING


def odd(data: Any) -> Callable[[Any], Any]:
    return lambda said: {**said, "data": data}


@pytest.mark.parametrize("data", [None, [], "text", {"data": None}, {"data": []}, {"metadata": {}}])
async def test_answers_of_other_shapes_are_no_secret(data: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeVault().key_value("kv").put("kv", "app", password="p") as server:
        monkeypatch.setenv("KV_TOKEN", server.root)
        server.on("kv/", change=odd(data))
        async with opened(server.url, {"token": {"env": "KV_TOKEN"}}) as vault:
            kv = VaultKv("db", VaultKvOptions(vault="main", path="app", mount="kv"), {"main": vault})
            error = await failing(kv)
    assert (error.kind, str(error)) == (
        Kind.MALFORMED,
        "vault 'main', to read kv/data/app: its answer has no usable data",
    )


async def test_what_is_not_json_is_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeVault().key_value("kv", 1).put("kv", "app", password="p") as server:
        monkeypatch.setenv("KV_TOKEN", server.root)
        server.on("kv/", body="<html>")
        async with opened(server.url, {"token": {"env": "KV_TOKEN"}}) as vault:
            options = VaultKvOptions(vault="main", path="app", mount="kv", engine="1")
            assert (await failing(VaultKv("db", options, {"main": vault}))).kind is Kind.MALFORMED


async def test_half_a_surrogate_is_a_password_s_own_business(monkeypatch: pytest.MonkeyPatch) -> None:
    """JSON can say what UTF-8 cannot; it must not be a crash whose text quotes it."""
    with FakeVault().key_value("kv", 1).put("kv", "app", password="\udc80") as server:
        monkeypatch.setenv("KV_TOKEN", server.root)
        async with opened(server.url, {"token": {"env": "KV_TOKEN"}}) as vault:
            options = VaultKvOptions(vault="main", path="app", mount="kv", engine="1")
            assert (await VaultKv("db", options, {"main": vault}).fetch()).fields == {"password": b"\xed\xb2\x80"}


def test_version_1_keeps_no_versions() -> None:
    with pytest.raises(ValidationError, match="a key/value store of version 1 keeps no versions"):
        VaultKvOptions(vault="main", path="app", engine="1", version=2)


async def test_it_is_polled_and_says_where_it_looks(vault: Vault, store: KeyValue) -> None:
    found = source(vault, store, "/a/b/")
    assert found.describe() == f"vault main {store.mount}/a/b"
    assert not found.makes_new
    assert found.pace == (5, 1.0)
    with pytest.raises(NotImplementedError):
        await found.renew(None)  # type: ignore[arg-type]  # there is none to give
    assert issubclass(VaultError, CredentialError)
