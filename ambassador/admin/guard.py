"""Who may ask what. Reading is for everyone who can reach the address; changing the daemon is not.

A browser is the operator's, and any page open in it can send requests to this machine. So a loopback address answers
to no foreign name (a name that was rebound to 127.0.0.1 arrives in `Host`), nothing is shared across origins, and
what changes the daemon takes the unix socket or a token that no page can know.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from ambassador.config.address import Address
from ambassador.telemetry.redaction import conceal

LONGEST_TOKEN = 4096
"""Bytes. A longer file is taken for a mistake."""

HOW = (
    "to change the daemon, ask through its unix socket (admin.listen: unix:/path), "
    "or set admin.token_file and send the header Authorization: Bearer TOKEN"
)
CLOSED = f"this address changes nothing: no token is set (admin.token_file is absent, empty or unreadable); {HOW}"
MISSING = f"the token is missing; {HOW}"
WRONG = "the token is wrong: send what admin.token_file of this daemon holds, as the header Authorization: Bearer TOKEN"
BROWSER = f"a web page may not change the daemon; {HOW}"
FOREIGN = (
    "this address answers to localhost, to its own name, and to IP addresses, and the Host header names none of them"
)


@dataclass(frozen=True, slots=True)
class Door:
    """An address the admin server answers at, as far as trust depends on it."""

    address: Address

    def knows(self, host: str | None) -> bool:
        """Whether a request with this `Host` header was meant for us. Beyond loopback, names are the network's."""
        if host is None or not self.address.is_loopback:
            return True
        name = _name(host)
        return name in {"localhost", (self.address.host or "").lower()} or _is_ip(name)


def refusal(door: Door, headers: Mapping[str, str], token: bytes | None) -> str | None:
    """Why this request may not change the daemon, in words that say how it may; None: it may.

    Args:
        headers: case-insensitive.
        token: what `admin.token_file` holds now; None when there is none.
    """
    if door.address.is_unix:
        return None  # mode 0600: the kernel has asked who it is
    if "Origin" in headers or headers.get("Sec-Fetch-Site", "none") != "none":
        return BROWSER
    if not token:
        return CLOSED
    scheme, _, shown = headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not shown.strip():
        return MISSING
    same = hmac.compare_digest(shown.strip().encode("utf-8", "surrogateescape"), token)
    return None if same else WRONG


def read_token(path: Path) -> bytes | None:
    """What the token file holds now, without surrounding space; None if it is missing, empty or too long.

    Read anew each time, so that a rotated Secret counts at once.
    """
    try:
        with path.open("rb") as file:
            text = file.read(LONGEST_TOKEN + 1)
    except OSError:
        return None
    token = text.strip()
    if not token or len(text) > LONGEST_TOKEN:
        return None
    conceal(token)
    return token


def _name(host: str) -> str:
    host = host.strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].rstrip(".")


def _is_ip(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
