from __future__ import annotations

import pytest

from ambassador.errors import UpstreamError
from ambassador.wire.postgres.login.client import ChannelBinding, ClientLogin
from ambassador.wire.postgres.login.events import LoggedIn, StartupReceived
from ambassador.wire.postgres.login.server import ServerLogin
from tests.support.pair import Pair


def new_pair(piece: int, *, channel_binding: ChannelBinding = "prefer") -> Pair:
    client = ClientLogin("app", {}, password=None, client_nonce="c", channel_binding=channel_binding)
    return Pair(ServerLogin(nonce="s"), client, piece=piece)


@pytest.mark.parametrize("piece", [1, 3, 1 << 20])
def test_a_login_runs_through_whatever_the_wire_delivers_at_a_time(piece: int) -> None:
    pair = new_pair(piece)
    (started,) = pair.pump()
    assert isinstance(started, StartupReceived)
    pair.server.require_nothing()
    assert pair.pump() == []
    pair.server.welcome(b"", 1, b"1234")
    (logged_in,) = pair.pump()
    assert isinstance(logged_in, LoggedIn)


def test_an_error_of_either_side_comes_out() -> None:
    pair = new_pair(1, channel_binding="require")
    pair.pump()
    pair.server.require_nothing()
    pair.server.welcome(b"", 1, b"1234")
    with pytest.raises(UpstreamError, match="channel binding is required"):
        pair.pump()
