"""The process at the other end of a unix socket."""

from __future__ import annotations

import grp
import os
import pwd
import socket
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from ambassador.access.base import Claim, Principal, Proven, Refused
from ambassador.access.peer import PeerOptions, PeerUser
from ambassador.credentials.store import Store
from ambassador.net import peer
from ambassador.net.peer import Peer

USERS = {1000: "app", 1001: "web", 1002: "1000"}
GROUPS = {2000: "staff"}


@pytest.fixture(autouse=True)
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name service of this test's own."""
    monkeypatch.setattr(pwd, "getpwuid", lambda uid: SimpleNamespace(pw_name=USERS[uid]))
    monkeypatch.setattr(grp, "getgrgid", lambda gid: SimpleNamespace(gr_name=GROUPS[gid]))


async def verdict(rules: Mapping[str, Any], user: str | None, uid: int = 1000, gid: int = 2000) -> object:
    options = PeerOptions.model_validate(rules)
    return await PeerUser(options, Store()).identify(Claim(user, Peer("unix:", uid=uid, gid=gid, pid=1)))


APP, WEB = Proven(Principal("app", "peer")), Proven(Principal("web", "peer"))


@pytest.mark.parametrize(
    ("rules", "user", "uid", "gid", "answer"),
    [
        ({}, "app", 1000, 2000, APP),
        ({}, "web", 1001, 9, WEB),
        ({"users": {"app": ["orders", "reports"]}}, "reports", 1000, 2000, APP),
        ({"users": {"1000": "*"}}, "anybody", 1000, 2000, APP),
        ({"users": {"1000": "*"}}, None, 1000, 2000, APP),
        ({"users": {"web": "a", "app": "b"}}, "b", 1000, 2000, APP),
        ({"groups": {"staff": "orders"}}, "orders", 1001, 2000, WEB),
        ({"groups": {"2000": "orders"}}, "orders", 1000, 2000, APP),
        ({"groups": {"2001": "orders"}}, "orders", 1000, 2001, APP),
        ({"users": {"4242": "orders"}}, "orders", 4242, 2000, Proven(Principal("4242", "peer"))),
    ],
)
async def test_a_process_may_be_the_users_its_rules_name(
    rules: Mapping[str, Any], user: str | None, uid: int, gid: int, answer: object
) -> None:
    assert await verdict(rules, user, uid, gid) == answer


@pytest.mark.parametrize(
    ("rules", "user", "uid", "gid"),
    [
        ({}, "web", 1000, 2000),
        ({}, "", 1000, 2000),
        ({}, "4242", 4242, 2000),
        ({"users": {"app": "orders"}}, "app", 1000, 2000),
        ({"users": {"app": "orders"}}, "", 1000, 2000),
        ({"users": {"app": "orders"}}, "orders", 1001, 2000),
        ({"users": {"app": "orders"}}, None, 1001, 2000),
        # Digits are a number: the system user who is named "1000" has the number 1002.
        ({"users": {"1000": "*"}}, "orders", 1002, 2000),
        ({"groups": {"staff": "orders"}}, "orders", 1000, 2001),
        ({"groups": {"app": "orders"}}, "orders", 1000, 2000),
    ],
)
async def test_every_other_process_is_refused(rules: Mapping[str, Any], user: str | None, uid: int, gid: int) -> None:
    found = await verdict(rules, user, uid, gid)
    assert isinstance(found, Refused)
    assert f"uid {uid}" in found.reason


async def test_without_rules_a_protocol_without_users_lets_nobody_in() -> None:
    found = await verdict({}, None)
    assert isinstance(found, Refused)
    assert "needs rules" in found.reason


async def test_one_who_comes_over_tcp_is_refused() -> None:
    claim = Claim("app", Peer("127.0.0.1:5", "127.0.0.1", 5))
    found = await PeerUser(PeerOptions(users={"1000": ("*",)}), Store()).identify(claim)
    assert isinstance(found, Refused)
    assert "not at a unix socket" in found.reason


async def test_this_very_process_is_known_by_its_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs:
        claim = Claim("orders", peer.remote(ours))
    uid, gid = os.getuid(), os.getgid()
    for rules in ({"users": {str(uid): ("orders",)}}, {"users": {str(uid): "*"}}, {"groups": {str(gid): "*"}}):
        found = await PeerUser(PeerOptions.model_validate(rules), Store()).identify(claim)
        assert isinstance(found, Proven)
    assert isinstance(await PeerUser(PeerOptions(users={str(uid + 1): ("*",)}), Store()).identify(claim), Refused)


def test_it_needs_a_unix_socket() -> None:
    assert PeerOptions(users={"app": ("*",)}).needs == {"unix_sockets"}


def test_without_rules_it_needs_clients_that_say_who_they_want_to_be() -> None:
    assert PeerOptions().needs == {"unix_sockets", "user_names"}
