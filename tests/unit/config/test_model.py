"""The base of all settings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import pytest
from pydantic import Field, SecretStr, ValidationError, field_validator

from ambassador.config.marks import FirstShown
from ambassador.config.model import Model, refusal
from ambassador.config.types import Duration, FileMode, Name


class Inner(Model):
    """A section."""

    later: ClassVar[frozenset[str]] = frozenset({"size"})

    mode: Literal["session", "all"] = "session"
    """How."""

    wait: Duration = 2.0
    """How long."""


class Outer(Model):
    """Everything a field may be."""

    count: Annotated[int, Field(ge=1)] = 1
    """How many."""

    inner: Inner = Inner()
    """A section."""

    named: dict[Name, Inner] = Field(default_factory=dict)
    """Sections by name."""

    listed: tuple[Inner, ...] = ()
    """Sections in a row."""

    path: Path = Path("/etc")
    """Where."""

    mode: FileMode = 0o660
    """Bits."""

    text: str = ""
    """Words."""

    secret: SecretStr | None = None
    """Not for show."""

    command: Annotated[tuple[str, ...], FirstShown()] = ()
    """The first may be seen."""


def faults(data: Any, model: type[Model] = Outer) -> list[tuple[tuple[str | int, ...], str]]:
    with pytest.raises(ValidationError) as caught:
        model.model_validate(data)
    return [(error["loc"], error["msg"]) for error in caught.value.errors()]


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        Outer().count = 2  # type: ignore[misc]  # that it cannot be done is what is tested


def test_a_section_with_every_line_commented_out_means_the_defaults() -> None:
    assert Outer.model_validate({"inner": None}) == Outer()


def test_every_fault_is_told_with_its_path_in_our_words() -> None:
    found = faults(
        {"count": 0, "inner": {"mod": "all"}, "named": {"a": {"mode": 5}, "b": {"size": 1}}, "listed": [{"wait": "x"}]}
    )
    assert found == [
        (("count",), "must be at least 1"),
        (("inner", "mod"), "unknown key; did you mean 'mode'?"),
        (("named", "a", "mode"), "must be 'session' or 'all'"),
        (("named", "b", "size"), "'size' is not available in this version"),
        (("listed", 0, "wait"), "durations look like 250ms, 5s, 1h"),
    ]


@pytest.mark.parametrize("data", ["text", 5, [], True])
def test_what_is_no_mapping_is_refused(data: Any) -> None:
    assert faults(data) == [((), "must be a mapping (lines of key: value)")]


def test_no_error_holds_the_value_it_is_about() -> None:
    with pytest.raises(ValidationError) as caught:
        Outer.model_validate({"count": "hunter2", "text": ["hunter2"], "inner": {"mode": "hunter2"}})
    error = caught.value
    assert "hunter2" not in str(error) + repr(error) + str(error.errors()) + error.json()


def test_a_refusal_says_what_it_is_given_and_nothing_else() -> None:
    error = refusal("Outer", [(("a", 0), "{braces} stay"), ((), "twice")])
    assert [(fault["loc"], fault["msg"]) for fault in error.errors()] == [(("a", 0), "{braces} stay"), ((), "twice")]


def test_settings_ask_nothing_of_their_listener_unless_they_say_so() -> None:
    assert Outer().needs == frozenset()


def test_what_is_shown_is_written_as_in_a_file() -> None:
    outer = Outer(named={"a": Inner(wait=0.25)}, listed=(Inner(),), text="words")
    assert outer.redacted() == {
        "count": 1,
        "inner": {"mode": "session", "wait": "2s"},
        "named": {"a": {"mode": "session", "wait": "250ms"}},
        "listed": [{"mode": "session", "wait": "2s"}],
        "path": "/etc",
        "mode": "0660",
        "text": "words",
        "secret": None,
        "command": [],
    }


def test_neither_repr_nor_str_shows_a_secret() -> None:
    outer = Outer(secret=SecretStr("hunter2"), command=("/bin/login", "--password", "hunter2"))
    assert "hunter2" not in repr(outer) + str(outer) + str(outer.redacted())
    assert "/bin/login" in repr(outer)


def test_a_field_s_docstring_is_its_description() -> None:
    assert Outer.model_fields["count"].description == "How many."


def test_a_plug_in_s_own_words_are_kept() -> None:
    class Plain(Model):
        """Refuses in its own words."""

        name: str
        """A name."""

        @field_validator("name")
        @classmethod
        def _short(cls, value: str) -> str:
            raise ValueError("names are short here")

    assert faults({"name": "x"}, Plain) == [(("name",), "names are short here")]
