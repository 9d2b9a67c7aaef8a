"""Errors say who is to blame, in one word and in two voices."""

from __future__ import annotations

import re

import pytest

from ambassador.errors import (
    AmbassadorError,
    ClientError,
    ConfigError,
    CredentialError,
    Overloaded,
    Reason,
    UpstreamError,
)


@pytest.mark.parametrize("kind", [ClientError, ConfigError, CredentialError, Overloaded, UpstreamError])
def test_all_errors_raised_on_purpose_have_one_base(kind: type[Exception]) -> None:
    assert issubclass(kind, AmbassadorError)


@pytest.mark.parametrize("reason", Reason)
def test_reasons_are_fit_for_metric_labels(reason: Reason) -> None:
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", reason)
    assert reason == reason.name.lower()


def test_an_upstream_s_own_words_are_not_for_the_client() -> None:
    error = UpstreamError(Reason.UPSTREAM_LOGIN_REFUSED, "10.0.0.7:5432 refused user orders_rw", code="28P01")
    assert str(error) == "10.0.0.7:5432 refused user orders_rw"
    assert error.public == "the upstream service is not available"
    assert error.code == "28P01"
    assert error.reason is Reason.UPSTREAM_LOGIN_REFUSED


def test_an_upstream_s_error_may_be_made_public() -> None:
    assert UpstreamError(Reason.CONNECT_FAILED, "10.0.0.7 is down", public="no server").public == "no server"


def test_a_client_is_told_its_own_error() -> None:
    error = ClientError(Reason.BAD_MESSAGE, "a message of 2 GiB")
    assert error.public == "a message of 2 GiB"


def test_a_client_may_be_told_less() -> None:
    error = ClientError(Reason.AUTH_FAILED, "user app showed a wrong password", public="password authentication failed")
    assert error.public == "password authentication failed"
    assert str(error) == "user app showed a wrong password"


@pytest.mark.parametrize("kind", [CredentialError, Overloaded])
def test_the_public_text_is_the_type_s_unless_given(kind: type[AmbassadorError]) -> None:
    assert kind(Reason.SOURCE_FAILED, "orders-db: no such file").public == kind.default_public
    assert kind(Reason.SOURCE_FAILED, "orders-db: no such file", public="wait").public == "wait"


def test_a_configuration_error_knows_its_place() -> None:
    error = ConfigError("unknown key", file="ambassador.yaml", line=7)
    assert (error.reason, error.file, error.line) == (Reason.BAD_CONFIG, "ambassador.yaml", 7)
    assert error.public == "the proxy is misconfigured"
    assert (ConfigError("no file").file, ConfigError("no file").line) == (None, None)
