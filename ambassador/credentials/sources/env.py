"""Environment variables: fixed when the daemon starts, so never rotated."""

from __future__ import annotations

import os
from typing import ClassVar

from pydantic import model_validator

from ambassador.config.model import Model
from ambassador.config.types import VariableName
from ambassador.credentials.credential import PASSWORD, USERNAME
from ambassador.credentials.sources.base import Fetched, Source, without_newline
from ambassador.errors import CredentialError, Reason


class EnvOptions(Model):
    """`env:` of a credential. Prefer `file`: an environment cannot change, and is easily seen by other processes."""

    password: VariableName
    """Name of the variable with the password. One newline at its end is not part of it."""

    username: VariableName | None = None
    """Name of the variable with the user name."""

    @model_validator(mode="after")
    def _apart(self) -> EnvOptions:
        if self.username == self.password:
            raise ValueError("username and password cannot be the same variable")
        return self


class Env(Source):
    """Reads variables of this process's environment."""

    Options: ClassVar[type[Model]] = EnvOptions
    options: EnvOptions
    fixed = True

    async def fetch(self) -> Fetched:
        fields = {PASSWORD: self._value(self.options.password)}
        if self.options.username is not None:
            fields[USERNAME] = self._value(self.options.username)
        return Fetched(fields)

    def describe(self) -> str:
        names = (self.options.username, self.options.password)
        return "env " + ", ".join(name for name in names if name is not None)

    def _value(self, variable: str) -> bytes:
        value = os.environb.get(variable.encode())
        if value is None:
            raise CredentialError(
                Reason.SOURCE_FAILED, f"credential {self.name!r}: the environment variable {variable} is not set"
            )
        return without_newline(value)
