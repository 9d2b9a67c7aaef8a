"""Our errors in PostgreSQL's words."""

from __future__ import annotations

import re

import pytest

from ambassador.errors import AmbassadorError, ClientError, CredentialError, Overloaded, Reason, UpstreamError
from ambassador.protocols.postgres.answers import SQLSTATE, ending, refusal
from ambassador.wire.postgres.messages import ErrorFields, parse_error

PRIVATE = "10.0.0.7:5432 refused orders_rw"


def read(message: bytes) -> ErrorFields:
    """The one message that these bytes are."""
    assert message[:1] == b"E"
    assert int.from_bytes(message[1:5]) == len(message) - 1
    return parse_error(message[5:])


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_a_well_formed_sqlstate(reason: Reason) -> None:
    assert re.fullmatch(r"[0-9A-Z]{5}", SQLSTATE[reason])


@pytest.mark.parametrize("reason", Reason)
def test_a_refusal_is_fatal_and_tells_the_public_words(reason: Reason) -> None:
    error = read(refusal(UpstreamError(reason, PRIVATE)))
    assert (error.severity, error.code) == ("FATAL", SQLSTATE[reason])
    refused = "the upstream server did not accept the login that the proxy is configured with"
    assert error.message == (refused if reason is Reason.UPSTREAM_LOGIN_REFUSED else UpstreamError.default_public)


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        (Reason.TOO_MANY_CONNECTIONS, "53300"),
        (Reason.SHUTTING_DOWN, "57P01"),
        (Reason.ACCESS_DENIED, "28000"),
        (Reason.AUTH_FAILED, "28P01"),
        (Reason.LOGIN_TIMEOUT, "57014"),
        (Reason.CONNECT_FAILED, "08001"),
        (Reason.UPSTREAM_CLOSED, "08006"),
        (Reason.UPSTREAM_LOGIN_REFUSED, "08006"),
        (Reason.BAD_MESSAGE, "08P01"),
    ],
)
def test_the_codes_that_drivers_act_upon(reason: Reason, code: str) -> None:
    assert read(refusal(AmbassadorError(reason, "x"))).code == code


@pytest.mark.parametrize(
    "error",
    [
        UpstreamError(Reason.CONNECT_FAILED, PRIVATE),
        UpstreamError(Reason.UPSTREAM_REJECTED, PRIVATE, code="53300"),
        UpstreamError(Reason.UPSTREAM_REJECTED, PRIVATE, code="XX000"),
        UpstreamError(Reason.UPSTREAM_LOGIN_REFUSED, PRIVATE, code="28P01"),
        CredentialError(Reason.NO_CREDENTIAL, PRIVATE),
        Overloaded(Reason.TOO_MANY_CONNECTIONS, PRIVATE),
        ClientError(Reason.ACCESS_DENIED, PRIVATE, public="no"),
    ],
)
def test_the_operator_s_words_are_told_only_when_they_may_be(error: AmbassadorError) -> None:
    assert b"10.0.0.7" not in refusal(error)
    assert b"orders_rw" not in refusal(error)
    assert read(refusal(error, reveal=True)).message == PRIVATE
    assert read(refusal(error, reveal=True)).code == read(refusal(error)).code


@pytest.mark.parametrize("code", ["3D000", "42501", "42704", "22023", "53300", "55000", "57P03"])
def test_what_a_client_can_act_upon_is_passed_on_in_words_of_ours(code: str) -> None:
    error = read(refusal(UpstreamError(Reason.UPSTREAM_REJECTED, PRIVATE, code=code)))
    assert error.code == code
    assert error.message != UpstreamError.default_public


@pytest.mark.parametrize("code", ["XX000", "28P01", "58000", None])
def test_other_codes_of_a_server_are_kept_from_clients(code: str | None) -> None:
    error = read(refusal(UpstreamError(Reason.UPSTREAM_REJECTED, PRIVATE, code=code)))
    assert (error.code, error.message) == ("08004", UpstreamError.default_public)


def test_a_code_counts_only_when_the_server_rejected() -> None:
    assert read(refusal(UpstreamError(Reason.UPSTREAM_LOGIN_REFUSED, PRIVATE, code="3D000"))).code == "08006"


def test_a_nul_byte_in_words_does_not_break_the_message() -> None:
    error = read(refusal(ClientError(Reason.ACCESS_DENIED, "x", public='no user "a\0b"')))
    assert error.message == 'no user "a\ufffdb"'


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        (Reason.DRAINED, "57P01"),
        (Reason.CUT, "57P01"),
        (Reason.IDLE_TIMEOUT, "57P05"),
        (Reason.IDLE_IN_TRANSACTION_TIMEOUT, "25P03"),
        (Reason.SESSION_TIMEOUT, "57P01"),
        (Reason.CREDENTIAL_ENDED, "57P01"),
        (Reason.UPSTREAM_CLOSED, "08006"),
    ],
)
def test_ends_that_are_nobody_s_error_are_told_too(reason: Reason, code: str) -> None:
    error = read(ending(reason))
    assert (error.severity, error.code) == ("FATAL", code)
    assert error.message


def test_the_end_of_a_credential_is_told_from_a_shutdown() -> None:
    assert "credential" in read(ending(Reason.CREDENTIAL_ENDED)).message
    assert "shutting down" not in read(ending(Reason.CREDENTIAL_ENDED)).message


def test_a_client_that_has_left_is_told_nothing() -> None:
    assert ending(Reason.CLIENT_CLOSED) == b""
