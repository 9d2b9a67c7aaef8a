"""What can go wrong at a Vault, in one word, and in a sentence that holds no secret."""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum, unique
from typing import Final

import requests
from hvac import exceptions
from urllib3.exceptions import ProtocolError, ReadTimeoutError

from ambassador.errors import CredentialError, Reason
from ambassador.kit.printable import printable
from ambassador.net.engine import explain
from ambassador.telemetry.redaction import MASK, reveal_nothing

_TOKEN: Final = re.compile(r"\b(hv[bsr]|[bsr])\.[\w-]{16,}", re.ASCII)
"""How a Vault's tokens begin, also those that are not ours."""

LONGEST: Final = 200
"""Characters of a Vault's own words that are passed on."""


@unique
class Kind(StrEnum):
    """What kind of failure; the label `result` of the metrics. A closed list.

    They follow a request on its way: there is something to log in with, the Vault is reached, it is trusted, it is
    awake, it lets us, it has what we want, and says so in words we understand.
    """

    NOT_READY = "not_ready"
    UNREACHABLE = "unreachable"
    TLS = "tls"
    TIMEOUT = "timeout"
    SEALED = "sealed"
    BUSY = "busy"
    DENIED = "denied"
    MISSING = "missing"
    REJECTED = "rejected"
    FAILED = "failed"
    MALFORMED = "malformed"


AWAY: Final = frozenset({Kind.UNREACHABLE, Kind.TLS, Kind.TIMEOUT, Kind.SEALED, Kind.BUSY})
"""Kinds that say nothing of what was asked: another time the answer may be yes."""

_BY_STATUS: Final = (
    (exceptions.VaultNotInitialized, Kind.SEALED),
    (exceptions.VaultDown, Kind.SEALED),
    (exceptions.RateLimitExceeded, Kind.BUSY),
    (exceptions.Forbidden, Kind.DENIED),
    (exceptions.Unauthorized, Kind.DENIED),
    (exceptions.InvalidPath, Kind.MISSING),
    (exceptions.InvalidRequest, Kind.REJECTED),
    (exceptions.UnsupportedOperation, Kind.REJECTED),
    (exceptions.ParamValidationError, Kind.REJECTED),
    (exceptions.VaultError, Kind.FAILED),
)

_WORDS: Final = {
    Kind.SEALED: "is sealed, not initialised, or in maintenance",
    Kind.BUSY: "has had too many requests of ours (its rate limit)",
    Kind.DENIED: "denied it: no policy of our token allows this, or the token is no longer good",
    Kind.MISSING: "has nothing there: check mount, path (of KV: without data/) or role, and version",
    Kind.REJECTED: "refused the request",
    Kind.FAILED: "failed at it",
}

LOGIN_WORDS: Final = {
    Kind.DENIED: "refused the login: check mount, role and what is shown there, and the namespace",
    Kind.MISSING: "has no such way to log in: check mount and namespace",
    Kind.REJECTED: "refused the login",
}
"""In the place of those where it was a login: nothing of ours was denied yet but what we showed."""

TOKEN_WORDS: Final = {
    Kind.DENIED: "refused the token: it has ended, was revoked, or is one of another namespace",
}
"""The same where what we showed is a token already."""

_NO_TLS: Final = {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST"}
"""OpenSSL's reasons where the other side speaks no TLS."""


class VaultError(CredentialError):
    """A request to a Vault failed.

    Args:
        vault: what the configuration calls it.
        doing: what was asked of it: "read secret/app".
    """

    def __init__(self, kind: Kind, vault: str, doing: str, words: str) -> None:
        super().__init__(Reason.SOURCE_FAILED, f"vault {vault!r}, to {doing}: {words}")
        self.kind = kind
        self.told = (vault, doing, words)

    def says(self, *phrases: str) -> bool:
        """Whether any of these phrases is in what the Vault answered."""
        return any(phrase in self.told[2] for phrase in phrases)


class TooLong(Exception):
    """A whole answer took longer than it may, or is larger."""


def malformed(vault: str, doing: str, what: str) -> VaultError:
    """The answer lacks something, `what`."""
    return VaultError(Kind.MALFORMED, vault, doing, f"its answer has no usable {what}")


def explained(
    error: Exception, *, vault: str, address: str, doing: str, words: Mapping[Kind, str] | None = None
) -> VaultError:
    """Our own error for what hvac or requests raised. It does not carry theirs along, which may quote what was sent.

    Args:
        words: what to say of some kinds instead of what is said of a request: `LOGIN_WORDS`, `TOKEN_WORDS`.
    """
    kind, told = _said(error, words or {}) if isinstance(error, exceptions.VaultError) else _beneath(error)
    return VaultError(kind, vault, doing, f"{address} {told}")


def _said(error: exceptions.VaultError, instead: Mapping[Kind, str]) -> tuple[Kind, str]:
    """What a Vault itself answered."""
    kind = next(kind for type_, kind in _BY_STATUS if isinstance(error, type_))
    words = instead.get(kind, _WORDS[kind])
    quoted = _quoted(error)
    # Its own words say more than our advice.
    return kind, (words.partition(":")[0] if instead and quoted else words) + quoted


def _beneath(error: Exception) -> tuple[Kind, str]:
    """What happened on the way."""
    causes = list(_chain(error))
    if (cut := next((cause for cause in causes if isinstance(cause, TooLong)), None)) is not None:
        return Kind.TIMEOUT, str(cut)
    if any(isinstance(cause, (requests.Timeout, ReadTimeoutError, TimeoutError)) for cause in causes):
        return Kind.TIMEOUT, "gave no answer in time"
    if (doubt := next((cause for cause in causes if isinstance(cause, ssl.SSLError)), None)) is not None:
        hint = " (does it speak TLS at all? then the address begins with http://)" if _reason(doubt) in _NO_TLS else ""
        return Kind.TLS, f"is not trusted: {explain(doubt)}{hint}"
    if isinstance(error, (requests.ConnectionError, ProtocolError)):
        reason = next((cause.strerror for cause in causes if isinstance(cause, OSError) and cause.strerror), None)
        return Kind.UNREACHABLE, _unreached(error, causes) + (f": {reason}" if reason else "")
    if isinstance(error, requests.TooManyRedirects):
        return Kind.FAILED, "leads to another address, which is not followed: name the active node, or what finds it"
    return Kind.MALFORMED, "does not answer as a Vault does"


def _unreached(error: Exception, causes: Sequence[BaseException]) -> str:
    """How far a request has come whose connection is gone."""
    if isinstance(error, ProtocolError):
        return "broke off its answer"
    if any(isinstance(cause, (ConnectionResetError, BrokenPipeError)) for cause in causes):
        return "closed the connection without an answer"
    return "cannot be reached"


def _reason(error: ssl.SSLError) -> str | None:
    """OpenSSL's name for it; errors that Python makes have none."""
    return getattr(error, "reason", None)


def _quoted(error: exceptions.VaultError) -> str:
    """The first of a Vault's own words, cut to length: they tell a wrong role from a wrong mount."""
    told = error.errors
    first = told[0] if isinstance(told, (list, tuple)) and told else told
    if not isinstance(first, str) or not first.strip():
        return ""
    # Several lines, of which the first only counts the others: "1 error occurred:\n\t* permission denied\n\n".
    lines = [line.strip(" \t*") for line in first.splitlines()]
    text = "; ".join(line for line in lines if line and not line.endswith("occurred:"))
    text = printable(_TOKEN.sub(MASK, reveal_nothing(text)))
    return f": {text[:LONGEST]}" if text and text != "permission denied" else ""


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and what lies beneath it, which requests and urllib3 keep as arguments and as `reason`."""
    seen: set[int] = set()
    waiting: list[object] = [error]
    while waiting:
        one = waiting.pop(0)
        if not isinstance(one, BaseException) or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        waiting += [getattr(one, "reason", None), one.__cause__, one.__context__, *one.args]
