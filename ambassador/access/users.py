"""Which users an identity may act as: the right side of the rules of `peer` and `mtls`."""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator, WithJsonSchema

ANYONE: Final = "*"


def _one_or_list(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


def _checked(value: tuple[str, ...]) -> tuple[str, ...]:
    if not value or not all(value):
        raise ValueError('names no user: give a list of users, or "*" for any')
    if ANYONE in value and len(value) > 1:
        raise ValueError('"*" means any user and stands alone')
    return value


Users = Annotated[
    tuple[str, ...],
    BeforeValidator(_one_or_list),
    AfterValidator(_checked),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}),
]
"""One user, a list of users, or `"*"` for any. Compared exactly."""


def allowed(user: str | None, users: tuple[str, ...]) -> bool:
    """Whether `users` lets a client be `user`; None, where a protocol has no users, is nobody in particular."""
    return user is None or users == (ANYONE,) or user in users
