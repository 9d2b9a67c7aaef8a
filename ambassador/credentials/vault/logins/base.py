"""What a way to log in at a Vault does."""

from __future__ import annotations

import os
import stat
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Final

from hvac.adapters import JSONAdapter

from ambassador.config.model import Model
from ambassador.credentials.secret import Secret
from ambassador.credentials.vault.http import Http

LONGEST: Final = 64 << 10
"""Bytes of a file with a token: a JSON Web Token has some KiB."""


class NotReady(Exception):
    """What is to be shown cannot be had. The text holds nothing of it."""


class VaultLogin(ABC):
    """One Vault's way in.

    Args:
        options: an instance of the class's own `Options`.
    """

    Options: ClassVar[type[Model]]

    renews: ClassVar[bool] = True
    """Whether the token is for us to renew."""

    ours: ClassVar[bool] = True
    """Whether the token exists for us alone, so that we revoke it when we leave."""

    locks: ClassVar[bool] = False
    """Whether a Vault locks out who tries it in vain too often: by default after five times, for 15 minutes."""

    def __init__(self, options: Any) -> None:
        self.options = options
        self.kept: Any = None  # what was had once and cannot be had again

    @abstractmethod
    def log_in(self, http: Http) -> Any:
        """Ask for a token; blocks. Returns the whole answer, whose `auth` block (or `data`, of a look-up) has it.

        Raises:
            NotReady: there is nothing to show.
            Exception: whatever hvac and requests raise.
        """

    @abstractmethod
    def describe(self) -> str:
        """How and as whom, for the status: a method and a role; never a secret."""

    @property
    def file(self) -> Path | None:
        """The file whose change means another token, where there is one."""
        return None

    def inherit(self, before: VaultLogin) -> None:
        """Take over what `before` has and cannot be had again, if it is of the same kind."""
        if type(before) is type(self):
            self.kept = before.kept

    def stamp(self) -> tuple[object, ...]:
        """Something else whenever one of the files with what is shown may have changed."""
        paths = (value for _, value in self.options if isinstance(value, Path))
        return tuple(map(_stamp, paths))


def _stamp(path: Path) -> tuple[int, ...]:
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_mtime_ns, found.st_ino, found.st_size


def secret_in(path: Path) -> Secret:
    """The content of a small file, without the white space around it.

    Raises:
        NotReady: it cannot be read, is empty, or is no such file.
    """
    try:
        with open(path, "rb", opener=_unblocked) as file:
            regular = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
            content = file.read(LONGEST + 1) if regular else b""
    except OSError as error:
        problem = error.strerror or type(error).__name__
    else:
        if (found := _line(content)) is not None:
            return found
        problem = "it is empty, too large, or no text"
    # Out here, so that what was read is not carried along as context.
    raise NotReady(f"cannot use {path}: {problem}")


def secret_from(variable: str | None, path: Path | None) -> Secret:
    """What an environment variable or a file holds, whichever is named.

    Raises:
        NotReady: there is nothing.
    """
    if path is not None:
        return secret_in(path)
    found = _line(os.environb.get((variable or "").encode(), b""))
    if found is None:
        raise NotReady(f"the environment variable {variable} is not set, too long, or no text")
    return found


def _unblocked(path: str, flags: int) -> int:
    """Opens at once, to be looked at afterwards: a named pipe would hold us for ever."""
    return os.open(path, flags | os.O_NONBLOCK)


def _line(content: bytes) -> Secret | None:
    """A line of text; None for anything else."""
    content = content.strip()
    try:
        printable = content.decode().isprintable()
    except UnicodeDecodeError:
        printable = False
    return Secret(content) if 0 < len(content) <= LONGEST and printable else None


def shown(secret: Secret) -> str:
    """A secret as text, for hvac."""
    return secret.reveal().decode()


def look_up(http: Http, token: Secret) -> Any:
    """What a Vault says of a token that others gave us, in the words of a login."""
    adapter: JSONAdapter = http.adapter(token.reveal())
    answer = adapter.get("/v1/auth/token/lookup-self")
    if isinstance(answer, dict) and isinstance(answer.get("data"), dict):
        data = answer["data"]
        # Less than a second left is 0 there, and so is a life without an end.
        ttl = 0 if data.get("expire_time") is None else data.get("ttl") or 1
        return {"auth": {"client_token": shown(token), "lease_duration": ttl, "renewable": data.get("renewable")}}
    return answer
