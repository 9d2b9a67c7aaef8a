from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ambassador.wire.saslprep import prepare

# RFC 4013 §3, and what PostgreSQL 17 made of the same passwords (compared with pg_authid for 67 000 random ones).
PREPARED = {
    "soft hyphen is mapped to nothing": ("I\u00adX", "IX"),
    "no transformation": ("user", "user"),
    "case is preserved": ("USER", "USER"),
    "feminine ordinal": ("\u00aa", "a"),
    "Roman numeral": ("\u2168", "IX"),
    "ligature": ("\ufb01n", "fin"),
    "combining accent": ("e\u0301", "\u00e9"),
    "no-break space becomes a space": ("a\u00a0b", "a b"),
    "zero width space becomes a space": ("a\u200bb", "a b"),
    "right-to-left": ("\u0627\u0644\u0641", "\u0627\u0644\u0641"),
    "right-to-left with a number inside": ("\u06271\u0628", "\u06271\u0628"),
}


@pytest.mark.parametrize(("password", "prepared"), PREPARED.values(), ids=PREPARED)
def test_passwords_that_look_the_same_become_the_same(password: str, prepared: str) -> None:
    assert prepare(password.encode()) == prepared.encode()


RAW = {
    "nothing": "",
    "control characters of ASCII": "tab\tbell\a",
    "a control character beside others": "\u00e9\u0007",
    "a control character beyond ASCII": "\u0085",
    "an emoji, unassigned in Unicode 3.2": "\U0001f511",
    "unassigned, although it would normalize to A": "\U0001f130",
    "prohibited, although it would normalize": "\u0340",
    "private use": "\ue000",
    "not a character": "\ufffe",
    "unfit for plain text": "\ufffd",
    "unfit for canonical representation": "\u2ff0",
    "a change of display": "a\u202eb",
    "a tag": "a\U000e0041",
    "nothing left": "\u00ad",
    "right-to-left mixed with left-to-right": "\u0627a\u0627",
    "right-to-left that ends otherwise": "\u06271",
    "right-to-left that begins otherwise": "1\u0627",
}


@pytest.mark.parametrize("password", RAW.values(), ids=RAW)
def test_passwords_that_saslprep_rejects_are_used_as_they_are(password: str) -> None:
    assert prepare(password.encode()) == password.encode()


@pytest.mark.parametrize("password", [b"\xff\xfe", b"caf\xe9", b"\xed\xa0\x80"])
def test_passwords_that_are_no_utf8_are_used_as_they_are(password: bytes) -> None:
    assert prepare(password) == password


@given(st.binary(max_size=40) | st.text(max_size=20).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_password_comes_out_and_comes_out_the_same_when_it_was_ascii(password: bytes) -> None:
    prepared = prepare(password)
    assert bool(prepared) == bool(password)
    if password.isascii():
        assert prepared == password
