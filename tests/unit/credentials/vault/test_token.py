"""What a login gives."""

from __future__ import annotations

from typing import Any

import pytest

from ambassador.credentials.term import Care
from ambassador.credentials.vault.token import from_auth
from tests.support.secrets import canary

AUTH: dict[str, Any] = {"client_token": "s.abcdef", "lease_duration": 3600, "renewable": True}


def test_a_login_s_answer_has_a_token_and_its_term() -> None:
    token = from_auth(AUTH, now=1000.0, renews=True, ours=True)
    assert token is not None
    assert token.secret.reveal() == b"s.abcdef"
    assert (token.term.ends_at, token.term.care, token.ours) == (4600.0, Care.RENEW, True)


def test_a_token_without_an_end_needs_no_care() -> None:
    token = from_auth(AUTH | {"lease_duration": 0, "renewable": False}, now=5.0, renews=True, ours=False)
    assert token is not None
    assert token.term.due_at() == float("inf")


@pytest.mark.parametrize(("renewable", "renews"), [(False, True), (True, False), (None, True), ("true", True)])
def test_a_token_that_is_not_for_us_to_renew_is_replaced(renewable: Any, renews: bool) -> None:
    token = from_auth(AUTH | {"renewable": renewable}, now=0.0, renews=renews, ours=True)
    assert token is not None
    assert token.term.care is Care.REPLACE


def test_a_renewal_grows_its_term_for_all_who_hold_it() -> None:
    token = from_auth(AUTH, now=0.0, renews=True, ours=True)
    assert token is not None
    held = token
    token.renew(1800.0, 2400.0)
    assert (held.term.ends_at, held.term.first, held.term.care) == (4200.0, 3600.0, Care.REPLACE)


def test_what_came_with_it_has_no_end_of_its_own_while_it_is_kept_alive() -> None:
    token = from_auth(AUTH, now=1000.0, renews=True, ours=True)
    assert token is not None
    assert (token.ends_at, token.trouble) == (float("inf"), None)
    token.trouble = "the vault is sealed"
    assert token.ends_at == 4600.0
    token.trouble, token.replaced = None, True
    assert token.ends_at == 4600.0


@pytest.mark.parametrize(("renewable", "renews"), [(False, True), (False, False), (None, False)])
def test_what_came_with_one_that_nobody_can_renew_ends_with_it_from_the_first(renewable: Any, renews: bool) -> None:
    token = from_auth(AUTH | {"renewable": renewable}, now=1000.0, renews=renews, ours=True)
    assert token is not None
    assert (token.ends_at, token.trouble) == (4600.0, None)


def test_what_came_with_one_that_others_renew_has_no_end_of_its_own() -> None:
    token = from_auth(AUTH, now=1000.0, renews=False, ours=False)
    assert token is not None
    assert token.ends_at == float("inf")


@pytest.mark.parametrize(
    "change",
    [
        {"client_token": None},
        {"client_token": ""},
        {"lease_duration": 0.01},
        {"client_token": 5},
        {"client_token": "a\r\nX-Evil: 1"},
        {"client_token": "tök"},
        {"client_token": "a\x00"},
        {"lease_duration": None},
        {"lease_duration": "1h"},
        {"lease_duration": -1},
    ],
)
def test_what_is_no_token_is_none(change: dict[str, Any]) -> None:
    assert from_auth(AUTH | change, now=0.0, renews=True, ours=True) is None


def test_it_does_not_print() -> None:
    secret = canary("token")
    token = from_auth(AUTH | {"client_token": secret}, now=0.0, renews=True, ours=True)
    assert token is not None
    assert secret not in repr(token) + repr(token.secret) + repr(token.term)
