"""What the Vault that is none knows; that it says so as a real one does is `tests/contract`'s."""

from __future__ import annotations

from typing import Any

from tests.support.fake_vault_answers import Request, Said, frame
from tests.support.fake_vault_contents import Contents


def furnished() -> tuple[Contents, str]:
    """Something to lend, and a token."""
    contents = Contents()
    contents.lenders["database/creds/app"] = ("GET", lend)
    return contents, contents.issue("auth/token/create", 10, 20, renewable=True)


def lend(contents: Contents, request: Request) -> Said:
    """A lease of ten seconds."""
    lease = contents.lend(request.path, 10, 20, renewable=True, owner=request.token)
    return 200, frame({}) | {"lease_id": lease}


def ask(contents: Contents, token: str, path: str, after: float = 0.0, **body: Any) -> Said:
    """A request so many seconds from now."""
    method = "GET" if "/creds/" in path else "POST"
    request = Request(method, path, token, "", "", body)
    return contents.answer(Request(method, path, token, "", "", body, request.time + after))


def test_a_lease_ends_with_its_time() -> None:
    contents, token = furnished()
    contents.tokens[token].ends += 100
    _, said = ask(contents, token, "database/creds/app")
    assert said is not None
    assert ask(contents, token, "sys/leases/renew", 5, lease_id=said["lease_id"])[0] == 200
    assert ask(contents, token, "sys/leases/renew", 14, lease_id=said["lease_id"])[0] == 200
    assert ask(contents, token, "sys/leases/renew", 21, lease_id=said["lease_id"])[0] == 400
    assert contents.leases == {}


def test_a_lease_ends_with_its_token() -> None:
    contents, token = furnished()
    ask(contents, token, "database/creds/app")
    assert len(contents.leases) == 1
    assert ask(contents, token, "auth/token/revoke-self", 11) == (403, {"errors": ["permission denied"]})
    assert (contents.leases, contents.tokens) == ({}, {})


def test_what_is_denied_is_denied_to_everybody() -> None:
    contents, token = furnished()
    contents.denied = {"database/"}
    assert ask(contents, token, "database/creds/app")[0] == 403
    assert contents.leases == {}


def test_nobody_is_answered_when_it_is_sealed() -> None:
    contents, token = furnished()
    contents.sealed = True
    assert ask(contents, token, "database/creds/app") == (503, {"errors": ["Vault is sealed"]})
    assert contents.answer(Request("GET", "sys/health", "", ""))[0] == 503
