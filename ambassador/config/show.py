"""Values of settings as they may be shown: written as in a file, without what may be secret."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel

from ambassador.config.address import Address
from ambassador.config.marks import FirstShown, Shown, Written, closed, marks

HIDDEN: Final = "***"


def show(model: BaseModel, field: str, *, wary: bool) -> Any:
    """The value of a field that is no section, as plain lists, dicts, texts, numbers and booleans.

    Args:
        wary: whether texts are hidden unless their type says that they are names or listed words.
    """
    value = getattr(model, field)
    found = marks(type(model), field)
    if any(isinstance(mark, FirstShown) for mark in found):
        return [*map(str, value[:1]), *([HIDDEN] if len(value) > 1 else [])]
    fit = not wary or closed(type(model), field) or any(isinstance(mark, Shown) for mark in found)
    written = next((mark for mark in found if isinstance(mark, Written)), None)
    return _plain(value, fit=fit, written=written)


def _plain(value: Any, *, fit: bool, written: Written | None) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(inner, fit=fit, written=written) for key, inner in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(inner, fit=fit, written=written) for inner in value]
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, (int, float)):
        return written.write(value) if written is not None else value
    if isinstance(value, (Address, Path, IPv4Network, IPv6Network)):
        return str(value)
    # Of a type nobody vouched for, nothing is shown: it may be a kind of secret.
    return value if type(value) is str and fit else HIDDEN
