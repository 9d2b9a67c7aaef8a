"""HTML in which text cannot become markup: strings are escaped, and only what `tag` made is not.

Users and databases are named by clients. A name may be any bytes, so what a browser or a person could be misled by
(control characters, turned text direction, halves of surrogate pairs) is written out as an escape.
"""

from __future__ import annotations

import html

LONGEST = 200
"""Characters of one text; names of databases have at most 63."""

_SPACES = "\N{NO-BREAK SPACE}\N{NARROW NO-BREAK SPACE}"  # not "printable", yet harmless
_VOID = frozenset({"meta"})


class Html(str):
    """Markup, safe as it is."""

    __slots__ = ()


def tag(name: str, /, *children: str, **attributes: str | None) -> Html:
    """An element. Children that are not `Html` are escaped, and so are attributes; one that is None is left out.

    A trailing `_` of an attribute's name is dropped (`class_`), other `_` become `-` (`data_label`).
    """
    words = [name]
    for key, value in attributes.items():
        if value is not None:
            words.append(f'{key.rstrip("_").replace("_", "-")}="{escape(value)}"')
    opening = f"<{' '.join(words)}>"
    return Html(opening) if name in _VOID else Html(f"{opening}{join(*children)}</{name}>")


def join(*children: str) -> Html:
    """Several pieces one after the other, each escaped unless it is `Html`."""
    return Html("".join(child if isinstance(child, Html) else escape(child) for child in children))


def escape(text: str) -> Html:
    """Any text as markup that shows it: harmless, printable, and not too long."""
    if len(text) > LONGEST:
        text = f"{text[:LONGEST]}…"
    if not text.isprintable():
        text = "".join(c if c.isprintable() or c in _SPACES else c.encode("unicode_escape").decode() for c in text)
    return Html(html.escape(text))
