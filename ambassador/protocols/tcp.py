"""Any bytes, joined as they come; TLS on either side where configured."""

from __future__ import annotations

from typing import Any

from ambassador.access.base import Principal
from ambassador.config.model import Model
from ambassador.config.types import UpstreamName
from ambassador.errors import Reason
from ambassador.net.relay import End, Relay
from ambassador.protocols.base import Attach, Downstream, Hello, Link, Protocol, identify
from ambassador.upstreams.target import Target
from ambassador.upstreams.upstream import Attempt


class TcpListenerOptions(Model):
    """`tcp:` of a listener."""

    upstream: UpstreamName
    """The upstream to join clients to."""


class TcpUpstreamOptions(Model):
    """`tcp:` of an upstream; has no settings."""


class TcpLink(Relay, Link):
    """A relay that knows nothing of what passes: no safe point but its end, and no words to say why."""

    __slots__ = ()

    def leave(self, reason: Reason) -> None:
        """A drain waits for either side to end the session, till its deadline; any other reason ends it now."""
        if reason is not Reason.DRAINED:
            self.finish(reason)

    def expel(self, reason: Reason) -> None:
        self.finish(reason)


class Tcp(Protocol):
    """Forward bytes."""

    ListenerOptions = TcpListenerOptions
    UpstreamOptions = TcpUpstreamOptions

    async def accept(self, downstream: Downstream) -> tuple[Hello, Principal]:
        downstream.admit()
        return Hello(), await identify(downstream, None)

    async def relay(self, downstream: Downstream, hello: Hello, target: Target, attach: Attach) -> End:  # noqa: ARG002 - a TCP client says nothing
        lease = await target.lease(self._login)
        try:
            link = TcpLink(downstream.stream, lease.stream)
            attach(link, lease.connection)
            return await link.run()
        finally:
            lease.release()

    @classmethod
    async def try_login(cls, attempt: Attempt) -> None:
        await cls._login(attempt)

    @staticmethod
    async def _login(attempt: Attempt) -> Any:
        if attempt.tls is not None:
            await attempt.start_tls()
