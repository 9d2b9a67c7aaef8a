"""An upstream: endpoints in order, the two rules of credentials, and what is counted on the way."""

from __future__ import annotations

import asyncio
import random
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from ambassador.config.address import Address
from ambassador.config.schema import ClientTls, UpstreamSettings
from ambassador.credentials.credential import Credential
from ambassador.credentials.rotation import TrialResult
from ambassador.credentials.store import Store
from ambassador.demo.servers import free_port
from ambassador.errors import CredentialError, Reason, UpstreamError
from ambassador.net.tls import ClientContexts
from ambassador.telemetry.metrics import Metrics
from ambassador.upstreams.endpoint import Endpoint
from ambassador.upstreams.health import EJECT_AFTER, FIRST_EJECTION, Standing
from ambassador.upstreams.pool import State
from ambassador.upstreams.upstream import Attempt, Lease, Upstream
from ambassador.wire.proxy_header import build_v2
from tests.support.certificates import Authority
from tests.support.clock import ManualClock
from tests.support.threaded import ThreadedServer, echo, take

NAME = "orders"
CREDENTIAL = "orders-db"


class World:
    """One upstream and all it is given."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = Store(self.clock)
        self.metrics = Metrics()
        self.servers = ExitStack()
        self.leases: list[Lease] = []

    def server(self, serve: Callable[[socket.socket], None] = echo) -> ThreadedServer:
        return self.servers.enter_context(ThreadedServer(serve))

    def upstream(self, *servers: ThreadedServer | Address, **settings: Any) -> Upstream:
        addresses = tuple(one if isinstance(one, Address) else Address("127.0.0.1", one.port) for one in servers)
        made = UpstreamSettings(endpoints=addresses, **settings)
        name = made.credential
        return Upstream(
            NAME,
            made,
            endpoints=tuple(map(Endpoint, addresses)),
            tls=ClientContexts(made.tls) if made.tls is not None else None,
            store=self.store,
            metrics=self.metrics.upstream(NAME),
            credential_metrics=None if name is None else self.metrics.credential(name),
            clock=self.clock,
            rng=random.Random(1),
        )

    def put(self, password: str, *, not_after: float | None = None) -> Credential:
        number = self.store.next_version(CREDENTIAL)
        fields = {"username": b"app", "password": password.encode()}
        credential = Credential(CREDENTIAL, number, fields, not_after=not_after)
        self.store.put(credential)
        return credential

    async def lease(
        self, upstream: Upstream, login: Callable[[Attempt], Awaitable[Any]], preamble: bytes | None = None
    ) -> Lease:
        lease = await upstream.lease(login, preamble)
        self.leases.append(lease)
        return lease

    def connects(self, endpoint: Endpoint) -> dict[str, int]:
        counts = self.metrics.upstream(NAME).endpoint(str(endpoint)).connects
        return {str(result): count for result, count in counts.items() if count}


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    with made.servers:
        yield made
        for lease in made.leases:
            lease.stream.abort()
            await lease.stream.wait_closed(5)


@pytest.fixture
def unreachable() -> Address:
    """Nobody listens there."""
    return Address("127.0.0.1", free_port())


@pytest.fixture
def unanswering() -> Iterator[Address]:
    """A port that lets connecting clients wait: its queue is full."""
    with socket.socket() as listening, socket.socket() as first, socket.socket() as second:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for filler in (first, second):
            filler.setblocking(False)
            filler.connect_ex(listening.getsockname())
        yield Address("127.0.0.1", listening.getsockname()[1])


async def let_in(attempt: Attempt) -> str:
    """A login that asks for nothing."""
    return f"logged in at {attempt.endpoint}"


def refusing(reason: Reason, code: str | None = None) -> Callable[[Attempt], Awaitable[Any]]:
    async def login(attempt: Attempt) -> None:
        raise UpstreamError(reason, f"{attempt.endpoint} said no", public="no", code=code)

    return login


# ---- leasing


async def test_a_lease_is_a_logged_in_connection_to_the_first_endpoint(world: World) -> None:
    upstream = world.upstream(world.server(), world.server())
    lease = await world.lease(upstream, let_in)
    assert lease.connection.endpoint == upstream.endpoints[0]
    assert lease.connection.facts == f"logged in at {upstream.endpoints[0]}"
    assert lease.connection.credential_version is None
    assert upstream.pool.count(State.LEASED) == 1
    assert world.connects(upstream.endpoints[1]) == {}
    lease.stream.write(b"through")
    assert await lease.stream.read() == b"through"


async def test_a_server_that_is_none_of_its_endpoints_is_logged_in_to_as_they_are(world: World) -> None:
    upstream, other = world.upstream(world.server()), world.upstream(world.server())
    lease = await upstream.lease_at(other.endpoints[0], let_in)
    world.leases.append(lease)
    assert lease.connection.facts == f"logged in at {other.endpoints[0]}"
    assert other.endpoints[0] not in upstream.health
    assert world.connects(other.endpoints[0]) == {"ok": 1}


async def test_releasing_closes_and_counts_down_once(world: World) -> None:
    upstream = world.upstream(world.server())
    lease = await world.lease(upstream, let_in)
    lease.release()
    lease.release()
    await lease.stream.wait_closed(5)
    assert upstream.pool.count(State.LEASED) == 0
    assert lease.stream.closed


async def test_the_preamble_comes_before_all_else(world: World) -> None:
    seen: list[bytes] = []

    def read(sock: socket.socket) -> None:
        seen.append(take(sock, 9))
        sock.sendall(b"!")

    async def login(attempt: Attempt) -> None:
        attempt.stream.write(b"login")
        assert await attempt.stream.read() == b"!"

    await world.lease(world.upstream(world.server(read)), login, preamble=b"pre:")
    assert seen == [b"pre:login"]


async def test_an_endpoint_that_refuses_connections_is_passed_over(world: World, unreachable: Address) -> None:
    upstream = world.upstream(unreachable, world.server())
    lease = await world.lease(upstream, let_in)
    assert lease.connection.endpoint == upstream.endpoints[1]
    assert upstream.health[upstream.endpoints[0]].last_error == "connect_failed"
    assert world.connects(upstream.endpoints[0]) == {"connect_failed": 1}
    assert world.connects(upstream.endpoints[1]) == {"ok": 1}


async def test_an_endpoint_that_does_not_answer_costs_connect_timeout(world: World, unanswering: Address) -> None:
    upstream = world.upstream(unanswering, world.server(), connect_timeout=0.2)
    lease = await world.lease(upstream, let_in)
    assert lease.connection.endpoint == upstream.endpoints[1]
    assert world.connects(upstream.endpoints[0]) == {"connect_timeout": 1}


async def test_the_login_s_time_begins_when_connected(world: World, unanswering: Address) -> None:
    upstream = world.upstream(unanswering, connect_timeout=0.3, login_timeout=0.1)
    with pytest.raises(UpstreamError) as caught:
        await world.lease(upstream, let_in)
    assert caught.value.reason is Reason.CONNECT_TIMEOUT


async def test_a_login_that_takes_too_long_is_given_up_and_the_next_endpoint_tried(world: World) -> None:
    async def hang_at_first(attempt: Attempt) -> None:
        if attempt.endpoint == upstream.endpoints[0]:
            await attempt.stream.read()

    upstream = world.upstream(world.server(), world.server(), login_timeout=0.1)
    lease = await world.lease(upstream, hang_at_first)
    assert lease.connection.endpoint == upstream.endpoints[1]
    assert world.connects(upstream.endpoints[0]) == {"upstream_login_timeout": 1}


async def test_a_connection_lost_during_login_says_so(world: World) -> None:
    async def login(attempt: Attempt) -> None:
        raise ConnectionResetError("reset by peer")

    upstream = world.upstream(world.server())
    with pytest.raises(UpstreamError, match="closed the connection during login: reset by peer") as caught:
        await world.lease(upstream, login)
    assert caught.value.reason is Reason.UPSTREAM_CLOSED
    assert upstream.pool.count(State.CONNECTING) == 0


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        (Reason.UPSTREAM_TLS_FAILED, None),
        (Reason.UPSTREAM_TLS_REFUSED, None),
        (Reason.UPSTREAM_BAD_MESSAGE, None),
        (Reason.UPSTREAM_CLOSED, None),
        (Reason.WRONG_ROLE, None),
        (Reason.UPSTREAM_REJECTED, "53300"),
        (Reason.UPSTREAM_REJECTED, "57P03"),
    ],
)
async def test_what_another_server_may_do_better_is_tried_there(world: World, reason: Reason, code: str | None) -> None:
    upstream = world.upstream(world.server(), world.server())
    refuse = refusing(reason, code)

    async def login(attempt: Attempt) -> None:
        if attempt.endpoint == upstream.endpoints[0]:
            await refuse(attempt)

    lease = await world.lease(upstream, login)
    assert lease.connection.endpoint == upstream.endpoints[1]


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        (Reason.UPSTREAM_LOGIN_REFUSED, "28P01"),
        (Reason.UPSTREAM_REJECTED, "3D000"),
        (Reason.UPSTREAM_REJECTED, None),
        (Reason.UPSTREAM_UNSUPPORTED, None),
        (Reason.NO_CREDENTIAL, None),
    ],
)
async def test_what_every_server_would_say_is_not_asked_again(world: World, reason: Reason, code: str | None) -> None:
    upstream = world.upstream(world.server(), world.server())
    with pytest.raises(UpstreamError) as caught:
        await world.lease(upstream, refusing(reason, code))
    assert (caught.value.reason, caught.value.code) == (reason, code)
    assert [world.connects(endpoint) for endpoint in upstream.endpoints] == [{reason: 1}, {}]
    assert upstream.health[upstream.endpoints[0]].standing is Standing.HEALTHY


async def test_when_all_fail_the_last_is_told_with_the_words_of_all(world: World, unreachable: Address) -> None:
    upstream = world.upstream(unreachable, world.server())
    with pytest.raises(UpstreamError) as caught:
        await world.lease(upstream, refusing(Reason.UPSTREAM_REJECTED, "53300"))
    error = caught.value
    assert (error.reason, error.code, error.public) == (Reason.UPSTREAM_REJECTED, "53300", "no")
    assert "cannot connect" in str(error)
    assert "said no" in str(error)


async def test_one_failure_is_told_as_it_is(world: World, unreachable: Address) -> None:
    with pytest.raises(UpstreamError, match=r"^cannot connect to [^;]*$"):
        await world.lease(world.upstream(unreachable), let_in)


async def test_an_upstream_without_endpoints_says_so(world: World) -> None:
    upstream = world.upstream(world.server())
    upstream.replace(())
    with pytest.raises(UpstreamError, match="no endpoints") as caught:
        await world.lease(upstream, let_in)
    assert caught.value.reason is Reason.CONNECT_FAILED


# ---- health


async def test_an_endpoint_that_keeps_failing_is_tried_last_until_its_ejection_is_over(
    world: World, unreachable: Address
) -> None:
    server = world.server()
    upstream = world.upstream(unreachable, server)
    bad, good = upstream.endpoints
    for _ in range(EJECT_AFTER):
        await world.lease(upstream, let_in)
    assert upstream.health[bad].standing is Standing.EJECTED
    assert not world.metrics.upstream(NAME).endpoint(str(bad)).healthy
    assert world.metrics.upstream(NAME).endpoint(str(good)).healthy
    tried = world.connects(bad)
    await world.lease(upstream, let_in)
    assert world.connects(bad) == tried, "the ejected one is not tried while another serves"
    await world.clock.advance(FIRST_EJECTION)
    await world.lease(upstream, let_in)
    assert world.connects(bad) == {"connect_failed": EJECT_AFTER + 1}, "its ejection is over: it is probed"


async def test_when_all_are_ejected_they_are_tried_all_the_same(world: World, unreachable: Address) -> None:
    upstream = world.upstream(unreachable)
    for _ in range(EJECT_AFTER + 2):
        with pytest.raises(UpstreamError):
            await world.lease(upstream, let_in)
    assert world.connects(upstream.endpoints[0]) == {"connect_failed": EJECT_AFTER + 2}


async def test_a_try_that_is_cancelled_says_nothing_about_the_endpoint(world: World) -> None:
    waiting = asyncio.Event()

    async def hang(attempt: Attempt) -> None:
        waiting.set()
        await attempt.stream.read()

    upstream = world.upstream(world.server())
    task = asyncio.create_task(upstream.lease(hang))
    await waiting.wait()
    assert upstream.pool.count(State.CONNECTING) == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert upstream.pool.count(State.CONNECTING) == 0
    assert upstream.health[upstream.endpoints[0]].standing is Standing.UNKNOWN
    assert world.connects(upstream.endpoints[0]) == {"cancelled": 1}


async def test_what_is_known_of_endpoints_that_stay_is_kept(world: World, unreachable: Address) -> None:
    upstream = world.upstream(unreachable, world.server())
    bad, good = upstream.endpoints
    await world.lease(upstream, let_in)
    known = upstream.health[bad]
    other = Endpoint(Address("other", 1))
    upstream.replace((other, bad))
    assert upstream.endpoints == (other, bad)
    assert upstream.health[bad] is known
    assert good not in upstream.health


async def test_an_endpoint_taken_out_during_a_login_is_no_fault(world: World) -> None:
    async def login(attempt: Attempt) -> None:
        upstream.replace(())

    upstream = world.upstream(world.server())
    lease = await world.lease(upstream, login)
    assert lease.connection.state is State.LEASED
    assert upstream.endpoints == ()


async def test_an_endpoint_taken_out_before_the_second_try_is_still_tried(world: World) -> None:
    upstream = world.upstream(world.server(), credential=CREDENTIAL)
    tries: list[str] = []

    def ask(_: int | None) -> None:
        upstream.replace(())
        world.put("second")

    world.put("first")
    world.store.attach(CREDENTIAL, "a test", ask, 5.0)
    lease = await world.lease(upstream, only("second", tries))
    assert lease.connection.credential_version == 2


# ---- roles


def roles(*servers: ThreadedServer) -> tuple[Endpoint, ...]:
    """The first is the primary."""
    addresses = [Address("127.0.0.1", server.port) for server in servers]
    return (Endpoint(addresses[0], "primary"), *(Endpoint(one, "replica") for one in addresses[1:]))


async def test_by_default_only_the_primary_is_tried(world: World) -> None:
    upstream = world.upstream(world.server(), world.server())
    upstream.replace(roles(world.server(), world.server()))
    with pytest.raises(UpstreamError):
        await world.lease(upstream, refusing(Reason.WRONG_ROLE))
    primary, replica = upstream.endpoints
    assert world.connects(primary) == {"wrong_role": 1}
    assert world.connects(replica) == {}


async def test_who_wants_a_replica_gets_one_and_prefers_it_to_the_primary(world: World) -> None:
    upstream = world.upstream(world.server())
    upstream.replace(roles(world.server(), world.server()))
    primary, replica = upstream.endpoints
    for read_from in ("replica", "prefer-replica"):
        lease = await upstream.lease(let_in, read_from=read_from)
        world.leases.append(lease)
        assert lease.connection.endpoint == replica
    upstream.replace((primary,))
    world.leases.append(await upstream.lease(let_in, read_from="prefer-replica"))
    assert world.leases[-1].connection.endpoint == primary
    with pytest.raises(UpstreamError, match="no endpoints"):
        await upstream.lease(let_in, read_from="replica")


async def test_a_trial_asks_servers_of_any_role(world: World) -> None:
    asked = []

    async def login(attempt: Attempt) -> None:
        asked.append(attempt.endpoint.role)
        raise UpstreamError(Reason.CONNECT_FAILED, "no")

    upstream = world.upstream(world.server())
    upstream.replace(roles(world.server(), world.server()))
    assert await upstream.trial(world.put("any"), login) is TrialResult.UNKNOWN
    assert asked == ["primary", "replica"]


async def test_a_change_of_endpoints_is_told_and_no_change_is_not(world: World) -> None:
    upstream = world.upstream(world.server())
    told: list[int] = []
    unsubscribe = upstream.on_change(lambda: told.append(len(upstream.endpoints)))
    upstream.replace(upstream.endpoints)
    assert told == []
    upstream.replace((*upstream.endpoints, Endpoint(Address("other", 1))))
    assert told == [2]
    unsubscribe()
    unsubscribe()
    upstream.replace(())
    assert told == [2]


async def test_who_is_being_logged_in_at_a_primary_that_was_replaced_goes_to_the_new_one(
    world: World, unanswering: Address
) -> None:
    upstream = world.upstream(world.server(), connect_timeout=20.0)
    (new,) = upstream.endpoints
    upstream.replace((Endpoint(unanswering, "primary"), Endpoint(new.address, "replica")))
    task = asyncio.create_task(upstream.lease(let_in))
    await asyncio.sleep(0.05)
    assert not task.done()
    upstream.replace((Endpoint(new.address, "primary"),))
    lease = await task
    world.leases.append(lease)
    assert lease.connection.endpoint == Endpoint(new.address, "primary")


# ---- credentials


async def test_the_current_value_is_shown_and_its_version_counted(world: World) -> None:
    shown: list[Credential | None] = []

    async def login(attempt: Attempt) -> None:
        shown.append(attempt.credential)

    upstream = world.upstream(world.server(), credential=CREDENTIAL)
    current = world.put("first")
    lease = await world.lease(upstream, login)
    assert shown == [current]
    assert dict(world.metrics.credential(CREDENTIAL).connections) == {1: 1}
    lease.release()
    assert dict(world.metrics.credential(CREDENTIAL).connections) == {}


async def test_without_a_value_nothing_is_opened(world: World) -> None:
    upstream = world.upstream(world.server(), credential=CREDENTIAL)
    with pytest.raises(CredentialError) as caught:
        await world.lease(upstream, let_in)
    assert caught.value.reason is Reason.NO_CREDENTIAL
    assert world.connects(upstream.endpoints[0]) == {}


async def test_expiry_is_looked_at_when_the_value_is_used(world: World) -> None:
    upstream = world.upstream(world.server(), credential=CREDENTIAL)
    world.put("short-lived", not_after=world.clock.wall() + 60)
    await world.lease(upstream, let_in)
    world.clock.jump(61)
    with pytest.raises(CredentialError) as caught:
        await world.lease(upstream, let_in)
    assert caught.value.reason is Reason.CREDENTIAL_EXPIRED


def only(password: str, tries: list[str]) -> Callable[[Attempt], Awaitable[Any]]:
    """A server that takes one password."""

    async def login(attempt: Attempt) -> None:
        assert attempt.credential is not None
        assert attempt.credential.password is not None
        tries.append(attempt.credential.password.reveal().decode())
        if tries[-1] != password:
            raise UpstreamError(Reason.UPSTREAM_LOGIN_REFUSED, "wrong password", code="28P01")

    return login


async def test_a_refused_login_is_tried_once_more_when_the_source_has_a_newer_value(world: World) -> None:
    asked: list[int | None] = []

    def ask(version: int | None) -> None:
        asked.append(version)
        world.put("second")

    tries: list[str] = []
    upstream = world.upstream(world.server(), credential=CREDENTIAL)
    world.put("first")
    world.store.attach(CREDENTIAL, "a test", ask, 5.0)
    lease = await world.lease(upstream, only("second", tries))
    assert lease.connection.credential_version == 2
    assert tries == ["first", "second"]
    assert asked == [1]


async def test_a_second_refusal_is_final(world: World) -> None:
    tries: list[str] = []
    upstream = world.upstream(world.server(), world.server(), credential=CREDENTIAL)
    world.put("first")
    world.store.attach(CREDENTIAL, "a test", lambda _: world.put("second") and None, 5.0)
    with pytest.raises(UpstreamError) as caught:
        await world.lease(upstream, only("third", tries))
    assert caught.value.reason is Reason.UPSTREAM_LOGIN_REFUSED
    assert tries == ["first", "second"]


async def test_without_a_newer_value_the_refusal_stands(world: World) -> None:
    tries: list[str] = []
    upstream = world.upstream(world.server(), credential=CREDENTIAL)
    world.put("first")
    world.store.attach(CREDENTIAL, "a test", lambda _: None, 0.05)
    with pytest.raises(UpstreamError):
        await world.lease(upstream, only("second", tries))
    assert tries == ["first"]


async def test_other_failures_do_not_ask_for_another_value(world: World) -> None:
    asked: list[int | None] = []
    upstream = world.upstream(world.server(), credential=CREDENTIAL)
    world.put("first")
    world.store.attach(CREDENTIAL, "a test", asked.append, 5.0)
    with pytest.raises(UpstreamError):
        await world.lease(upstream, refusing(Reason.UPSTREAM_REJECTED, "3D000"))
    assert asked == []


# ---- trials


@pytest.mark.parametrize(
    ("login", "result"),
    [
        (let_in, TrialResult.ACCEPTED),
        (refusing(Reason.UPSTREAM_LOGIN_REFUSED, "28P01"), TrialResult.REFUSED),
        (refusing(Reason.UPSTREAM_REJECTED, "3D000"), TrialResult.ACCEPTED),
        (refusing(Reason.UPSTREAM_REJECTED, "42501"), TrialResult.ACCEPTED),
        (refusing(Reason.WRONG_ROLE), TrialResult.ACCEPTED),
        (refusing(Reason.UPSTREAM_REJECTED, "53300"), TrialResult.UNKNOWN),
        (refusing(Reason.UPSTREAM_REJECTED, "57P03"), TrialResult.UNKNOWN),
        (refusing(Reason.UPSTREAM_TLS_FAILED), TrialResult.UNKNOWN),
    ],
)
async def test_a_trial_says_whether_a_server_took_the_value(
    world: World, login: Callable[[Attempt], Awaitable[Any]], result: TrialResult
) -> None:
    upstream = world.upstream(world.server(), credential=CREDENTIAL)
    assert await upstream.trial(world.put("candidate"), login) is result
    assert upstream.pool.count(State.LEASED) == upstream.pool.count(State.CONNECTING) == 0


async def test_a_trial_goes_on_to_an_endpoint_that_can_say(world: World, unreachable: Address) -> None:
    upstream = world.upstream(unreachable, world.server(), credential=CREDENTIAL)
    refuse = refusing(Reason.UPSTREAM_LOGIN_REFUSED, "28P01")
    assert await upstream.trial(world.put("candidate"), refuse) is TrialResult.REFUSED


async def test_a_trial_shows_the_value_it_is_given_and_not_the_current_one(world: World) -> None:
    tries: list[str] = []
    upstream = world.upstream(world.server(), credential=CREDENTIAL)
    candidate = Credential(CREDENTIAL, 9, {"password": b"candidate"})
    world.put("current")
    assert await upstream.trial(candidate, only("candidate", tries)) is TrialResult.ACCEPTED
    assert tries == ["candidate"]


@pytest.mark.parametrize(("version", "header"), [("v1", b"PROXY UNKNOWN\r\n"), ("v2", build_v2(None, None))])
async def test_a_connection_for_nobody_in_particular_still_begins_with_the_header_that_the_server_expects(
    world: World, version: str, header: bytes
) -> None:
    seen: list[bytes] = []

    def read(sock: socket.socket) -> None:
        seen.append(take(sock, len(header)))
        sock.sendall(b"!")

    async def login(attempt: Attempt) -> None:
        assert await attempt.stream.read() == b"!"

    upstream = world.upstream(world.server(read), send_proxy_protocol=version)
    assert await upstream.trial(world.put("candidate"), login) is TrialResult.ACCEPTED
    await world.lease(upstream, login)
    assert seen == [header, header]


# ---- TLS


def tls_server(authority: Authority, *names: str) -> Callable[[socket.socket], None]:
    pair = authority.server(*names)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.cert, pair.key)

    def serve(sock: socket.socket) -> None:
        with context.wrap_socket(sock.dup(), server_side=True) as secure:
            echo(secure)

    return serve


async def over_tls(attempt: Attempt) -> str | None:
    await attempt.start_tls()
    return None if attempt.stream.tls is None else attempt.stream.tls.sni


async def test_the_server_s_name_is_checked_against_the_endpoint_s_host(world: World, authority: Authority) -> None:
    tls = ClientTls(ca=authority.file)
    lease = await world.lease(world.upstream(world.server(tls_server(authority, "127.0.0.1")), tls=tls), over_tls)
    assert lease.stream.tls is not None


async def test_a_configured_server_name_takes_the_place_of_the_host(world: World, authority: Authority) -> None:
    tls = ClientTls(ca=authority.file, server_name="db.example.com")
    upstream = world.upstream(world.server(tls_server(authority, "db.example.com")), tls=tls)
    lease = await world.lease(upstream, over_tls)
    assert lease.connection.facts == "db.example.com"


async def test_a_certificate_for_another_name_is_refused(world: World, authority: Authority) -> None:
    tls = ClientTls(ca=authority.file)
    upstream = world.upstream(world.server(tls_server(authority, "elsewhere.example.com")), tls=tls)
    with pytest.raises(UpstreamError, match="certificate verify failed") as caught:
        await world.lease(upstream, over_tls)
    assert caught.value.reason is Reason.UPSTREAM_TLS_FAILED
    assert upstream.health[upstream.endpoints[0]].last_error == "upstream_tls_failed"


async def test_a_server_that_is_silent_though_tls_was_begun_is_asked_after(world: World, authority: Authority) -> None:
    """As Redis is, to which the beginning of a handshake is the beginning of a line."""

    def silent(connection: socket.socket) -> None:
        while connection.recv(65536):
            pass

    upstream = world.upstream(world.server(silent), tls=ClientTls(ca=authority.file), login_timeout=0.1)
    with pytest.raises(UpstreamError, match=r"did not answer the TLS handshake in 0\.1 s: does it speak TLS") as caught:
        await world.lease(upstream, over_tls)
    assert caught.value.reason is Reason.UPSTREAM_LOGIN_TIMEOUT


async def test_tls_without_settings_is_a_fault_of_ours(world: World) -> None:
    with pytest.raises(AssertionError, match="without TLS settings"):
        await world.lease(world.upstream(world.server()), over_tls)


# ---- leaving the configuration


async def test_the_counts_of_an_endpoint_taken_out_go_with_its_last_connection(world: World) -> None:
    upstream = world.upstream(world.server())
    lease = await world.lease(upstream, let_in)
    counts = world.metrics.upstream(NAME)
    counts.retain(["elsewhere:5432"])
    (address,) = (address for address, _ in counts.endpoints.items())
    assert address == str(upstream.endpoints[0]), "a connection is open there"
    lease.release()
    assert list(counts.endpoints.items()) == []


# ---- connecting without a login


async def test_connect_opens_a_socket_and_shows_nothing(world: World) -> None:
    world.put("unseen")
    upstream = world.upstream(world.server(), credential=CREDENTIAL)
    attempt = await upstream.connect(upstream.endpoints[0], b"ahead")
    assert attempt.credential is None
    assert await attempt.stream.read() == b"ahead"
    attempt.stream.abort()
    await attempt.stream.wait_closed(5)
    assert world.connects(upstream.endpoints[0]) == {}


async def test_a_lease_without_a_stream_is_a_fault_of_ours(world: World, tmp_path: Path) -> None:
    upstream = world.upstream(world.server())
    lease = await world.lease(upstream, let_in)
    stream, lease.connection.stream = lease.connection.stream, None
    with pytest.raises(AssertionError, match="open connection"):
        _ = lease.stream
    lease.connection.stream = stream


# ---- for protocols whose clients share connections


async def test_a_connection_may_be_shared_or_kept_and_its_states_are_counted(world: World) -> None:
    upstream = world.upstream(world.server())
    shared, kept = await world.lease(upstream, let_in), await world.lease(upstream, let_in)
    shared.move(State.SHARED)
    kept.move(State.IDLE)
    states = upstream.counts.endpoint(str(upstream.endpoints[0])).states
    assert {state: count for state, count in states.items() if count} == {State.SHARED: 1, State.IDLE: 1}
    kept.move(State.LEASED)
    shared.release()
    kept.release()
    assert not any(states.values())


async def test_a_connection_that_shows_a_newer_credential_is_counted_under_it(world: World) -> None:
    upstream = world.upstream(world.server(), credential=CREDENTIAL)
    world.put("first")
    lease = await world.lease(upstream, let_in)
    counts = world.metrics.credential(CREDENTIAL).connections
    assert dict(counts) == {1: 1}
    lease.restamp(2)
    assert (lease.connection.credential_version, dict(counts)) == (2, {2: 1})
    lease.release()
    assert dict(counts) == {}
    lease.restamp(3)
    assert dict(counts) == {}, "it is closed"


async def test_a_connection_without_a_credential_is_counted_once_it_has_shown_one(world: World) -> None:
    upstream = world.upstream(world.server(), credential=CREDENTIAL)
    world.put("first")
    lease = await world.lease(upstream, let_in)
    other = world.upstream(world.server())
    uncounted = await world.lease(other, let_in)
    uncounted.restamp(7)
    assert dict(world.metrics.credential(CREDENTIAL).connections) == {1: 1}
    lease.connection.credential_version = None
    lease.restamp(2)
    assert world.metrics.credential(CREDENTIAL).connections[2] == 1


async def test_each_new_value_of_its_credential_is_told(world: World) -> None:
    upstream = world.upstream(world.server(), credential=CREDENTIAL)
    told: list[Credential] = []
    stop = upstream.on_rotation(told.append)
    first = world.put("first")
    second = world.put("second")
    assert told == [first, second]
    assert upstream.credential is second
    stop()
    world.put("third")
    assert told == [first, second]


async def test_without_a_credential_nothing_is_told_and_nothing_refused(world: World) -> None:
    upstream = world.upstream(world.server())
    told: list[Credential] = []
    stop = upstream.on_rotation(told.append)
    world.put("first")
    await upstream.refused(1)
    stop()
    assert told == []
    assert upstream.credential is None


async def test_a_value_that_was_refused_later_on_makes_its_source_look_for_a_better_one(world: World) -> None:
    asked: list[int | None] = []
    world.store.attach(CREDENTIAL, "tests", asked.append, 0.01)
    upstream = world.upstream(world.server(), credential=CREDENTIAL)
    world.put("first")
    await upstream.refused(None)
    assert asked == []
    await upstream.refused(1)
    assert asked == [1]
    world.put("second")
    await upstream.refused(1)
    assert asked == [1], "there is a better one already"


# ---- who uses which version, and the end of one


async def test_a_version_is_in_use_from_before_the_login_to_the_end(world: World) -> None:
    upstream = world.upstream(world.server(), credential=CREDENTIAL)
    world.put("first")
    seen: list[int] = []

    async def login(attempt: Attempt) -> None:
        seen.append(world.store.in_use(CREDENTIAL, 1))

    lease = await world.lease(upstream, login)
    assert (seen, world.store.in_use(CREDENTIAL, 1)) == ([1], 1)
    lease.release()
    lease.release()
    assert world.store.in_use(CREDENTIAL, 1) == 0


async def test_whoever_is_not_let_in_uses_it_no_more(world: World, unreachable: Address) -> None:
    upstream = world.upstream(unreachable, world.server(), credential=CREDENTIAL, login_timeout=0.05)
    world.put("first")

    async def hang(attempt: Attempt) -> None:
        await asyncio.sleep(10)

    for login in (refusing(Reason.UPSTREAM_LOGIN_REFUSED), refusing(Reason.UPSTREAM_CLOSED), hang):
        with pytest.raises(UpstreamError):
            await upstream.lease(login)
        assert not world.store.has_users(CREDENTIAL)


async def test_a_login_that_is_cancelled_gives_it_back(world: World) -> None:
    upstream = world.upstream(world.server(), credential=CREDENTIAL)
    world.put("first")
    under_way = asyncio.Event()

    async def hang(attempt: Attempt) -> None:
        under_way.set()
        await asyncio.sleep(10)

    task = asyncio.ensure_future(upstream.lease(hang))
    await under_way.wait()
    assert world.store.in_use(CREDENTIAL, 1) == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert world.store.in_use(CREDENTIAL, 1) == 0


@pytest.mark.parametrize("login", [None, Reason.UPSTREAM_LOGIN_REFUSED, Reason.UPSTREAM_CLOSED])
async def test_a_trial_uses_the_version_it_tries(world: World, login: Reason | None) -> None:
    upstream = world.upstream(world.server(), credential=CREDENTIAL)
    world.put("first")
    seen: list[int] = []

    async def try_it(attempt: Attempt) -> None:
        seen.append(world.store.in_use(CREDENTIAL, 7))
        if login is not None:
            raise UpstreamError(login, "no")

    await upstream.trial(Credential(CREDENTIAL, 7, {"password": b"a candidate's own"}), try_it)
    assert (seen, world.store.in_use(CREDENTIAL, 7)) == ([1], 0)


async def test_what_ends_while_it_is_shown_is_not_kept_where_there_is_a_newer_one(world: World) -> None:
    upstream = world.upstream(world.server(), credential=CREDENTIAL)
    world.put("first")
    shown: list[int] = []

    async def login(attempt: Attempt) -> None:
        assert attempt.credential is not None
        shown.append(attempt.credential.version)
        if len(shown) == 1:
            world.put("second")
            world.store.ending(CREDENTIAL, 1, final=False)

    lease = await world.lease(upstream, login)
    assert (shown, lease.connection.credential_version) == ([1, 2], 2)
    assert (world.store.in_use(CREDENTIAL, 1), world.store.in_use(CREDENTIAL, 2)) == (0, 1)
    assert upstream.pool.count(State.LEASED) == 1


async def test_what_ends_without_a_newer_one_is_kept(world: World) -> None:
    upstream = world.upstream(world.server(), credential=CREDENTIAL)
    world.put("first")
    world.store.ending(CREDENTIAL, 1, final=False)
    lease = await world.lease(upstream, let_in)
    assert lease.connection.credential_version == 1
    assert not upstream.is_outlived(1)
    world.put("second")
    assert (upstream.is_outlived(1), upstream.is_outlived(2), upstream.is_outlived(None)) == (True, False, False)
    assert [upstream.has_ended(version) for version in (None, 1, 2)] == [False, False, False]
    world.store.ending(CREDENTIAL, 1, final=True)
    assert [upstream.has_ended(version) for version in (None, 1, 2)] == [False, True, False]


async def test_each_end_of_a_version_of_its_credential_is_told(world: World) -> None:
    upstream = world.upstream(world.server(), credential=CREDENTIAL)
    told: list[tuple[int, bool]] = []
    stop = upstream.on_ending(lambda version, final: told.append((version, final)))
    world.store.ending(CREDENTIAL, 1, final=False)
    world.store.ending("other", 1, final=True)
    stop()
    world.store.ending(CREDENTIAL, 1, final=True)
    assert told == [(1, False)]
    upstream.ended("left")
    assert world.metrics.credential(CREDENTIAL).ended == {"left": 1, "cut": 0}


async def test_without_a_credential_nothing_ends(world: World) -> None:
    upstream = world.upstream(world.server())
    told: list[int] = []
    stop = upstream.on_ending(lambda version, _: told.append(version))
    world.put("first")
    world.put("second")
    world.store.ending(CREDENTIAL, 1, final=True)
    stop()
    assert told == []
    assert not upstream.has_ended(1)
    assert not upstream.is_outlived(1)
    upstream.ended("left")
