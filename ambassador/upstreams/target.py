"""A client's wish resolved."""

from __future__ import annotations

from dataclasses import dataclass

from ambassador.upstreams.upstream import Lease, Login, Upstream


@dataclass(frozen=True, slots=True)
class Target:
    """Where one client's session goes: an upstream, and the bytes to send ahead of everything (a PROXY header)."""

    upstream: Upstream
    preamble: bytes = b""

    async def lease(self, login: Login) -> Lease:
        """A logged-in server connection; raises as `Upstream.lease`."""
        return await self.upstream.lease(login, self.preamble)
