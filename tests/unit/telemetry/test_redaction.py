from __future__ import annotations

import base64
import secrets
from urllib.parse import quote

import pytest

from ambassador.telemetry.redaction import MASK, Redaction, conceal, reveal_nothing, reveals


def test_a_concealed_text_is_masked_wherever_it_stands() -> None:
    redaction = Redaction()
    redaction.conceal("hunter22")
    assert redaction.clean("user=app password=hunter22, again hunter22") == f"user=app password={MASK}, again {MASK}"
    assert redaction.clean("nothing here") == "nothing here"


def test_bytes_are_concealed_as_the_text_they_are() -> None:
    redaction = Redaction()
    redaction.conceal(b"hunter22")
    assert redaction.clean("hunter22") == MASK


@pytest.mark.parametrize("secret", ["p@ss word/1", "naïve☃1", 'quo"te\\d', "tab\tbed!", b"\xff\xfe-raw-1"])
def test_a_secret_is_known_as_python_and_as_urls_spell_it(secret: str | bytes) -> None:
    redaction = Redaction()
    redaction.conceal(secret)
    raw = secret if isinstance(secret, bytes) else secret.encode()
    for spelling in (repr(secret), repr(raw), f"postgres://u:{quote(raw, safe='')}@h/d"):
        assert MASK in redaction.clean(spelling)


def test_short_values_are_not_masked_or_innocent_words_would_be() -> None:
    redaction = Redaction()
    redaction.conceal("admin")
    assert redaction.clean("administrator") == "administrator"


def test_a_secret_that_contains_another_leaves_no_rest() -> None:
    redaction = Redaction()
    redaction.conceal("hunter22")
    redaction.conceal("hunter22-and-more")
    assert redaction.clean("hunter22-and-more") == MASK


@pytest.mark.parametrize("length", [256, 257, 900, 5000])
def test_a_text_is_cut_where_a_long_secret_begins(length: int) -> None:
    redaction = Redaction()
    token = base64.b64encode(secrets.token_bytes(length)).decode()[:length]
    redaction.conceal(token)
    cleaned = redaction.clean(f"token {token} end")
    assert cleaned == f"token {MASK}"


def test_the_least_recently_concealed_is_forgotten_first() -> None:
    redaction = Redaction(limit=2)
    redaction.conceal("first-one")
    redaction.conceal("second-one")
    redaction.conceal("first-one")
    redaction.conceal("third-one")
    assert redaction.clean("first-one second-one third-one") == f"{MASK} second-one {MASK}"


def test_the_log_and_others_share_one_set_of_secrets() -> None:
    secret = secrets.token_hex(8)
    assert not reveals(secret)
    conceal(secret)
    assert reveals(f"<{secret}>")
    assert reveal_nothing(f"<{secret}>") == f"<{MASK}>"
