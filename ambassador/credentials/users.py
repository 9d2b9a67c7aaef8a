"""Who uses which version of a credential, and which versions end.

A server connection uses the version it shows, from before its login begins until it is closed or has shown another one.
So whoever owns a lease knows when nobody needs it any more, and can have the rest leave.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

EndingTold = Callable[[int, bool], None]
"""Is told that a version ends, and whether it ends now. Must not raise."""

REMEMBERED = 16
"""Versions of a credential that are known to have ended though nobody uses them: a login may still be under way."""


class _Uses:
    """What is known of the versions of one credential."""

    __slots__ = ("counts", "ends", "freed", "told")

    def __init__(self) -> None:
        self.counts: dict[int, int] = {}
        self.ends: dict[int, bool] = {}
        self.freed = asyncio.Event()
        self.told: list[EndingTold] = []

    def forget(self) -> None:
        """Versions come without end, and what is known of them must not."""
        unused = [version for version in self.ends if version not in self.counts]
        for version in unused[:-REMEMBERED]:
            del self.ends[version]


class Users:
    """The users of all credentials, by name and version; what is known of a name outlives its configuration."""

    def __init__(self) -> None:
        self._uses: dict[str, _Uses] = {}

    # --- told by connections ----------------------------------------------------------------------------------------

    def taken(self, name: str, version: int) -> None:
        """One more connection shows `version`, or is about to."""
        counts = self._of(name).counts
        counts[version] = counts.get(version, 0) + 1

    def left(self, name: str, version: int) -> None:
        """A connection counted by `taken` is closed, or shows another version."""
        uses = self._of(name)
        if version not in uses.counts:
            raise AssertionError(f"nobody uses credential {name!r} version {version}")
        uses.counts[version] -= 1
        if not uses.counts[version]:
            del uses.counts[version]
            woken, uses.freed = uses.freed, asyncio.Event()
            woken.set()

    # --- asked and told by whoever owns a lease ---------------------------------------------------------------------

    def in_use(self, name: str, version: int) -> int:
        """How many connections show `version`; logins under way and trials included."""
        uses = self._uses.get(name)
        return 0 if uses is None else uses.counts.get(version, 0)

    def has_users(self, name: str) -> bool:
        """Whether any connection shows any version."""
        uses = self._uses.get(name)
        return uses is not None and bool(uses.counts)

    async def unused(self, name: str, version: int) -> None:
        """Wait until no connection shows `version`; returns at once when none does. The caller brings the deadline."""
        while self.in_use(name, version):
            await self._of(name).freed.wait()

    def ending(self, name: str, version: int, final: bool) -> None:
        """Have the connections that show `version` leave.

        Meant for a version that another one has followed: who leaves comes back at once, and would get the same again.

        Args:
            final: it ends now, and whoever is busy is cut; else everyone leaves at the next safe point. Said once more,
                or said softly of what has ended, nothing happens.
        """
        uses = self._of(name)
        if uses.ends.get(version) in {True, final}:
            return
        uses.ends[version] = final
        uses.forget()
        for told in tuple(uses.told):
            told(version, final)

    # --- asked by connections ---------------------------------------------------------------------------------------

    def is_ending(self, name: str, version: int) -> bool:
        """Whether it has been said that `version` ends, soon or now."""
        uses = self._uses.get(name)
        return uses is not None and version in uses.ends

    def has_ended(self, name: str, version: int) -> bool:
        """Whether it has been said that `version` ends now."""
        uses = self._uses.get(name)
        return uses is not None and uses.ends.get(version, False)

    def on_ending(self, name: str, told: EndingTold) -> Callable[[], None]:
        """Call `told` with each version that ends from now on. Returns the function that ends the subscription."""
        callbacks = self._of(name).told
        callbacks.append(told)

        def unsubscribe() -> None:
            if told in callbacks:
                callbacks.remove(told)

        return unsubscribe

    def _of(self, name: str) -> _Uses:
        return self._uses.setdefault(name, _Uses())
