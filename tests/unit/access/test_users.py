"""Which users an identity may act as."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from ambassador.access.users import Users, allowed

USERS: TypeAdapter[tuple[str, ...]] = TypeAdapter(Users)


@pytest.mark.parametrize(
    ("given", "users"),
    [("app", ("app",)), (["a", "b"], ("a", "b")), ("*", ("*",)), (["*"], ("*",))],
)
def test_one_user_a_list_or_any(given: Any, users: tuple[str, ...]) -> None:
    assert USERS.validate_python(given) == users


@pytest.mark.parametrize("given", [[], "", [""], ["app", ""], ["*", "app"], None, 5, {"app": 1}])
def test_rules_that_name_nobody_or_mix_any_with_some_are_refused(given: Any) -> None:
    with pytest.raises(ValidationError):
        USERS.validate_python(given)


@pytest.mark.parametrize(
    ("user", "users", "let"),
    [
        ("app", ("app",), True),
        ("App", ("app",), False),
        ("app", ("other", "app"), True),
        ("app", ("*",), True),
        ("", ("*",), True),
        ("", ("app",), False),
        ("*", ("app",), False),
        ("ap", ("app",), False),
        (None, ("app",), True),
    ],
)
def test_names_are_compared_exactly(user: str | None, users: tuple[str, ...], let: bool) -> None:
    assert allowed(user, users) is let
