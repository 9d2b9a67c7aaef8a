"""What can go wrong at a Vault, in one word and in a sentence."""

from __future__ import annotations

import ssl
import traceback
from collections.abc import Mapping
from http.client import RemoteDisconnected

import pytest
import requests
from hvac import exceptions
from urllib3 import HTTPConnectionPool
from urllib3.exceptions import MaxRetryError, NewConnectionError, ProtocolError, ReadTimeoutError

from ambassador.credentials.secret import Secret
from ambassador.credentials.vault.failure import (
    AWAY,
    LOGIN_WORDS,
    LONGEST,
    TOKEN_WORDS,
    Kind,
    TooLong,
    VaultError,
    explained,
    malformed,
)
from ambassador.errors import Reason
from tests.support.secrets import canary


def why(error: Exception, words: Mapping[Kind, str] | None = None) -> VaultError:
    return explained(error, vault="main", address="https://v:8200", doing="read secret/app", words=words)


def beneath(error: Exception) -> Exception:
    """As requests and urllib3 wrap what the socket raised."""
    return requests.ConnectionError(MaxRetryError(HTTPConnectionPool("v"), "/", error))


def refused() -> Exception:
    error = NewConnectionError(None, "no")  # type: ignore[arg-type]  # as without a connection
    error.__cause__ = ConnectionRefusedError(111, "Connection refused")
    return error


UNTRUSTED = ssl.SSLCertVerificationError(1, "certificate verify failed")
UNTRUSTED.verify_message = "self-signed certificate"


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (exceptions.VaultNotInitialized(), Kind.SEALED, "is sealed"),
        (exceptions.VaultDown("Vault is sealed", errors=["Vault is sealed"]), Kind.SEALED, "is sealed"),
        (exceptions.RateLimitExceeded(), Kind.BUSY, "too many requests"),
        (exceptions.Forbidden(errors=["permission denied"]), Kind.DENIED, "no policy of our token allows this"),
        (exceptions.Unauthorized(), Kind.DENIED, "denied it"),
        (exceptions.InvalidPath(), Kind.MISSING, "check mount, path (of KV: without data/) or role, and version"),
        (exceptions.InvalidRequest(errors=["unknown role: x"]), Kind.REJECTED, "refused the request: unknown role: x"),
        (exceptions.UnsupportedOperation(), Kind.REJECTED, "refused the request"),
        (exceptions.InternalServerError(errors=["boom"]), Kind.FAILED, "failed at it: boom"),
        (exceptions.BadGateway(), Kind.FAILED, "failed at it"),
        (exceptions.UnexpectedError(), Kind.FAILED, "failed at it"),
        (TooLong("did not end its answer in time"), Kind.TIMEOUT, "did not end its answer in time"),
        (TimeoutError(), Kind.TIMEOUT, "gave no answer in time"),
        (requests.ConnectTimeout(), Kind.TIMEOUT, "gave no answer in time"),
        (requests.ReadTimeout(), Kind.TIMEOUT, "gave no answer in time"),
        (ReadTimeoutError(HTTPConnectionPool("v"), "/", "slow"), Kind.TIMEOUT, "gave no answer in time"),
        (
            requests.exceptions.SSLError(MaxRetryError(HTTPConnectionPool("v"), "/", UNTRUSTED)),
            Kind.TLS,
            "is not trusted: certificate verify failed: self-signed certificate",
        ),
        (beneath(refused()), Kind.UNREACHABLE, "cannot be reached: Connection refused"),
        (requests.ConnectionError(), Kind.UNREACHABLE, "cannot be reached"),
        (ProtocolError("Connection broken"), Kind.UNREACHABLE, "broke off its answer"),
        (
            requests.ConnectionError(ProtocolError("Connection aborted.", RemoteDisconnected("closed"))),
            Kind.UNREACHABLE,
            "closed the connection without an answer",
        ),
        (requests.TooManyRedirects(), Kind.FAILED, "leads to another address"),
        (requests.exceptions.InvalidHeader("x"), Kind.MALFORMED, "does not answer as a Vault does"),
        (ValueError("hvac stumbled"), Kind.MALFORMED, "does not answer as a Vault does"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_every_failure_has_its_word(error: Exception, kind: Kind, words: str) -> None:
    found = why(error)
    assert found.kind is kind
    assert found.reason is Reason.SOURCE_FAILED
    assert str(found).startswith("vault 'main', to read secret/app: https://v:8200 ")
    assert words in str(found)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (exceptions.Forbidden(errors=["permission denied"]), "refused the login: check mount, role and what is shown"),
        (exceptions.Forbidden(errors=["role is disabled"]), "refused the login: role is disabled"),
        (exceptions.InvalidRequest(errors=["invalid role or secret ID"]), "refused the login: invalid role or secret"),
        (exceptions.InvalidRequest(), "refused the login"),
        (
            exceptions.InvalidPath(errors=["no handler for auth/x"]),
            "has no such way to log in: no handler",
        ),
        (exceptions.InvalidPath(), "has no such way to log in: check mount and namespace"),
        (exceptions.VaultDown(), "is sealed"),
    ],
    ids=str,
)
def test_a_login_that_is_refused_is_said_to_be_one(error: Exception, words: str) -> None:
    assert f"https://v:8200 {words}" in str(why(error, LOGIN_WORDS))


def test_a_token_that_is_refused_is_no_login() -> None:
    denied = exceptions.Forbidden(errors=["permission denied"])
    assert "refused the token: it has ended, was revoked, or" in str(why(denied, TOKEN_WORDS))
    assert "is sealed" in str(why(exceptions.VaultDown(), TOKEN_WORDS))


def test_what_says_nothing_of_the_question_is_known_as_such() -> None:
    assert why(exceptions.VaultDown()).kind in AWAY
    assert why(beneath(refused())).kind in AWAY
    assert not {Kind.DENIED, Kind.MISSING, Kind.REJECTED, Kind.NOT_READY} & AWAY


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (["1 error occurred:\n\t* permission denied\n\n"], ""),
        (["permission denied"], ""),
        (["2 errors occurred:\n\t* one\n\t* two\n\n"], ": one; two"),
        (["first", "second"], ": first"),
        ("just text", ": just text"),
        (["no hvs.CAESIJlU9rYcE_x-4qQvTDbY for you"], ": no *** for you"),
        (["s.1234567890abcdefghijklmn"], ": ***"),
        (["see s.short and docs.example.com"], ": see s.short and docs.example.com"),
        (["a\x1b[31mb\x00c"], ": a?[31mb?c"),
        (["x" * 1000], ": " + "x" * LONGEST),
        ([], ""),
        ([""], ""),
        ({"a": 1}, ""),
        (None, ""),
    ],
)
def test_a_vault_s_own_words_are_passed_on_within_bounds(told: object, words: str) -> None:
    found = why(exceptions.InvalidRequest(errors=told))  # type: ignore[arg-type]  # whatever comes over the wire
    assert str(found).endswith("refused the request" + words)


def test_what_a_vault_said_can_be_asked_for() -> None:
    found = why(exceptions.InvalidRequest(errors=["lease not found"]))
    assert found.says("nothing", "lease not found")
    assert not found.says("max TTL")


def test_a_secret_that_a_vault_repeats_is_masked() -> None:
    secret = canary("secret-id")
    Secret(secret)
    found = why(exceptions.InvalidRequest(errors=[f"invalid secret id {secret}"]))
    assert secret not in str(found)
    assert "invalid secret id ***" in str(found)


def test_it_carries_nothing_of_what_was_raised_along() -> None:
    secret = canary("token")
    found = why(exceptions.Forbidden(f"on get with {secret}", errors=["permission denied"]))
    assert secret not in "".join(traceback.format_exception(found))
    assert (found.__cause__, found.__context__) == (None, None)


def test_errors_that_hold_each_other_end_the_search() -> None:
    error = requests.ConnectionError()
    error.args = (error,)
    error.__cause__ = OSError("no text of its own")
    error.__cause__.__context__ = error
    assert str(why(error)).endswith("https://v:8200 cannot be reached")


def test_an_answer_that_lacks_something_says_what() -> None:
    found = malformed("main", "read secret/app", "lease")
    assert (found.kind, str(found)) == (
        Kind.MALFORMED,
        "vault 'main', to read secret/app: its answer has no usable lease",
    )
