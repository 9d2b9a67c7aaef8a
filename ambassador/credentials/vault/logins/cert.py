"""The client certificate of the TLS connection itself."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field

from ambassador.config.marks import Shown
from ambassador.config.model import Model, Need
from ambassador.config.vault import VaultPath
from ambassador.credentials.vault.http import Http
from ambassador.credentials.vault.logins.base import VaultLogin


class CertOptions(Model):
    """`cert:` of a Vault; the certificate is `cert` and `key` of its `tls`."""

    role: Annotated[str, Field(min_length=1), Shown()] | None = None
    """The role to log in with; without it Vault tries all that trust the certificate."""

    mount: VaultPath = "cert"
    """Where the auth method is mounted."""

    @property
    def needs(self) -> frozenset[Need]:
        return frozenset({"vault_certificate"})


class CertLogin(VaultLogin):
    """Has shown its certificate when the connection was made."""

    Options: ClassVar[type[Model]] = CertOptions
    options: CertOptions

    def log_in(self, http: Http) -> Any:
        named = {} if self.options.role is None else {"name": self.options.role}
        # hvac's own method insists on paths of certificate files.
        return http.adapter(None).login(f"/v1/auth/{self.options.mount}/login", use_token=False, json=named)

    def describe(self) -> str:
        return "cert" if self.options.role is None else f"cert role {self.options.role}"
