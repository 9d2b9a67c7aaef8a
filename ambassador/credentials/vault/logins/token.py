"""A token that somebody hands to us in an environment variable; for development, and for what is short-lived."""

from __future__ import annotations

from typing import Any, ClassVar

from ambassador.config.model import Model
from ambassador.config.types import VariableName
from ambassador.credentials.vault.http import Http
from ambassador.credentials.vault.logins.base import VaultLogin, look_up, secret_from


class TokenOptions(Model):
    """`token:` of a Vault."""

    env: VariableName = "VAULT_TOKEN"
    """Name of the environment variable with the token. It is renewed, and never revoked: it is not ours."""


class TokenLogin(VaultLogin):
    """Looks up what it was given."""

    Options: ClassVar[type[Model]] = TokenOptions
    options: TokenOptions
    ours = False

    def log_in(self, http: Http) -> Any:
        return look_up(http, secret_from(self.options.env, None))

    def describe(self) -> str:
        return f"token of {self.options.env}"
