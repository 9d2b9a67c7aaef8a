"""A JSON Web Token that somebody keeps in a file: a CI job's, a SPIFFE helper's."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar

from hvac.api.auth_methods import JWT
from pydantic import Field

from ambassador.config.marks import Shown
from ambassador.config.model import Model
from ambassador.config.vault import VaultPath
from ambassador.credentials.vault.http import Http
from ambassador.credentials.vault.logins.base import VaultLogin, secret_in, shown


class JwtOptions(Model):
    """`jwt:` of a Vault."""

    role: Annotated[str, Field(min_length=1), Shown()]
    """The role of Vault's auth method."""

    token_file: Path
    """The file with the JSON Web Token, read anew at every login."""

    mount: VaultPath = "jwt"
    """Where the auth method is mounted."""


class JwtLogin(VaultLogin):
    """Shows the JSON Web Token."""

    Options: ClassVar[type[Model]] = JwtOptions
    options: JwtOptions

    def log_in(self, http: Http) -> Any:
        jwt = shown(secret_in(self.options.token_file))
        login = JWT(http.adapter(None)).jwt_login
        return login(role=self.options.role, jwt=jwt, use_token=False, path=self.options.mount)

    def describe(self) -> str:
        return f"jwt role {self.options.role}"
