"""Text of somebody else's, made fit to stand in a line of ours."""

from __future__ import annotations


def printable(text: str) -> str:
    """`text` with a question mark for whatever would begin another line, or move a terminal's cursor."""
    return "".join(char if char.isprintable() else "?" for char in text)
