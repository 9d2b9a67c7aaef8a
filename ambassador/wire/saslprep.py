"""SASLprep (RFC 4013): one spelling for passwords that look the same.

PostgreSQL and libpq fall back to the raw bytes where the RFC would refuse a password, and so must we, or a password
that works with psql would not work here.
"""

from __future__ import annotations

import stringprep
import unicodedata
from collections.abc import Callable

_PROHIBITED: tuple[Callable[[str], bool], ...] = (
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
    stringprep.in_table_a1,
)


def prepare(password: bytes) -> bytes:
    """SASLprep as PostgreSQL and libpq apply it: whatever cannot be prepared is used as it is."""
    if password.isascii():
        return password
    try:
        text = password.decode()
    except UnicodeDecodeError:
        return password
    # Table C.1.2 before B.1: U+200B is in both, and PostgreSQL makes it a space.
    spaced = (" " if stringprep.in_table_c12(c) else c for c in text)
    mapped = "".join(c for c in spaced if not stringprep.in_table_b1(c))
    # The RFC forbids characters of the output; PostgreSQL looks for them before it normalizes, and is who must agree.
    return unicodedata.normalize("NFKC", mapped).encode() if _is_allowed(mapped) else password


def _is_allowed(text: str) -> bool:
    """RFC 4013 §2.3 to §2.5: no prohibited or unassigned character, and text of one direction."""
    if not text or any(in_table(c) for c in text for in_table in _PROHIBITED):
        return False
    if not any(stringprep.in_table_d1(c) for c in text):
        return True
    one_way = not any(stringprep.in_table_d2(c) for c in text)
    return one_way and stringprep.in_table_d1(text[0]) and stringprep.in_table_d1(text[-1])
