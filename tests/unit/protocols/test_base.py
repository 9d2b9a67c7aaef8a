"""What all protocols share: who a client is without a password exchange, and verbs that need no override."""

from __future__ import annotations

from collections.abc import AsyncIterator
from unittest import mock

import pytest

from ambassador.access.base import Authenticator, Check, Claim, Principal, Proven, Refused, Verdict
from ambassador.errors import ClientError, Reason
from ambassador.net.relay import End, Relay
from ambassador.net.stream import Stream
from ambassador.protocols.base import Attach, Downstream, Hello, Link, Protocol, identify
from ambassador.protocols.tcp import TcpListenerOptions
from ambassador.telemetry.requests import RequestMetrics
from ambassador.upstreams.target import Target
from ambassador.upstreams.upstream import Attempt
from tests.support.streams import stream_pair


@pytest.fixture
async def ends() -> AsyncIterator[tuple[Stream, Stream]]:
    async with stream_pair() as pair:
        yield pair


def downstream(stream: Stream, verdict: Verdict | None = None) -> Downstream:
    access = mock.create_autospec(Authenticator, instance=True)
    access.identify.return_value = verdict
    return Downstream(
        stream=stream,
        client=stream.peer,
        access=access,
        tls=None,
        tls_required=False,
        admit=lambda: None,
        requests=(RequestMetrics(),),
    )


async def test_who_is_proven_by_the_connection_is_let_in(ends: tuple[Stream, Stream]) -> None:
    side = downstream(ends[0], Proven(Principal("app", "peer")))
    assert await identify(side, "app") == Principal("app", "peer")
    side.access.identify.assert_awaited_once_with(Claim("app", ends[0].peer, None))  # type: ignore[attr-defined]  # a mock


async def test_who_is_refused_hears_no_reason(ends: tuple[Stream, Stream]) -> None:
    with pytest.raises(ClientError, match="uid 1000 may not") as caught:
        await identify(downstream(ends[0], Refused("uid 1000 may not")), "app")
    assert (caught.value.reason, caught.value.public) == (Reason.ACCESS_DENIED, "access denied")


async def test_a_password_cannot_be_asked_for_without_words_for_it(ends: tuple[Stream, Stream]) -> None:
    check = mock.create_autospec(Check, instance=True)
    with pytest.raises(ClientError, match="no way to ask for a password") as caught:
        await identify(downstream(ends[0], check), "app")
    assert caught.value.reason is Reason.ACCESS_DENIED


async def test_a_claim_is_about_the_socket_s_peer_and_not_what_a_header_said(ends: tuple[Stream, Stream]) -> None:
    side = downstream(ends[0])
    side.client = ends[1].local
    assert side.claim("app").peer == ends[0].peer


class Plain(Protocol):
    """As little as a protocol can be."""

    async def accept(self, downstream: Downstream) -> tuple[Hello, Principal]:
        raise NotImplementedError

    async def relay(self, downstream: Downstream, hello: Hello, target: Target, attach: Attach) -> End:
        raise NotImplementedError

    @classmethod
    async def try_login(cls, attempt: Attempt) -> None:
        raise NotImplementedError


def test_a_protocol_needs_no_words_for_a_refusal_and_nothing_shared() -> None:
    options = TcpListenerOptions(upstream="behind")
    plain = Plain(options, Plain.make_shared())
    assert plain.refuse(ClientError(Reason.ACCESS_DENIED, "no"), reveal=True) == b""
    assert plain.options is options
    assert plain.shared is None
    assert (Plain.alpn, Plain.negotiates_tls, Plain.logs_in, Plain.request_kinds) == ((), False, False, ("session",))


async def test_a_link_that_knows_nothing_of_what_passes_is_always_waiting(ends: tuple[Stream, Stream]) -> None:
    class Bare(Relay, Link):
        def leave(self, reason: Reason) -> None:
            raise NotImplementedError

        def expel(self, reason: Reason) -> None:
            raise NotImplementedError

    link = Bare(*ends)
    assert link.waiting
    assert not link.in_transaction
