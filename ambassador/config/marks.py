"""What a field's type says beyond its values: marks that `Annotated` carries, and how to find them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel


@dataclass(frozen=True, slots=True)
class Reference:
    """Text that names an entry of another `section` (`credentials`, `upstreams`), which must exist."""

    section: str


@dataclass(frozen=True, slots=True)
class MustExist:
    """The path of a file that must be there when the configuration is read."""


@dataclass(frozen=True, slots=True)
class Shown:
    """Text of a credential's source that is fit to be shown: a name, never a value."""


@dataclass(frozen=True, slots=True)
class FirstShown:
    """A list of which only the first entry may be shown: the others may hold secrets."""


@dataclass(frozen=True, slots=True)
class Written:
    """How a value is written in a file, given what it is in memory."""

    write: Callable[[Any], Any]


@cache
def marks(model: type[BaseModel], field: str) -> tuple[Any, ...]:
    """The marks on a field of `model`, those at any depth of its type included."""
    declared = model.model_fields[field]
    return (*declared.metadata, *_marks(declared.annotation))


@cache
def closed(model: type[BaseModel], field: str) -> bool:
    """Whether the field takes only words that its own type lists."""
    return Literal in _origins(model.model_fields[field].annotation)


def _marks(annotation: Any) -> Iterator[Any]:
    if get_origin(annotation) is Annotated:
        yield from annotation.__metadata__
    for inner in _inside(annotation):
        yield from _marks(inner)


def _origins(annotation: Any) -> set[Any]:
    return {get_origin(annotation)}.union(*map(_origins, _inside(annotation)))


def _inside(annotation: Any) -> tuple[Any, ...]:
    return () if get_origin(annotation) is Literal else get_args(annotation)
