# cython: language_level=3, annotation_typing=False, embedsignature=False
"""Lane: one direction of a relay. What runs for each chunk of each session is its `take`, and nothing else."""

from __future__ import annotations

from ambassador.net.taker import Taker


class Lane(Taker):
    """Passes on what it takes, and counts it.

    A protocol that must look at what passes overrides `take`; what that raises ends the relay and comes out of its
    `run`.

    Attributes:
        to: who takes it next.
        count: bytes passed on.
    """

    __slots__ = ("count", "to")

    def __init__(self, to: Taker) -> None:
        self.to = to
        self.count = 0

    def take(self, chunk: bytes) -> None:
        """See `Taker`."""
        self.count += len(chunk)
        self.to.take(chunk)
