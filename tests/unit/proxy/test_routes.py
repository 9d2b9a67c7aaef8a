"""Where a client goes."""

from __future__ import annotations

from unittest import mock

from ambassador.access.base import Principal
from ambassador.protocols.base import Hello
from ambassador.proxy.routes import Routes
from ambassador.upstreams.target import Target
from ambassador.upstreams.upstream import Upstream


def test_every_client_goes_to_the_one_upstream_with_its_own_preamble() -> None:
    upstream = mock.create_autospec(Upstream, instance=True)
    routes = Routes(upstream)
    for name in ("one", "two"):
        target = routes.select(Principal(name, "trust"), Hello(user=name), name.encode())
        assert target == Target(upstream, name.encode())
