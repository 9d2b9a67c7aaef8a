"""Every value of a settings tree, with its path as written in a file and the marks of its kind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic.fields import FieldInfo

from ambassador.config.fault import KeyPath
from ambassador.config.keyed import Keyed
from ambassador.config.marks import marks
from ambassador.config.model import Model

M = TypeVar("M")


@dataclass(frozen=True, slots=True)
class Leaf:
    """One field that is no section of its own.

    Args:
        path: where it stands in a file.
        value: its value; a tuple or dict where the field takes several.
        model: the class that declares it.
        name: its name there.
    """

    path: KeyPath
    value: Any
    model: type[Model]
    name: str

    @property
    def field(self) -> FieldInfo:
        """How it is declared."""
        return self.model.model_fields[self.name]

    def mark(self, kind: type[M]) -> M | None:
        """The mark of type `kind` on this field or on what it is made of; None without one."""
        return next((mark for mark in marks(self.model, self.name) if isinstance(mark, kind)), None)


def leaves(model: Model, path: KeyPath = ()) -> Iterator[Leaf]:
    """All fields of `model` and of the sections below it, defaults included, in order of declaration."""
    kind_field = model.kind_field if isinstance(model, Keyed) else None
    for name in type(model).model_fields:
        value = getattr(model, name)
        if kind_field is None or name not in {kind_field, "options"}:
            yield from _below(Leaf((*path, name), value, type(model), name))
        elif isinstance(value, Model):
            yield from leaves(value, (*path, getattr(model, kind_field)))


def _below(leaf: Leaf) -> Iterator[Leaf]:
    value = leaf.value
    if isinstance(value, Model):
        yield from leaves(value, leaf.path)
    elif isinstance(value, Mapping) and any(isinstance(inner, Model) for inner in value.values()):
        for key, inner in value.items():
            yield from leaves(inner, (*leaf.path, key))
    elif isinstance(value, tuple) and any(isinstance(inner, Model) for inner in value):
        for index, inner in enumerate(value):
            yield from leaves(inner, (*leaf.path, index))
    else:
        yield leaf


def texts(value: Any) -> Iterator[tuple[KeyPath, Any]]:
    """The single values of a leaf that takes several, each with its path below the leaf."""
    if isinstance(value, (tuple, list, set, frozenset)):
        for index, inner in enumerate(value):
            yield (index,), inner
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield (key,), inner
    elif value is not None:
        yield (), value
