"""A user name and a password of Vault's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Self

from hvac.api.auth_methods import Userpass
from pydantic import model_validator

from ambassador.config.model import Model
from ambassador.config.types import VariableName
from ambassador.config.vault import VaultPath
from ambassador.credentials.vault.http import Http
from ambassador.credentials.vault.logins.base import VaultLogin, secret_from, shown


class UserpassOptions(Model):
    """`userpass:` of a Vault."""

    username: VaultPath
    """The user."""

    password_file: Path | None = None
    """The file with the password, read anew at every login."""

    password_env: VariableName | None = None
    """Name of the environment variable with the password."""

    mount: VaultPath = "userpass"
    """Where the auth method is mounted."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.password_file is None) == (self.password_env is None):
            raise ValueError("say where the password is: by password_file, or by password_env")
        return self


class UserpassLogin(VaultLogin):
    """Shows the password."""

    Options: ClassVar[type[Model]] = UserpassOptions
    options: UserpassOptions
    locks = True

    def log_in(self, http: Http) -> Any:
        options = self.options
        password = shown(secret_from(options.password_env, options.password_file))
        login = Userpass(http.adapter(None)).login
        return login(username=options.username, password=password, use_token=False, mount_point=options.mount)

    def describe(self) -> str:
        return f"userpass user {self.options.username}"
