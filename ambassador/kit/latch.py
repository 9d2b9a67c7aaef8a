"""What must have happened before the daemon may call itself ready."""

from __future__ import annotations

from collections.abc import Iterable


class Latches:
    """Named conditions, all held at first; `held` names those not yet released, in the order they were made."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._held: dict[str, None] = dict.fromkeys(names)

    def hold(self, name: str) -> None:
        """Add a condition, or hold a released one again."""
        self._held[name] = None

    def release(self, name: str) -> None:
        """The condition is met. Releasing twice, or what was never held, does nothing."""
        self._held.pop(name, None)

    @property
    def held(self) -> tuple[str, ...]:
        """Names of the conditions still unmet; empty means ready."""
        return tuple(self._held)
