"""TlsFacts: what a TLS handshake settled, and what the peer's certificate says."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from typing import Any

from ambassador.net import certificate

_SHORT = {
    "commonName": "CN",
    "countryName": "C",
    "domainComponent": "DC",
    "localityName": "L",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "stateOrProvinceName": "ST",
    "streetAddress": "STREET",
    "userId": "UID",
}
"""Attribute names as RFC 4514, section 3, writes them; others stay as OpenSSL calls them."""

_SPECIAL = frozenset(',+"\\<>;=')


class Connection(ssl.SSLObject):
    """An SSLObject that remembers which name its client asked for; see `ServerContexts`."""

    sni: str | None = None


class Context(ssl.SSLContext):
    """An SSLContext that knows its own leaf certificate (DER), which Python's does not tell."""

    certificate: bytes | None = None


@dataclass(frozen=True, slots=True)
class PeerNames:
    """Whom a verified certificate names.

    `subject` is the distinguished name as RFC 4514 writes it, most specific part first. `common_name` is None unless
    there is exactly one: with several it is not clear which of them was meant.
    """

    subject: str
    common_name: str | None
    dns: tuple[str, ...]
    uri: tuple[str, ...]
    email: tuple[str, ...]
    ip: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TlsFacts:
    """One TLS connection. Facts are taken from OpenSSL when they are asked for."""

    _object: ssl.SSLObject = field(repr=False)

    @property
    def version(self) -> str:
        """`TLSv1.2` or `TLSv1.3`."""
        return self._object.version() or "unknown"

    @property
    def cipher(self) -> str:
        """The cipher suite's name."""
        cipher = self._object.cipher()
        return cipher[0] if cipher else "unknown"

    @property
    def alpn(self) -> str | None:
        """The application protocol both sides agreed on (RFC 7301)."""
        return self._object.selected_alpn_protocol()

    @property
    def sni(self) -> str | None:
        """The server name the client asked for: of a client of ours, or what we asked for."""
        if isinstance(self._object, Connection) and self._object.server_side:
            return self._object.sni
        return self._object.server_hostname

    @property
    def peer_certificate(self) -> bytes | None:
        """The peer's certificate (DER), verified or not; None when it showed none."""
        return self._object.getpeercert(binary_form=True)

    @property
    def own_certificate(self) -> bytes | None:
        """The certificate (DER) we showed, or would show if asked; None without one."""
        context = self._object.context
        return context.certificate if isinstance(context, Context) else None

    def server_end_point(self) -> bytes | None:
        """`tls-server-end-point` of the server's certificate (RFC 5929); None where it is not defined."""
        der = self.own_certificate if self._object.server_side else self.peer_certificate
        return None if der is None else certificate.server_end_point(der)

    def peer_names(self) -> PeerNames | None:
        """Whom the peer's certificate names; None when it showed none or nobody verified it."""
        # Any is what typeshed makes of the values; it is a dict of tuples, and empty for an unverified certificate.
        facts: dict[str, Any] | None = self._object.getpeercert()
        if not facts:
            return None
        pairs = [pair for part in facts.get("subject", ()) for pair in part]
        common = [value for name, value in pairs if name == "commonName"]
        others: tuple[tuple[str, str], ...] = facts.get("subjectAltName", ())
        return PeerNames(
            subject=_subject(facts.get("subject", ())),
            common_name=common[0] if len(common) == 1 else None,
            dns=_values(others, "DNS"),
            uri=_values(others, "URI"),
            email=_values(others, "email"),
            ip=_values(others, "IP Address"),
        )


def _values(names: tuple[tuple[str, str], ...], kind: str) -> tuple[str, ...]:
    return tuple(value for name, value in names if name == kind)


def _subject(parts: tuple[tuple[tuple[str, str], ...], ...]) -> str:
    return ",".join(
        "+".join(f"{_SHORT.get(name, name)}={_escaped(value)}" for name, value in part) for part in parts[::-1]
    )


def _escaped(value: str) -> str:
    """An attribute's value as RFC 4514, section 2.4, writes it."""
    text = "".join("\\" + char if char in _SPECIAL else "\\00" if char == "\0" else char for char in value)
    if text.startswith((" ", "#")):
        text = "\\" + text
    if text.endswith(" ") and len(value) > 1:
        text = text[:-1] + "\\ "
    return text
