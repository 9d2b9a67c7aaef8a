"""The children of one kind of metric, by name; one that is retired stays until it has nothing left to count."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Generic, Protocol, TypeVar


class Child(Protocol):
    """What counts for one name."""

    @property
    def idle(self) -> bool:
        """Whether nothing counted here is still open."""


C = TypeVar("C", bound=Child)
K = TypeVar("K")


class Children(Generic[K, C]):
    """Made when first asked for, dropped when the configuration names them no more.

    A listener taken out of the configuration still has sessions that drain, and its gauge must show them; so a
    retired child is kept until it is idle. One that is asked for again comes back with its counts.

    Args:
        make: a new child.
    """

    def __init__(self, make: Callable[[], C]) -> None:
        self._make = make
        self._by_key: dict[K, C] = {}
        self._retired: set[K] = set()

    def get(self, key: K) -> C:
        """The child of `key`, made now if there is none."""
        child = self._by_key.get(key)
        if child is None:
            child = self._by_key[key] = self._make()
        self._retired.discard(key)
        return child

    def retire(self, keep: Iterable[K]) -> None:
        """Drop every child whose key is not in `keep`, each as soon as it is idle."""
        self._retired = set(self._by_key).difference(keep)
        self._sweep()

    def items(self) -> Iterator[tuple[K, C]]:
        """Keys and children in the order they were made."""
        self._sweep()
        return iter(tuple(self._by_key.items()))

    def _sweep(self) -> None:
        for key in [key for key in self._retired if self._by_key[key].idle]:
            del self._by_key[key]
            self._retired.discard(key)
