"""A token: what a login at a Vault gives us, and for how long."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, final

from hvac.adapters import JSONAdapter

from ambassador.credentials.secret import Secret
from ambassador.credentials.term import Term
from ambassador.credentials.vault.answers import seconds

SHORTEST: Final = 1.0
"""Seconds; one that is good for less would have us log in without a pause."""


@final
class Token:
    """What a login gave us, and the parent of every lease that was asked for with it.

    Whoever holds on to it sees its term grow with each renewal.

    Args:
        secret: the token itself.
        term: how long it is good.
        ours: we logged in for it, so we revoke it in the end.
        final: nobody can renew it, neither we nor whoever gave it to us.

    Attributes:
        trouble: why it could not be renewed or replaced, None when nothing is known to be wrong.
        replaced: another is used now, so nobody will renew this one.
    """

    __slots__ = ("final", "ours", "replaced", "secret", "term", "trouble")

    def __init__(self, secret: Secret, term: Term, *, ours: bool, final: bool = False) -> None:
        self.secret = secret
        self.term = term
        self.ours = ours
        self.final = final
        self.trouble: str | None = None
        self.replaced = False

    @property
    def ends_at(self) -> float:
        """When what came with it ends; infinite while it is kept alive."""
        is_bounded = self.final or self.replaced or self.trouble is not None
        return self.term.ends_at if is_bounded else float("inf")

    @property
    def lifetime(self) -> str:
        """Its term in words, for the log."""
        return "endless" if self.term.duration == float("inf") else f"{self.term.duration:g} s"

    def renew(self, ttl: float, now: float) -> None:
        """Its next term has begun."""
        self.term = self.term.renewed(ttl, now)


def from_auth(auth: Mapping[str, Any], *, now: float, renews: bool, ours: bool) -> Token | None:
    """The token in the `auth` block of a login's answer; None when it is not what a Vault says.

    Args:
        renews: whether it is for us to renew it.
    """
    secret, ttl = auth.get("client_token"), seconds(auth.get("lease_duration"))
    # It becomes a header: nothing in it may end one.
    if not isinstance(secret, str) or not secret or not secret.isascii() or not secret.isprintable():
        return None
    if ttl is None or 0 < ttl < SHORTEST:
        return None
    # 0: it never ends (a root token).
    renewable = auth.get("renewable") is True
    term = Term(granted_at=now, duration=ttl or float("inf"), renewable=renews and renewable)
    return Token(Secret(secret), term, ours=ours, final=not renewable)


def renew_self(adapter: JSONAdapter) -> Any:
    """Ask for the next term of the token that is shown."""
    return adapter.post("/v1/auth/token/renew-self", json={})


def revoke_self(adapter: JSONAdapter) -> Any:
    """Have the token that is shown forgotten, and all that came with it."""
    return adapter.post("/v1/auth/token/revoke-self", json={})
