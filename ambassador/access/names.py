"""Rules about the names in a certificate: exact, or with one whole label or segment left open. Pure.

There are no regular expressions: an unescaped dot or a forgotten anchor would let strangers in, silently. And a rule
says which kind of name it means, because an authority may vouch for one kind and let its customers choose another.

    cn:orders-app             the subject's common name, when there is exactly one
    dns:orders.example.com    a DNS name; dns:*.example.com leaves the first label open
    uri:spiffe://td/ns/a/sa/b a URI; spiffe://td/ns/a/sa/* leaves one segment of the path open; never the authority
    email:app@example.com     an e-mail address; email:*@example.com leaves the local part open

`cn:` may be left out, and so may `uri:` where there is `://` and `email:` where there is `@`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ambassador.net.facts import PeerNames

Kind = Literal["cn", "dns", "uri", "email"]
KINDS: tuple[Kind, ...] = ("cn", "dns", "uri", "email")

_ANY = "*"
_SHAPES = {
    "cn": "a common name is not empty",
    "dns": "DNS names look like orders.example.com",
    "uri": "URIs look like spiffe://example.com/ns/orders/sa/app, with no empty segment",
    "email": "e-mail addresses look like app@example.com",
}


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule, taken apart: `parts` are compared one by one, and `*` stands for any one that is not empty."""

    kind: Kind
    parts: tuple[str, ...]

    def matches(self, names: PeerNames) -> str | None:
        """The name in a certificate that this rule speaks of; None without one."""
        return next((name for name in _names(self.kind, names) if self._fits(_split(self.kind, name))), None)

    def _fits(self, parts: tuple[str, ...]) -> bool:
        return len(parts) == len(self.parts) and all(
            bool(part) if wanted == _ANY else part == wanted for wanted, part in zip(self.parts, parts, strict=True)
        )


def parse(text: str) -> Rule:
    """Read a rule as an operator writes it.

    Raises:
        ValueError: it is none; the text says what is wrong.
    """
    kind, name = _kind(text)
    if not name or not name.isprintable():
        raise ValueError("a name is missing or not printable")
    parts = _split(kind, name)
    fixed, free = _places(kind, parts)
    if name.count(_ANY) > 1:
        raise ValueError('only one "*" is possible')
    if any(_ANY in part and part != _ANY for part in parts):
        raise ValueError('"*" stands for a whole label, segment or local part, not for a piece of one')
    if any(_ANY in part for part in fixed):
        raise ValueError(f'"*" cannot stand there: {free}')
    if not all(parts):
        raise ValueError(_SHAPES[kind])
    return Rule(kind, parts)


def _kind(text: str) -> tuple[Kind, str]:
    for kind in KINDS:
        if text.startswith(kind + ":"):
            return kind, text.removeprefix(kind + ":")
    if "://" in text:
        return "uri", text
    return ("email", text) if "@" in text else ("cn", text)


def _places(kind: Kind, parts: tuple[str, ...]) -> tuple[tuple[str, ...], str]:
    """The parts where `*` is not possible, and where it is, in words."""
    match kind:
        case "cn":
            return (), "it stands for a whole common name"
        case "dns":
            return parts[1:], "in a DNS name it is the first label"
        case "email":
            return parts[1:], "in an e-mail address it is the local part"
        case "uri":
            return parts[:2], "in a URI it is a segment of the path"


def _names(kind: Kind, names: PeerNames) -> tuple[str, ...]:
    match kind:
        case "cn":
            return () if names.common_name is None else (names.common_name,)
        case "dns":
            return names.dns
        case "uri":
            return names.uri
        case "email":
            return names.email


def _split(kind: Kind, name: str) -> tuple[str, ...]:
    """The parts of a name that are compared one by one; case is dropped where it means nothing."""
    match kind:
        case "cn":
            return (name,)
        case "dns":
            return tuple(name.lower().split("."))
        case "uri":
            scheme, found, rest = name.partition("://")
            return (scheme.lower(), *rest.split("/")) if found else ("", name)
        case "email":
            local, _, domain = name.rpartition("@")
            return (local, domain.lower())
