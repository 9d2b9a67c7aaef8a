"""Where a client goes: a pure choice from what it asked for and who it proved to be."""

from __future__ import annotations

from ambassador.access.base import Principal
from ambassador.protocols.base import Hello
from ambassador.upstreams.target import Target
from ambassador.upstreams.upstream import Upstream


class Routes:
    """The routes of one listener. For now each listener leads to one upstream."""

    def __init__(self, upstream: Upstream) -> None:
        self.upstream = upstream

    def select(self, principal: Principal, hello: Hello, preamble: bytes) -> Target:  # noqa: ARG002 - what rules match on
        """The target for this client; `preamble` is sent to the endpoint ahead of everything else."""
        return Target(self.upstream, preamble)
