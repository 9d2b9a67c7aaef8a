"""Settings of one Vault: where it is, how it is verified, how we log in."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from ambassador import registry
from ambassador.config.address import Address
from ambassador.config.keyed import Keyed
from ambassador.config.marks import Shown
from ambassador.config.model import Model
from ambassador.config.tls import ServerCheck
from ambassador.config.types import Timeout

_ROLE = re.compile(r"\w([\w.@-]*\w)?", re.ASCII)
_PATH = re.compile(r"[A-Za-z0-9_.@+-]+(?:/[A-Za-z0-9_.@+-]+)*\Z", re.ASCII)


def _url(value: str) -> str:
    try:
        parts = urlsplit(value)
        well_formed = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        well_formed = False
    if (
        not well_formed
        or parts.scheme not in {"http", "https"}
        or parts.path.strip("/")
        or parts.query
        or parts.fragment
        or "@" in parts.netloc
        or not value.isascii()
        or not value.isprintable()
        or " " in value
    ):
        raise ValueError("addresses of a Vault look like https://vault.example.com:8200")
    return value.rstrip("/")


def vault_path(value: str) -> str:
    """A path below `/v1`, without the slashes around it; nothing in it could lead elsewhere."""
    path = value.strip("/")
    if not _PATH.match(path) or any(part.strip(".") == "" for part in path.split("/")):
        raise ValueError("paths in a Vault are made of letters, digits and _ . @ + - between slashes")
    return path


VaultUrl = Annotated[str, AfterValidator(_url), Shown()]


def vault_role(value: str) -> str:
    """The last part of a path: no role's name has a slash, or begins or ends with a dot."""
    if not _ROLE.fullmatch(value):
        raise ValueError("roles of a Vault are made of letters, digits and _, with . @ - between; a path goes to mount")
    return value


VaultPath = Annotated[str, AfterValidator(vault_path), Shown()]
VaultRole = Annotated[str, AfterValidator(vault_role), Shown()]


class VaultTls(ServerCheck):
    """How a Vault is verified, always in full: its certificate's chain and its name."""

    mode: ClassVar[Literal["verify-full"]] = "verify-full"


class VaultAuthSettings(Keyed):
    """How we prove to a Vault who we are."""

    table: ClassVar[registry.Table] = "vault_logins"
    kind_field: ClassVar[str] = "method"
    noun: ClassVar[str] = "way to log in"
    wary: ClassVar[bool] = True

    method: str
    """The auth method: a name of the registry's table of Vault logins."""

    options: Model
    """Its own settings."""


class VaultSettings(Model):
    """A HashiCorp Vault or OpenBao that credentials come from."""

    address: VaultUrl
    """Where it is: `https://vault.example.com:8200`. Proxies named in the environment are not used."""

    auth: VaultAuthSettings
    """How we log in there."""

    namespace: Annotated[str, Field(min_length=1), AfterValidator(vault_path), Shown()] | None = None
    """Namespace of all requests, the login included."""

    tls: VaultTls = VaultTls()
    """How its certificate is verified."""

    timeout: Timeout = 10.0
    """Longest time one request may take, from its connection to the last byte of the answer. A storage backend that
    is slow for some seconds is still waited for."""

    revoke: bool = True
    """Whether leases are revoked once nothing uses them, and at shutdown together with the token we logged in for.
    Without it they live in the Vault until they end, and so do their database users."""

    allow_cleartext: bool = False
    """Whether `http://` may lead beyond this machine. Token and secrets can be read on the way then."""

    @property
    def is_cleartext(self) -> bool:
        """Whether nothing is encrypted."""
        return self.address.startswith("http://")

    @model_validator(mode="after")
    def _protected(self) -> Self:
        host = urlsplit(self.address).hostname or ""
        if self.is_cleartext and not self.allow_cleartext and not Address(host, 0).is_loopback:
            raise ValueError("this address is not encrypted: write https://, or allow_cleartext: true to mean it")
        if self.is_cleartext and self.tls != VaultTls():
            raise ValueError("tls does nothing for an address with http://: write https://")
        if "vault_certificate" in self.auth.options.needs and self.tls.cert is None:
            raise ValueError("this way to log in shows a client certificate: add cert and key to tls")
        return self
