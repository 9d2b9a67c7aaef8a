"""Note: who is told how what a line owes ends."""

from __future__ import annotations

from typing import Protocol


class Note(Protocol):
    """Who wants to know how a run ends."""

    def answered(self) -> None:
        """Its last reply has gone to who takes it."""

    def lost(self) -> None:
        """The server is gone; the replies still missing will not come."""
