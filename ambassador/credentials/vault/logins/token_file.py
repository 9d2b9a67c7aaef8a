"""A token that others keep in a file and renew: Vault Agent's sink, for one."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from ambassador.config.model import Model
from ambassador.credentials.vault.http import Http
from ambassador.credentials.vault.logins.base import VaultLogin, look_up, secret_in


class TokenFileOptions(Model):
    """`token_file:` of a Vault."""

    path: Path
    """The file with the token, followed when it changes. It need not be there yet. Whoever writes it renews it."""


class TokenFileLogin(VaultLogin):
    """Looks up what it finds there."""

    Options: ClassVar[type[Model]] = TokenFileOptions
    options: TokenFileOptions
    renews = False
    ours = False

    def log_in(self, http: Http) -> Any:
        return look_up(http, secret_in(self.options.path))

    def describe(self) -> str:
        return f"token file {self.options.path}"

    @property
    def file(self) -> Path:
        return self.options.path
