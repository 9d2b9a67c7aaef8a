"""Marks on the types of fields."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel

from ambassador.config.marks import Reference, Shown, closed, marks


class Marked(BaseModel):
    """Fields with marks at every depth."""

    plain: str
    direct: Annotated[str, Shown()]
    optional: Annotated[str, Reference("credentials")] | None = None
    many: tuple[Annotated[str, Reference("upstreams")], ...] = ()
    named: dict[str, Annotated[str, Shown()]] = {}
    word: Literal["a", "b"] = "a"
    words: tuple[Literal["Annotated", "x"], ...] | None = None


def test_marks_are_found_at_any_depth() -> None:
    assert marks(Marked, "plain") == ()
    assert marks(Marked, "direct") == (Shown(),)
    assert marks(Marked, "optional") == (Reference("credentials"),)
    assert marks(Marked, "many") == (Reference("upstreams"),)
    assert marks(Marked, "named") == (Shown(),)


def test_a_field_of_listed_words_is_closed() -> None:
    assert closed(Marked, "word")
    assert closed(Marked, "words")
    assert not closed(Marked, "plain")
    assert not closed(Marked, "many")
