"""The kinds of values that settings are made of. Plug-ins' `Options` use them too.

Every kind accepts what a person writes in a file (`5s`, `64KiB`, `127.0.0.1:5432`) and what our own code hands in
(5.0, 65536, an `Address`). Only in a file a bare number is refused as a duration: there it lacks a unit.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, WithJsonSchema

from ambassador.config.address import Address
from ambassador.config.marks import FirstShown, MustExist, Reference, Shown, Written

__all__ = [
    "FROM_FILE",
    "Address",
    "Addresses",
    "Argv",
    "Count",
    "CredentialName",
    "Duration",
    "ExistingFile",
    "FileMode",
    "Name",
    "Size",
    "Timeout",
    "UpstreamName",
    "VariableName",
    "VaultName",
    "WholeSeconds",
    "one_or_list",
    "whole_number",
    "written_duration",
]

FROM_FILE: Final = "from a file"
"""Validation context of values that a person wrote: numbers need units there."""

_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h|d))+\Z", re.ASCII)
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", re.ASCII)
_PER_UNIT = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_LONGEST = 10 * 365 * 86400.0
_SIZE = re.compile(r"(\d{1,15})(B|KiB|MiB|GiB|TiB)?\Z", re.ASCII)
_BYTES = {None: 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?\Z", re.ASCII)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}\Z", re.ASCII)
_MODE = re.compile(r"(?:0o?)?([0-7]{3})\Z", re.ASCII)
_OR_VARIABLE = r"|\$\{"
DURATION_PATTERN: Final = r"^(\d+(\.\d+)?(ms|s|m|h|d))+$|^0$" + _OR_VARIABLE
FILE_MODE_PATTERN: Final = r"^(0o?)?[0-7]{3}$" + _OR_VARIABLE
_DURATION_SCHEMA = {"type": ["string", "integer"], "pattern": DURATION_PATTERN, "minimum": 0, "maximum": 0}


def written_duration(seconds: float) -> str:
    """The shortest exact way to write a Duration: 3600.0 is `1h`, 0.25 is `250ms`."""
    for unit in ("h", "m", "s"):
        if seconds >= _PER_UNIT[unit] and seconds % _PER_UNIT[unit] == 0:
            return f"{seconds / _PER_UNIT[unit]:.0f}{unit}"
    milliseconds = round(seconds * 1000)
    return f"{milliseconds}ms" if milliseconds / 1000 == seconds else f"{seconds:f}".rstrip("0") + "s"


def written_file_mode(mode: int) -> str:
    """Permission bits in octal, as in `"0660"`."""
    return f"{mode:04o}"


def _duration(value: Any, info: ValidationInfo) -> float:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if value == "0" or (number and (value == 0 or info.context != FROM_FILE)):
        seconds = float(value)
    elif isinstance(value, str) and len(value) <= 64 and _DURATION.match(value):
        seconds = sum(
            float(count) / 1000 if unit == "ms" else float(count) * _PER_UNIT[unit]
            for count, unit in _DURATION_PART.findall(value)
        )
    else:
        raise ValueError("durations look like 250ms, 5s, 1h")
    if not 0.0 <= seconds <= _LONGEST:
        raise ValueError("durations are between 0s and 3650d")
    return seconds


def _whole_seconds(value: Any, info: ValidationInfo) -> int:
    seconds = _duration(value, info)
    if seconds < 1 or seconds != int(seconds) or seconds > 0x7FFF:
        raise ValueError("must be whole seconds, from 1s to 32767s")
    return int(seconds)


def _timeout(seconds: float) -> float:
    if seconds <= 0:
        raise ValueError("must be longer than 0s; zero does not turn a limit off")
    return seconds


def _size(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        size = value
    elif isinstance(value, str) and (match := _SIZE.match(value)):
        size = int(match[1]) * _BYTES[match[2]]
    else:
        raise ValueError("sizes look like 512B, 64KiB, 1MiB")
    if not 0 <= size < 1 << 53:
        raise ValueError("sizes are between 0B and 8192TiB")
    return size


def whole_number(value: Any) -> Any:
    """Refuse what pydantic would take for an int and a person would not: true, 1.0."""
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise ValueError("must be a whole number")  # noqa: TRY004 - pydantic reports ValueErrors, and lets TypeErrors out
    return value


def _name(value: str) -> str:
    if not _NAME.match(value):
        raise ValueError("names are made of letters, digits and . _ - and have at most 63 characters")
    return value


def _variable(value: str) -> str:
    if not _VARIABLE.match(value):
        raise ValueError("names of environment variables are made of letters, digits and _")
    return value


def _file_mode(value: Any, info: ValidationInfo) -> int:
    if isinstance(value, str) and (match := _MODE.match(value)):
        return int(match[1], 8)
    # 660 in a file is a decimal number to YAML and octal to the one who wrote it.
    if isinstance(value, int) and info.context != FROM_FILE and 0 <= value <= 0o777:
        return value
    raise ValueError('file modes are octal and in quotes: "0660"')


def one_or_list(value: Any) -> Any:
    """One value stands for a list of one."""
    return value if isinstance(value, (list, tuple)) else (value,)


def _argv(value: Any) -> Any:
    if not isinstance(value, (list, tuple)) or not value:
        raise ValueError("must be a list: the program, then each argument by itself; no shell reads it")
    return tuple(value)


Duration = Annotated[
    float,
    BeforeValidator(_duration),
    WithJsonSchema(_DURATION_SCHEMA),
    Written(written_duration),
]
"""Seconds as a float; in a file `250ms`, `5s`, `1h30m`."""

Timeout = Annotated[
    float,
    BeforeValidator(_duration),
    AfterValidator(_timeout),
    WithJsonSchema(_DURATION_SCHEMA),
    Written(written_duration),
]
"""A Duration longer than zero."""

WholeSeconds = Annotated[
    int,
    BeforeValidator(_whole_seconds),
    WithJsonSchema(_DURATION_SCHEMA),
    Written(written_duration),
]
"""A Duration of whole seconds as an int, as TCP's options take it."""

Size = Annotated[
    int,
    BeforeValidator(_size),
    WithJsonSchema({"type": ["string", "integer"], "pattern": r"^\d+(B|KiB|MiB|GiB|TiB)?$" + _OR_VARIABLE}),
]
"""Bytes as an int; in a file `64KiB`, `1MiB`, or a bare number of bytes."""

# The bounds stand first: pydantic applies them to the int itself, and only so they reach the JSON Schema.
Count = Annotated[int, Field(ge=1, le=10_000_000), BeforeValidator(whole_number)]
"""How many: a whole number of at least one."""

Name = Annotated[str, AfterValidator(_name), Shown()]
"""What an operator calls a listener, an upstream or a credential; used in logs and metric labels."""

VariableName = Annotated[str, AfterValidator(_variable), Shown()]
"""The name of an environment variable."""

CredentialName = Annotated[str, Reference("credentials"), Shown()]
"""The name of an entry of `credentials`, which must exist."""

VaultName = Annotated[str, Reference("vaults"), Shown()]
"""The name of an entry of `vaults`, which must exist."""

UpstreamName = Annotated[str, Reference("upstreams"), Shown()]
"""The name of an entry of `upstreams`, which must exist."""

ExistingFile = Annotated[Path, MustExist()]
"""A file that must exist when the configuration is read."""

Argv = Annotated[tuple[str, ...], BeforeValidator(_argv), FirstShown()]
"""A command: the program and its arguments. Only the program is ever shown."""

FileMode = Annotated[
    int,
    BeforeValidator(_file_mode),
    WithJsonSchema({"type": "string", "pattern": FILE_MODE_PATTERN}),
    Written(written_file_mode),
]
"""Permission bits of a file; in a file of settings octal text: `"0660"`."""

Addresses = Annotated[
    tuple[Address, ...],
    BeforeValidator(one_or_list),
    Field(min_length=1, max_length=64),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string"},
                {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 64},
            ]
        }
    ),
]
"""One address or several."""
