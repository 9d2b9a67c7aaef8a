"""One value of one credential."""

from __future__ import annotations

import hashlib
import traceback

import pytest

from ambassador.credentials.credential import Credential
from ambassador.credentials.secret import Secret
from ambassador.errors import CredentialError, Reason
from ambassador.telemetry.redaction import reveals
from ambassador.wire import scram
from tests.support.clock import ManualClock
from tests.support.secrets import canary

WHOLE = {"username": b"app", "password": b"hunter22"}


def test_user_name_and_password_are_at_hand_and_other_fields_by_name() -> None:
    credential = Credential("db", 3, {**WHOLE, "token": b"tok"})
    assert (credential.name, credential.version, credential.username) == ("db", 3, "app")
    assert credential.password == Secret(b"hunter22")
    assert credential.get("token") == Secret(b"tok")
    assert credential.get("nothing") is None


def test_its_repr_shows_neither_value_nor_fields() -> None:
    assert repr(Credential("db", 3, WHOLE)) == "<Credential db version 3>"
    assert "hunter22" not in repr(Credential("db", 3, WHOLE).fields)


def test_its_fields_cannot_be_changed() -> None:
    credential = Credential("db", 1, WHOLE)
    with pytest.raises(TypeError):
        credential.fields["password"] = Secret(b"other")  # type: ignore[index]  # that is the point


def test_secret_fields_are_masked_in_logs_and_public_ones_are_not() -> None:
    password, user, chain = canary("password"), canary("user"), canary("chain")
    Credential("db", 1, {"username": user.encode(), "password": password.encode()})
    Credential("cert", 1, {"tls.crt": chain.encode(), "tls.key": canary().encode()})
    assert reveals(password)
    assert not reveals(user)
    assert not reveals(chain)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "there is no password, nor a tls.crt with its tls.key"),
        ({"username": b"app"}, "there is no password"),
        ({"ca.crt": b"ca"}, "there is no password"),
        ({"username": b"app", "password": b""}, "the password is empty"),
        ({"username": b"", "password": b"x"}, "the username is empty"),
        ({"username": b"app", "password": b"sec\0ret"}, "the password holds a NUL byte"),
        ({"username": b"a\0pp", "password": b"secret"}, "the username holds a NUL byte"),
        ({"username": b"\xff", "password": b"secret"}, "the username is not UTF-8 text"),
        ({"tls.crt": b"crt"}, "there is a tls.crt without a tls.key"),
        ({"tls.key": b"sec-key"}, "there is a tls.key without a tls.crt"),
    ],
)
def test_what_is_no_whole_value_is_refused_in_words_that_hold_nothing_of_it(
    fields: dict[str, bytes], words: str
) -> None:
    with pytest.raises(CredentialError, match=words) as caught:
        Credential("db", 1, fields)
    assert caught.value.reason is Reason.SOURCE_FAILED
    assert "'db'" in str(caught.value)
    shown = "".join(traceback.format_exception(caught.value))
    assert "secret" not in shown
    assert "sec-key" not in shown
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    "fields",
    [
        {"password": b"only"},
        {"token": b"of another kind"},
        {"tls.crt": b"crt", "tls.key": b"key", "ca.crt": b"ca"},
        {"username": "j\u00f6rg".encode(), "password": bytes(range(1, 256)) * 4},
        {"password": b"\n"},
    ],
)
def test_passwords_of_any_length_and_any_bytes_but_nul_are_whole(fields: dict[str, bytes]) -> None:
    credential = Credential("db", 1, fields)
    assert {field: secret.reveal() for field, secret in credential.fields.items()} == fields


def test_it_expires_at_its_moment_and_one_without_end_never() -> None:
    credential = Credential("db", 1, WHOLE, not_after=1000.0)
    assert not credential.expired(ManualClock(wall=999.9))
    assert credential.expired(ManualClock(wall=1000.0))
    assert not Credential("db", 1, WHOLE).expired(ManualClock(wall=float("inf")))


def test_what_is_good_for_a_time_ends_by_the_clock_that_does_not_jump() -> None:
    credential = Credential("db", 1, WHOLE, ends_at=1000.0)
    assert [credential.expired(ManualClock(now=999.9, wall=wall)) for wall in (0.0, 4e9)] == [False, False]
    assert [credential.expired(ManualClock(now=1000.0, wall=wall)) for wall in (0.0, 4e9)] == [True, True]
    assert credential.expires(ManualClock(now=990.0, wall=5000.0)) == 5010.0


async def test_another_end_leaves_value_and_version_and_keys_as_they_are() -> None:
    credential = Credential("db", 3, WHOLE, not_before=5.0, ends_at=1000.0)
    keys = await credential.scram_keys(b"salt", 4096)
    later = credential.lasting(2000.0)
    assert (later.version, later.fingerprint, later.ends_at, later.not_before) == (
        3,
        credential.fingerprint,
        2000.0,
        5.0,
    )
    assert await later.scram_keys(b"salt", 4096) is keys


def test_fingerprints_tell_values_apart_and_ignore_version_and_dates() -> None:
    first = Credential("db", 1, {"a": b"b", "password": b"c"})
    assert first.fingerprint == Credential("x", 9, {"password": b"c", "a": b"b"}, not_after=5.0).fingerprint
    assert first.fingerprint != Credential("db", 1, {"ab": b"", "password": b"c", "x": b"y"} | {"ab": b"z"}).fingerprint
    assert first.fingerprint != Credential("db", 1, {"a": b"bc", "password": b"d"}).fingerprint
    assert Credential("db", 1, {"a": b"bc"}).fingerprint != Credential("db", 1, {"ab": b"c"}).fingerprint


def test_a_fingerprint_is_no_plain_hash_of_the_value() -> None:
    first = Credential("db", 1, {"password": b"hunter22"})
    assert hashlib.sha256(b"hunter22").digest() != first.fingerprint
    assert b"hunter22" not in first.fingerprint


async def test_a_renewal_keeps_version_and_derived_keys_and_takes_the_dates(monkeypatch: pytest.MonkeyPatch) -> None:
    first = Credential("db", 4, WHOLE, not_before=1.0, not_after=2.0)
    keys = await first.scram_keys(b"salt", 10)
    renewed = first.renewed(Credential("db", 0, WHOLE, not_before=3.0, not_after=4.0))
    assert (renewed.version, renewed.not_before, renewed.not_after) == (4, 3.0, 4.0)
    monkeypatch.setattr(scram, "derive", None)
    assert await renewed.scram_keys(b"salt", 10) is keys


def test_a_numbered_one_differs_in_its_version_only() -> None:
    first = Credential("db", 0, WHOLE, not_before=1.0, not_after=2.0)
    numbered = first.numbered(7)
    assert numbered.version == 7
    assert numbered.fingerprint == first.fingerprint
    assert (numbered.not_before, numbered.not_after) == (1.0, 2.0)


async def test_keys_of_a_value_without_a_password_cannot_be_had() -> None:
    with pytest.raises(CredentialError, match="has no password") as caught:
        await Credential("cert", 1, {"tls.crt": b"c", "tls.key": b"k"}).scram_keys(b"salt", 10)
    assert caught.value.reason is Reason.NO_CREDENTIAL
