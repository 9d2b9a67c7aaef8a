"""A role id and a secret id, the latter perhaps wrapped: then it can be unwrapped once, by whoever comes first."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from hvac.api.auth_methods import AppRole
from pydantic import Field, model_validator

from ambassador.config.model import Model
from ambassador.config.types import VariableName
from ambassador.config.vault import VaultPath
from ambassador.credentials.secret import Secret
from ambassador.credentials.vault.answers import block, text
from ambassador.credentials.vault.http import Http
from ambassador.credentials.vault.logins.base import NotReady, VaultLogin, secret_from, shown


class AppRoleOptions(Model):
    """`approle:` of a Vault."""

    role_id: Annotated[str, Field(min_length=1)] | None = None
    """The role id itself; it is no secret, but not shown either."""

    role_id_file: Path | None = None
    """The file with the role id."""

    secret_id_file: Path | None = None
    """The file with the secret id, read anew at every login."""

    secret_id_env: VariableName | None = None
    """Name of the environment variable with the secret id."""

    wrapped: bool = False
    """Whether what is there is a wrapping token (`-wrap-ttl`). It is unwrapped once, and the secret id kept in memory
    for later logins, also through reloads, until there is another one. `check --connect` uses it up."""

    mount: VaultPath = "approle"
    """Where the auth method is mounted."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.role_id is None) == (self.role_id_file is None):
            raise ValueError("say what the role id is: by role_id, or by role_id_file")
        if (self.secret_id_file is None) == (self.secret_id_env is None):
            raise ValueError("say where the secret id is: by secret_id_file, or by secret_id_env")
        return self


class AppRoleLogin(VaultLogin):
    """Shows role id and secret id."""

    Options: ClassVar[type[Model]] = AppRoleOptions
    options: AppRoleOptions
    locks = True

    kept: tuple[Secret, Secret] | None  # the wrapping token, and what was in it

    def log_in(self, http: Http) -> Any:
        options = self.options
        role_id = options.role_id or shown(secret_from(None, options.role_id_file))
        found = secret_from(options.secret_id_env, options.secret_id_file)
        secret_id = shown(self._in(found, http) if options.wrapped else found)
        login = AppRole(http.adapter(None)).login
        return login(role_id=role_id, secret_id=secret_id, use_token=False, mount_point=options.mount)

    def describe(self) -> str:
        return f"approle at {self.options.mount}"

    def _in(self, wrapping: Secret, http: Http) -> Secret:
        if self.kept is not None and self.kept[0] == wrapping:
            return self.kept[1]
        # Somebody who took the wrapping token and put another in its place could log us in as whom he likes.
        asked = http.adapter(None).post("/v1/sys/wrapping/lookup", json={"token": shown(wrapping)})
        made_at = text(block(asked, "data") or {}, "creation_path") or ""
        if not (made_at.startswith(f"auth/{self.options.mount}/role/") and made_at.endswith("/secret-id")):
            raise NotReady("the wrapping token was not made for a secret id of this auth method")
        answer = http.adapter(wrapping.reveal()).post("/v1/sys/wrapping/unwrap")
        secret_id = text(block(answer, "data") or {}, "secret_id")
        if secret_id is None:
            raise NotReady("what was unwrapped is no secret id")
        self.kept = (wrapping, Secret(secret_id))
        return self.kept[1]
