from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ambassador.admin.markup import LONGEST, Html, escape, join, tag


def test_text_in_an_element_is_escaped_and_markup_is_not() -> None:
    assert tag("p", "a < b & c", tag("b", "'\"")) == "<p>a &lt; b &amp; c<b>&#x27;&quot;</b></p>"


def test_attributes_are_escaped_and_those_that_are_none_left_out() -> None:
    assert tag("td", class_="n", data_label='a"b', title=None) == '<td class="n" data-label="a&quot;b"></td>'


def test_a_void_element_has_no_end() -> None:
    assert tag("meta", charset="utf-8") == '<meta charset="utf-8">'


def test_joining_escapes_what_is_not_markup() -> None:
    assert join("<", Html("<br>")) == "&lt;<br>"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nb\tc", "a\\nb\\tc"),
        ("\x1b[31m", "\\x1b[31m"),
        ("exe.\u202egnp", "exe.\\u202egnp"),
        ("half\udc80", "half\\udc80"),
        ("été ☃", "été ☃"),
        ("1\u202f234", "1\u202f234"),
    ],
)
def test_what_could_mislead_is_written_out(text: str, shown: str) -> None:
    assert escape(text) == shown


def test_a_long_text_is_cut() -> None:
    assert escape("x" * 500) == "x" * LONGEST + "…"


@given(st.text() | st.characters(categories=["Cs", "Cc", "Cf"]))
def test_no_text_becomes_markup(text: str) -> None:
    shown = tag("p", text, title=text)
    assert shown.count("<") == shown.count(">") == 2
    assert shown.count('"') == 2
    shown.encode()
