"""Commands under another name (`rename-command`): a server still knows them by their own, and so they are found out.

What is renamed is what somebody wanted to keep from clients: CONFIG, ACL. Under its new name no rule would know it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ambassador.wire.redis.commands import BUILT_IN
from ambassador.wire.redis.messages import decode

if TYPE_CHECKING:
    from ambassador.protocols.redis.hub import Hub

MOST = 1024
"""Names that are remembered; clients make them up."""


class Aliases:
    """What is known of one upstream's."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._known: dict[bytes, bool] = {}

    async def hide(self, name: bytes) -> bool:
        """Whether `name`, which the server's table does not have, is another name of something it has.

        A server that does not tell its table is not asked: it would not tell this either.

        Raises:
            UpstreamError, CredentialError: it could not be asked.
        """
        if self._hub.commands is BUILT_IN:
            return False
        if name not in self._known:
            if len(self._known) >= MOST:
                self._known.clear()
            self._known[name] = await self._ask(name)
        return self._known[name]

    async def _ask(self, name: bytes) -> bool:
        line = await self._hub.private((2, 0))
        line.asked += 1
        try:
            reply = await line.question("COMMAND", "INFO", name)
            line.asked -= 1
        finally:
            self._hub.give_back(line)
        match decode(reply)[0] if reply is not None else None:
            case [[bytes(real), *_]]:
                return real.upper() != name
        return False
