"""`${NAME}` in any text becomes the value of that environment variable; `$${` stands for a literal `${`.

This happens after the file was taken apart, so that a value cannot add keys, lists or anything else to it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from ambassador.config.document import Document
from ambassador.config.fault import KeyPath

_REFERENCE: Final = re.compile(r"\$\$\{|\$\{([^{}\n]{0,200})(\}?)")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}\Z", re.ASCII)


def expand(document: Document, environ: Mapping[str, str]) -> None:
    """Replace every reference in the texts of `document`; what is wrong is added to its faults."""
    document.data = _expand(document, document.data, (), environ)


def _expand(document: Document, value: Any, path: KeyPath, environ: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _expand(document, inner, (*path, key), environ) for key, inner in value.items()}
    if isinstance(value, list):
        return [_expand(document, inner, (*path, index), environ) for index, inner in enumerate(value)]
    if not isinstance(value, str) or "${" not in value:
        return value

    def replaced(match: re.Match[str]) -> str:
        if match[0] == "$${":
            return "${"
        name, closed = match[1], match[2]
        if not closed or not _NAME.match(name):
            message = "write ${NAME} for an environment variable, or $${ for the characters themselves"
        elif name not in environ:
            message = f"the environment variable {name} is not set"
        elif not environ[name].isascii() and not _is_text(environ[name]):
            message = f"the environment variable {name} is not UTF-8 text"
        else:
            return environ[name]
        document.lost.add(path)
        document.faults.append((path, document.line(path), message))
        return ""

    return _REFERENCE.sub(replaced, value)


def _is_text(value: str) -> bool:
    # os.environ carries bytes that are not UTF-8 as lone surrogates.
    return not any("\ud800" <= character <= "\udfff" for character in value)
