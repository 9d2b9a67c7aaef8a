from __future__ import annotations

import secrets
from pathlib import Path

import pytest
from multidict import CIMultiDict

from ambassador.admin.guard import BROWSER, CLOSED, LONGEST_TOKEN, MISSING, WRONG, Door, read_token, refusal
from ambassador.config.address import Address
from ambassador.telemetry.redaction import reveal_nothing

LOOPBACK = Door(Address.parse("127.0.0.1:9901"))
UNIX = Door(Address.parse("unix:/run/admin.sock"))
EVERYWHERE = Door(Address.parse("0.0.0.0:9901"))
TOKEN = b"correct horse battery"


@pytest.mark.parametrize(
    "host",
    [
        None,
        "localhost",
        "LOCALHOST:9901",
        "localhost.:9901",
        "127.0.0.1",
        "127.0.0.1:18080",
        "[::1]:9901",
        "[::1]",
        "10.1.2.3",
    ],
)
def test_a_loopback_address_answers_to_localhost_and_to_ip_addresses(host: str | None) -> None:
    assert LOOPBACK.knows(host)


@pytest.mark.parametrize("host", ["evil.example:9901", "", "localhost.evil.example", "127.0.0.1.evil.example", "a b"])
def test_a_loopback_address_does_not_answer_to_a_name_that_was_rebound_to_it(host: str) -> None:
    assert not LOOPBACK.knows(host)


def test_a_name_that_the_operator_configured_is_known() -> None:
    assert Door(Address.parse("localhost:1")).knows("localhost:1")


@pytest.mark.parametrize("door", [UNIX, EVERYWHERE])
def test_where_names_are_not_ours_to_know_any_is_answered(door: Door) -> None:
    assert door.knows("ambassador.team-a.svc:9901")


def test_the_unix_socket_needs_no_token() -> None:
    assert refusal(UNIX, {}, None) is None
    assert refusal(UNIX, {}, TOKEN) is None


@pytest.mark.parametrize("door", [LOOPBACK, EVERYWHERE])
@pytest.mark.parametrize("shown", ["Bearer correct horse battery", "bearer  correct horse battery "])
def test_the_right_token_opens(door: Door, shown: str) -> None:
    assert refusal(door, CIMultiDict({"authorization": shown}), TOKEN) is None


@pytest.mark.parametrize(
    ("headers", "token", "reason"),
    [
        ({}, None, CLOSED),
        ({"Authorization": "Bearer anything"}, None, CLOSED),
        ({"Authorization": "Bearer "}, b"", CLOSED),
        ({}, TOKEN, MISSING),
        ({"Authorization": "Bearer"}, TOKEN, MISSING),
        ({"Authorization": "Basic Y29ycmVjdA=="}, TOKEN, MISSING),
        ({"Authorization": "Bearer wrong"}, TOKEN, WRONG),
        ({"Authorization": "Bearer correct horse batterY"}, TOKEN, WRONG),
        ({"Authorization": "Bearer caf\udce9"}, TOKEN, WRONG),
        ({"Authorization": "Bearer correct horse battery", "Origin": "http://evil.example"}, TOKEN, BROWSER),
        ({"Authorization": "Bearer correct horse battery", "Origin": "null"}, TOKEN, BROWSER),
        ({"Authorization": "Bearer correct horse battery", "Sec-Fetch-Site": "same-origin"}, TOKEN, BROWSER),
    ],
)
def test_everything_else_is_refused_with_the_reason(headers: dict[str, str], token: bytes | None, reason: str) -> None:
    assert refusal(LOOPBACK, CIMultiDict(headers), token) == reason


@pytest.mark.parametrize("reason", [CLOSED, MISSING, WRONG, BROWSER])
def test_a_refusal_says_how_to_do_it_right(reason: str) -> None:
    assert "admin.token_file" in reason
    assert "Authorization: Bearer TOKEN" in reason


def test_the_token_is_what_the_file_holds_now_without_space_around_it(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(" first-token\n")
    assert read_token(file) == b"first-token"
    file.write_text("second-token")
    assert read_token(file) == b"second-token"


def test_the_token_is_masked_in_logs_once_it_was_read(tmp_path: Path) -> None:
    token = secrets.token_hex(8)
    (tmp_path / "token").write_text(token)
    read_token(tmp_path / "token")
    assert reveal_nothing(f"token {token}") == "token ***"


@pytest.mark.parametrize("content", [b"", b" \n\t", b"x" * (LONGEST_TOKEN + 1)])
def test_a_file_that_holds_no_token_closes_the_door(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "token").write_bytes(content)
    assert read_token(tmp_path / "token") is None


def test_a_file_that_is_not_there_or_is_a_directory_closes_the_door(tmp_path: Path) -> None:
    assert read_token(tmp_path / "none") is None
    assert read_token(tmp_path) is None
