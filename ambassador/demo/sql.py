"""Text quoted as PostgreSQL reads it, with standard_conforming_strings on (the default since 9.1)."""

from __future__ import annotations


def literal(text: str) -> str:
    """`text` as a string constant.

    Raises:
        ValueError: it holds a NUL character, which PostgreSQL's text cannot.
    """
    return _quoted(text, "'")


def identifier(name: str) -> str:
    """`name` as a quoted identifier.

    Raises:
        ValueError: as for `literal`.
    """
    return _quoted(name, '"')


def _quoted(text: str, mark: str) -> str:
    if "\0" in text:
        raise ValueError("PostgreSQL's text cannot hold a NUL character")
    return mark + text.replace(mark, mark * 2) + mark
