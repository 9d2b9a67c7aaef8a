"""TLS settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from ambassador.config.tls import Certificate, ClientTls, ServerTls


def refused(model: type[ClientTls | ServerTls], data: dict[str, Any]) -> str:
    with pytest.raises(ValidationError) as caught:
        model.model_validate(data)
    return model.explain(caught.value)[0][1]


def test_an_upstream_is_verified_in_full_unless_told_otherwise() -> None:
    assert ClientTls().mode == "verify-full"
    assert ClientTls().min_version == "1.2"


def test_there_is_no_prefer() -> None:
    assert refused(ClientTls, {"mode": "prefer"}) == "must be 'disable', 'require', 'verify-ca' or 'verify-full'"


@pytest.mark.parametrize("half", [{"cert": "/c"}, {"key": "/k"}])
def test_a_client_certificate_needs_both_halves(half: dict[str, str]) -> None:
    assert refused(ClientTls, half) == "a client certificate needs both cert and key"


def test_a_client_certificate_has_one_origin() -> None:
    assert "keep one" in refused(ClientTls, {"cert": "/c", "key": "/k", "credential": "client"})


@pytest.mark.parametrize("version", ["1.3", 1.3])
def test_versions_may_be_written_without_quotes(version: Any) -> None:
    assert ClientTls.model_validate({"min_version": version}).min_version == "1.3"


@pytest.mark.parametrize("version", ["1.1", 1.1, 1, None, [], {}])
def test_broken_versions_are_refused(version: Any) -> None:
    assert refused(ClientTls, {"min_version": version}) == "must be '1.2' or '1.3'"


def test_a_server_has_a_certificate_and_demands_tls() -> None:
    tls = ServerTls(cert=Path("/c"), key=Path("/k"))
    assert tls.mode == "require"
    assert tls.sni == {}


@pytest.mark.parametrize("half", [{"cert": "/c"}, {"key": "/k"}, {"cert": "/c", "credential": "c"}])
def test_a_server_s_certificate_needs_both_halves(half: dict[str, str]) -> None:
    assert refused(ServerTls, half) == "a certificate needs both cert and key"


def test_a_server_s_certificate_may_come_from_a_credential() -> None:
    tls = ServerTls(credential="cert")
    assert (tls.cert, tls.key, tls.credential) == (None, None, "cert")


@pytest.mark.parametrize("data", [{}, {"cert": "/c", "key": "/k", "credential": "cert"}])
def test_a_server_s_certificate_has_one_origin(data: dict[str, str]) -> None:
    text = "say where the certificate is: in the files cert and key, or in a credential"
    assert refused(ServerTls, data) == text


def test_further_certificates_go_by_server_name() -> None:
    tls = ServerTls.model_validate({"cert": "/c", "key": "/k", "sni": {"*.Example.com": {"cert": "/d", "key": "/l"}}})
    assert tls.sni == {"*.example.com": Certificate(cert=Path("/d"), key=Path("/l"))}


@pytest.mark.parametrize("name", ["", "*", "*.", "a.*", "*.*.a", "a/b", "ü.example", "a\n", "x" * 254])
def test_what_is_no_server_name_is_refused(name: str) -> None:
    assert "server names look like" in refused(ClientTls, {"server_name": name})
