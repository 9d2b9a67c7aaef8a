"""The passwords that clients may show, in the forms in which they are checked."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from ambassador.access import candidates
from ambassador.access.candidates import KEPT, Candidate, decoy, derive, of_user, salt_of, succeed, tag_of
from ambassador.credentials.credential import Credential
from ambassador.wire import scram
from tests.support.secrets import canary

NOW, WALL = 100.0, 1_700_000_000.0


def candidate(credential: str = "a", version: int = 1, user: str = "app", **changes: float) -> Candidate:
    return replace(decoy(), credential=credential, version=version, user=user, **changes)  # type: ignore[arg-type]  # floats only


# Deriving


async def test_a_candidate_holds_what_the_three_methods_check_and_not_the_password() -> None:
    password = canary()
    fields = {"username": b"app", "password": password.encode()}
    found = await derive(Credential("orders-app", 3, fields, not_after=WALL))
    assert found is not None
    keys = scram.derive(password.encode(), salt_of("app"), 4096)
    assert (found.credential, found.version, found.user, found.expires) == ("orders-app", 3, "app", WALL)
    assert found.scram == keys.stored
    assert found.md5 == hashlib.md5(password.encode() + b"app").hexdigest().encode()
    assert found.tag == tag_of(password.encode())
    assert not any(password.encode() in part for part in (found.md5, found.tag, found.scram.stored_key))


@pytest.mark.parametrize("fields", [{"password": b"pw"}, {"username": b"app", "tls.crt": b"c", "tls.key": b"k"}])
async def test_without_a_user_name_or_a_password_there_is_no_candidate(fields: dict[str, bytes]) -> None:
    assert await derive(Credential("a", 1, fields)) is None


def test_a_user_s_salt_stays_and_looks_like_a_server_s() -> None:
    assert salt_of("app") == salt_of("app")
    assert salt_of("app") != salt_of("nobody")
    assert len(salt_of("app")) == 16
    assert len(salt_of("\udcff not utf-8")) == 16


def test_candidates_and_decoys_do_not_print() -> None:
    found = decoy()
    assert found.md5.decode() not in repr(found)
    assert repr(found).startswith("<ambassador.access.candidates.Candidate object")


def test_no_two_decoys_are_alike() -> None:
    first, second = decoy(), decoy()
    assert first.scram != second.scram
    assert first.md5 != second.md5
    assert first.tag != second.tag
    assert (len(first.md5), len(first.tag)) == (32, len(tag_of(b"any")))


# Succession


def test_the_one_before_stays_in_grace_and_other_credentials_are_untouched() -> None:
    other, first, second = candidate("b"), candidate("a", 1), candidate("a", 2)
    found = succeed((other, first), second, grace_ends=NOW)
    assert found == (other, second, replace(first, until=NOW))


def test_a_grace_once_begun_is_not_prolonged() -> None:
    found = succeed((candidate("a", 1, until=NOW),), candidate("a", 2), grace_ends=NOW + 50)
    assert [one.until for one in found] == [None, NOW]


def test_only_so_many_are_kept_however_fast_it_rotates() -> None:
    found: tuple[Candidate, ...] = ()
    for version in range(1, 20):
        found = succeed(found, candidate("a", version), grace_ends=NOW + version)
    assert [one.version for one in found] == [19, 18, 17, 16]
    assert len(found) == KEPT


def test_the_same_version_again_replaces_its_dates() -> None:
    found = succeed((candidate("a", 1, expires=WALL),), candidate("a", 1, expires=WALL + 9), grace_ends=NOW)
    assert [(one.version, one.expires, one.until) for one in found] == [(1, WALL + 9, None)]


def test_a_derivation_that_was_overtaken_changes_nothing() -> None:
    before = (candidate("a", 3), candidate("a", 2, until=NOW))
    assert succeed(before, candidate("a", 1), grace_ends=NOW) == before


# Whose


@pytest.mark.parametrize(
    ("until", "expires", "accepted"),
    [
        (None, None, True),
        (NOW + 1, WALL + 1, True),
        (NOW, None, False),
        (None, WALL, False),
        (NOW + 1, WALL - 1, False),
    ],
)
def test_a_candidate_counts_within_its_grace_and_its_life(
    until: float | None, expires: float | None, accepted: bool
) -> None:
    found = replace(decoy(), until=until, expires=expires)
    assert found.accepted(NOW, WALL) is accepted


DECOYS = tuple(decoy() for _ in range(8))


def whose(found: tuple[Candidate, ...], user: str) -> tuple[Candidate, ...]:
    return of_user(found, user, now=NOW, wall=WALL, decoys=DECOYS)


def test_everyone_has_as_many_candidates_as_the_one_who_has_most() -> None:
    a, b, c = candidate("a"), candidate("b"), candidate("c", user="other")
    assert whose((a, b, c), "app") == (a, b)
    assert whose((a, b, c), "other") == (c, DECOYS[0])
    assert whose((a, b, c), "nobody") == DECOYS[:2]


def test_what_no_longer_counts_is_left_out_of_the_measure_too() -> None:
    a, old = candidate("a", 2), candidate("a", 1, until=NOW - 1)
    assert whose((a, old), "app") == (a,)
    assert whose((a, old), "nobody") == DECOYS[:1]


def test_when_nobody_may_come_in_there_is_nothing_to_check() -> None:
    assert whose((), "app") == ()
    assert whose((candidate("a", expires=WALL),), "app") == ()


def test_the_secret_behind_salts_is_not_guessable() -> None:
    assert len(candidates._PROCESS_KEY) == 32
    assert any(candidates._PROCESS_KEY)
