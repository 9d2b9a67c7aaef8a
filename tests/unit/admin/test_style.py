from __future__ import annotations

import base64
import hashlib
import re

from ambassador.admin.style import CSS, CSS_HASH


def test_the_hash_is_that_of_the_style_sheet() -> None:
    digest = base64.b64decode(CSS_HASH.removeprefix("'sha256-").removesuffix("'"))
    assert digest == hashlib.sha256(CSS.encode()).digest()


def test_the_style_sheet_fetches_nothing_and_cannot_end_its_element() -> None:
    assert not re.search(r"url\(|@import|<|//", CSS)


def test_dark_and_narrow_screens_are_thought_of() -> None:
    assert "prefers-color-scheme: dark" in CSS
    assert "max-width: 760px" in CSS


def test_every_colour_has_its_dark_twin() -> None:
    light, dark = re.findall(r":root \{(.*?)\}", CSS, re.DOTALL)
    assert set(re.findall(r"--[a-z-]+", light)) == set(re.findall(r"--[a-z-]+", dark))
