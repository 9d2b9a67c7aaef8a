"""The verbs of the protocol, told in order."""

from __future__ import annotations

from typing import Any

from ambassador.access.base import Principal
from ambassador.errors import AmbassadorError, Reason
from ambassador.net.relay import End
from ambassador.protocols.base import Attach, Downstream, Hello, Protocol
from ambassador.protocols.redis.accept import authenticate
from ambassador.protocols.redis.client import Conversation
from ambassador.protocols.redis.cluster.client import ClusterClient
from ambassador.protocols.redis.cluster.nodes import Cluster
from ambassador.protocols.redis.cluster.topology import read_layout
from ambassador.protocols.redis.hub import Hub
from ambassador.protocols.redis.hubs import Hubs
from ambassador.protocols.redis.login import hear, login_to, warn_of
from ambassador.protocols.redis.options import RedisListenerOptions, RedisUpstreamOptions
from ambassador.protocols.redis.rules import Rules
from ambassador.upstreams.target import Target
from ambassador.upstreams.upstream import Attempt, Upstream
from ambassador.wire.redis.commands import Kind
from ambassador.wire.redis.messages import error

_SILENT = {Reason.CLIENT_CLOSED, Reason.DRAINED, Reason.CUT}


class Redis(Protocol):
    """Redis and Valkey, on shared connections or on one for each client."""

    ListenerOptions = RedisListenerOptions
    UpstreamOptions = RedisUpstreamOptions
    client_speaks_first = True
    asks_for_passwords = True
    logs_in = True
    request_kinds = tuple(kind.name.lower() for kind in Kind)

    options: RedisListenerOptions
    shared: Hubs

    def __init__(self, options: Any, shared: Any) -> None:
        super().__init__(options, shared)
        self._rules = Rules(options)
        self._reading = Rules(options.model_copy(update={"read_only": True}))

    @classmethod
    def make_shared(cls) -> Hubs:
        return Hubs(_hub_of)

    @classmethod
    async def stop_shared(cls, shared: Hubs) -> None:
        await shared.close()

    async def accept(self, downstream: Downstream) -> tuple[Hello, Principal]:
        downstream.admit()
        principal = await authenticate(downstream)
        return Hello(principal.name), principal

    async def relay(self, downstream: Downstream, hello: Hello, target: Target, attach: Attach) -> End:
        hub = self.shared.of(target.upstream)
        # A write that works or not as the weather decides which server is asked would be worse than none that works.
        rules = self._rules if hub.read_from == "primary" else self._reading
        principal = Principal(hello.user or "default", "redis")
        conversation: Conversation
        if isinstance(hub, Cluster):
            conversation = ClusterClient(downstream, hub, rules, principal)
        else:
            conversation = Conversation(downstream, hub, rules, principal)
        attach(conversation, None)
        return await conversation.run()

    @classmethod
    async def try_login(cls, attempt: Attempt) -> None:
        options = attempt.settings.options
        if not isinstance(options, RedisUpstreamOptions):
            raise TypeError("a redis upstream is tried; the configuration is checked for it")
        facts = await login_to(2, options.database or 0)(attempt)
        if options.cluster:
            read_layout(await hear(attempt, "CLUSTER", "SLOTS"), attempt.endpoint.address.host)
        warn_of(facts, attempt.endpoint, options)

    def refuse(self, error_: AmbassadorError, *, reveal: bool) -> bytes:
        if error_.reason in _SILENT:
            return b""
        text = str(error_) if reveal else error_.public
        return error(text if error_.reason is Reason.AUTH_FAILED else f"ERR {text}")


def _hub_of(upstream: Upstream) -> Hub:
    options = upstream.settings.options
    return Cluster(upstream) if isinstance(options, RedisUpstreamOptions) and options.cluster else Hub(upstream)
