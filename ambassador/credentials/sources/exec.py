"""A program that prints the credential: a cloud's token command, a password manager, a script of one's own.

It prints either the password alone, or one JSON object:

    {"username": "app", "password": "...", "expires_at": "2026-01-31T12:00:00Z"}

`expires_at` is RFC 3339 with an offset, or seconds since 1970. The fields of a certificate (`tls.crt`, `tls.key`,
`ca.crt`) are understood too. Unknown keys are refused, or a misspelt `expires_at` would pass for "never".
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import AfterValidator, Field

from ambassador.config.marks import Shown
from ambassador.config.model import Model
from ambassador.config.types import Argv, Timeout, VariableName
from ambassador.credentials import command
from ambassador.credentials.credential import KNOWN_FIELDS, PASSWORD, USERNAME
from ambassador.credentials.sources.base import Fetched, Source, without_newline
from ambassador.errors import CredentialError, Reason

EXPIRES: Final = "expires_at"


def _program(value: tuple[str, ...]) -> tuple[str, ...]:
    if not value[0]:
        raise ValueError("the program's name is empty")
    return value


class ExecOptions(Model):
    """`exec:` of a credential."""

    command: Annotated[Argv, AfterValidator(_program)]
    """The program and its arguments. It runs in `/`, without a shell and without input, and sees only PATH, HOME and
    LANG of the environment."""

    timeout: Timeout = 10.0
    """Longest time it may take. Then it is killed, with everything it started."""

    env: tuple[VariableName, ...] = ()
    """Names of further environment variables that it may see."""

    format: Literal["auto", "json", "text"] = "auto"
    """What it prints: `json` an object with `username`, `password`, `expires_at`; `text` the password alone, where one
    newline at the end is not part of it. `auto` takes what begins with a brace for JSON."""

    username: Annotated[str, Field(min_length=1), Shown()] | None = None
    """User name, where the program prints none."""


class Exec(Source):
    """Runs the program for each fetch."""

    Options: ClassVar[type[Model]] = ExecOptions
    options: ExecOptions

    async def fetch(self) -> Fetched:
        options = self.options
        try:
            output = await command.run(options.command, env=command.environment(options.env), timeout=options.timeout)
            fetched = understood(output, options.format)
        except (command.CommandFailed, Misunderstood) as error:
            raise CredentialError(Reason.SOURCE_FAILED, f"credential {self.name!r}: {error}") from None
        if options.username is None:
            return fetched
        return Fetched({USERNAME: options.username.encode(), **fetched.fields}, fetched.not_after)

    def describe(self) -> str:
        return f"exec {self.options.command[0]}"


class Misunderstood(Exception):
    """The output is not what the contract says. The text holds nothing of it, not even its keys."""


def understood(output: bytes, form: Literal["auto", "json", "text"] = "auto") -> Fetched:
    """What a program's output means.

    Raises:
        Misunderstood: it is not what it should be.
    """
    if form == "text" or (form == "auto" and not output.lstrip().startswith(b"{")):
        return Fetched({PASSWORD: without_newline(output)})
    document = _document(output)
    if document is None:
        raise Misunderstood("its output is not one JSON object with each key once")
    if not document.keys() <= {*KNOWN_FIELDS, EXPIRES}:
        raise Misunderstood(f"its output has keys other than {', '.join(KNOWN_FIELDS)} and {EXPIRES}")
    fields = {key: value for key, value in document.items() if key != EXPIRES and value is not None}
    if not all(isinstance(value, str) and _is_encodable(value) for value in fields.values()):
        raise Misunderstood("its output has a value that is not text")
    return Fetched({key: value.encode() for key, value in fields.items()}, _expiry(document))


def _document(output: bytes) -> Mapping[str, Any] | None:
    # A JSONDecodeError carries the whole text; it must not become the context of an error that travels.
    try:
        document = json.loads(output, object_pairs_hook=_each_once)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("a key twice")
    return document


def _is_encodable(text: str) -> bool:
    # JSON can spell half of a surrogate pair, which no encoding has bytes for.
    return not any("\ud800" <= char <= "\udfff" for char in text)


def _expiry(document: Mapping[str, Any]) -> float | None:
    value = document.get(EXPIRES)
    if value is None:
        return None
    seconds = _seconds(value)
    if seconds is None:
        raise Misunderstood(f"its {EXPIRES} is neither RFC 3339 with an offset nor a number of seconds since 1970")
    return seconds


def _seconds(value: Any) -> float | None:
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value)
            return None if moment.tzinfo is None else moment.timestamp()
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value) if math.isfinite(value) and value >= 0 else None
    except OverflowError:
        return None
