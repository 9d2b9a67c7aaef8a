"""Every machine of `wire/` against the same bytes in every split, every prefix, and spoilt; both twins side by side.

What must hold, whatever arrives: nothing is raised but the fault of the side that sent it, what is kept stays within
its bounds, and how bytes are cut makes no difference.

`FUZZ` is the number of mutations in all, and takes as long as it takes: `FUZZ=1000000 pytest tests/fuzz --timeout=0`.
Number N is always the same mutation, and a failure names it.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterable
from functools import cache

import pytest

from ambassador.errors import ClientError, UpstreamError
from ambassador.wire import proxy_header, scram
from ambassador.wire.postgres import messages
from ambassador.wire.postgres.login import client as client_module
from ambassador.wire.postgres.login import server as server_module
from ambassador.wire.postgres.login.client import ClientLogin
from ambassador.wire.postgres.login.events import (
    CancelRequested,
    KeysNeeded,
    LoggedIn,
    StartupReceived,
    TlsRequested,
)
from ambassador.wire.postgres.login.server import ServerLogin
from ambassador.wire.postgres.tracker import Tracker
from tests.support.mutations import cut, mutate
from tests.support.recordings import Chunk, of_side, recorded
from tests.support.splits import every_split
from tests.support.twins import TWINS, tracker_module

FUZZ = int(os.environ.get("FUZZ", "100000"))

# Each a part of the numbers, so that no single test takes long.
BATCHES = pytest.mark.parametrize("batch", range(4))

LOGINS = recorded("login")
SESSIONS = recorded("session")
UPSTREAMS = recorded("upstream")

# How our server asked in the recording, and so what fits; spoilt ones are asked in every way.
HOW = {"psql": "scram", "psycopg": "md5", "asyncpg": "cleartext"}
USERS = {
    "login_scram": ("fewu", b"few"),
    "login_md5": ("md5u", b"md5pw"),
    "login_cleartext": ("clearu", b"clearpw"),
    "login_refused": ("md5u", b"wrong"),
}
ALLOWED_ITERATIONS = 4096

derive = cache(scram.derive)
VERIFIER = scram.Verifier(b"salt", 1, (derive(b"front", b"salt", 1).stored,))

Outcome = list[object]


def our_server(pieces: Iterable[bytes], how: str) -> Outcome:
    """What our server made of it: its events and what it sent, or its complaint."""
    login = ServerLogin(nonce="server-nonce")
    outcome: Outcome = []
    try:
        for piece in pieces:
            login.receive(piece)
            while (event := login.next_event()) is not None:
                outcome.append(event)
                if isinstance(event, TlsRequested):
                    login.answer_tls(False)
                elif isinstance(event, StartupReceived):
                    ask(login, how)
                elif not isinstance(event, CancelRequested):
                    welcome(login)
        outcome.append(login.to_send())
    except ClientError as error:
        outcome.append(str(error))
    assert len(login.to_send()) < 50_000
    assert len(login.rest()) <= server_module.MAX_WAITING
    return outcome


def ask(login: ServerLogin, how: str) -> None:
    if how == "scram":
        login.require_scram(VERIFIER, end_point=None)
    elif how == "md5":
        login.require_md5(b"salt")
    elif how == "cleartext":
        login.require_cleartext()
    else:
        login.require_nothing()
        welcome(login)


def welcome(login: ServerLogin) -> None:
    login.welcome(messages.parameter_status("server_version", "17"), 4711, b"key!")


def our_client(pieces: Iterable[bytes], user: str, password: bytes) -> Outcome:
    """What our client made of it: its events and what it sent, or its complaint."""
    login = ClientLogin(
        user,
        {"database": "postgres"},
        password=password,
        client_nonce="client-nonce",
        allow_cleartext=True,
        max_iterations=ALLOWED_ITERATIONS,
    )
    outcome: Outcome = []
    try:
        for piece in pieces:
            login.receive(piece)
            while (event := login.next_event()) is not None:
                if isinstance(event, KeysNeeded):
                    login.provide(derive(event.password, event.salt, event.iterations))
                elif isinstance(event, LoggedIn):
                    outcome += [event.parameters, event.pid, event.key, event.status, event.method]
        outcome.append(login.to_send())
    except UpstreamError as error:
        outcome += [str(error), error.code]
    assert len(login.rest()) <= client_module.MAX_WAITING
    return outcome


def follow(tracker: Tracker, chunks: Iterable[Chunk]) -> Outcome:
    """What a tracker saw after each chunk."""
    seen: Outcome = []
    for chunk in chunks:
        take, blamed = (tracker.from_client, ClientError) if chunk.sent else (tracker.from_server, UpstreamError)
        try:
            take(chunk.data)
        except blamed as error:
            return [*seen, str(error)]
        seen.append(view(tracker))
    return seen


def view(tracker: Tracker) -> tuple[object, ...]:
    return (
        tracker.clean, tracker.idle, tracker.aligned, tracker.server_aligned, tracker.status, tracker.transactions,
        tracker.errors, tracker.terminated, tracker.last_code, tracker.last_fatal,
    )  # fmt: skip


@pytest.fixture(scope="module")
def twins() -> dict[str, type[Tracker]]:
    return {twin: tracker_module(twin).Tracker for twin in TWINS}


# As it was


@pytest.mark.parametrize("name", LOGINS)
def test_recorded_clients_get_in_however_their_bytes_are_cut(name: str) -> None:
    sent = of_side(LOGINS[name], sent=True)
    # Behind the request for TLS a client waits, so that cut is not ours to move.
    parts = [sent[:8], sent[8:]] if sent.startswith(messages.ssl_request()) else [b"", sent]
    outcomes = [our_server([parts[0], *split], HOW.get(name, "trust")) for split in every_split(parts[1])]
    assert all(outcome == outcomes[0] for outcome in outcomes)
    said = outcomes[0][-1]
    assert isinstance(said, bytes)
    assert said.endswith(messages.ready_for_query())


@pytest.mark.parametrize("name", UPSTREAMS)
def test_recorded_servers_are_understood_however_their_bytes_are_cut(name: str) -> None:
    said = of_side(UPSTREAMS[name], sent=False)
    outcomes = [our_client(split, *USERS[name]) for split in every_split(said)]
    assert all(outcome == outcomes[0] for outcome in outcomes)
    assert outcomes[0][1] == ("28P01" if name == "login_refused" else outcomes[0][1])
    assert (name == "login_refused") == (len(outcomes[0]) == 2)


@pytest.mark.parametrize("name", SESSIONS)
def test_recorded_sessions_end_clean_however_their_bytes_are_cut(name: str, twins: dict[str, type[Tracker]]) -> None:
    chunks = SESSIONS[name]
    whole = [follow(twin(), chunks) for twin in twins.values()]
    assert whole[0] == whole[1]
    for size in (1, 2, 3, 4, 5, 6, 7, 11):
        pieces = [
            Chunk(chunk.sent, chunk.data[at : at + size]) for chunk in chunks for at in range(0, len(chunk.data), size)
        ]
        cut_up = [follow(twin(), pieces) for twin in twins.values()]
        assert cut_up[0] == cut_up[1]
        assert cut_up[0][-1] == whole[0][-1]
    assert expected_end(name) == whole[0][-1][1:2] + whole[0][-1][7:]  # type: ignore[index]  # a view


def expected_end(name: str) -> tuple[object, ...]:
    """Idle; terminated; the last error and whether it was the end."""
    if name == "terminated":
        return (False, False, "57P01", True)
    return (True, True, {"pgbench": "", "psql": "22P02", "pg8000": "22P02"}.get(name, "22012"), False)


@pytest.mark.parametrize("name", SESSIONS)
def test_every_cut_in_two_of_a_session_makes_no_difference(name: str, twins: dict[str, type[Tracker]]) -> None:
    for index, chunk in enumerate(SESSIONS[name][:16]):
        before, behind = SESSIONS[name][:index], SESSIONS[name][index + 1 : index + 4]
        for twin in twins.values():
            whole = follow(twin(), [*before, chunk, *behind])[-1]
            for at in range(1, len(chunk.data)):
                two = [Chunk(chunk.sent, chunk.data[:at]), Chunk(chunk.sent, chunk.data[at:])]
                assert follow(twin(), [*before, *two, *behind])[-1] == whole


# Broken off


@pytest.mark.parametrize("name", LOGINS)
def test_every_prefix_of_a_client_s_login_is_waited_for(name: str) -> None:
    sent = of_side(LOGINS[name], sent=True)
    begin = 8 if sent.startswith(messages.ssl_request()) else 0
    for stop in range(begin, len(sent)):
        outcome = our_server([sent[:begin], sent[begin:stop]], HOW.get(name, "trust"))
        assert isinstance(outcome[-1], bytes)
        assert not outcome[-1].endswith(messages.ready_for_query())


@pytest.mark.parametrize("name", UPSTREAMS)
def test_every_prefix_of_a_server_s_login_is_waited_for(name: str) -> None:
    said = of_side(UPSTREAMS[name], sent=False)
    for stop in range(len(said)):
        (outcome,) = our_client([said[:stop]], *USERS[name])
        assert isinstance(outcome, bytes)


# Spoilt


@BATCHES
def test_spoilt_logins_of_clients_are_refused_or_waited_for(batch: int) -> None:
    names = sorted(LOGINS)
    complaints = 0
    for number in range(batch, FUZZ // 3, 4):
        rng = random.Random(number)
        sent = of_side(LOGINS[rng.choice(names)], sent=True)
        spoilt = cut(mutate(sent, rng), rng)
        try:
            outcome = our_server(spoilt, rng.choice(("scram", "md5", "cleartext", "trust")))
        except Exception as error:
            raise AssertionError(f"mutation {number}: {spoilt!r}") from error
        complaints += bool(outcome) and isinstance(outcome[-1], str)
    assert complaints > FUZZ // 120


@BATCHES
def test_spoilt_logins_of_servers_are_refused_or_waited_for(batch: int) -> None:
    names = sorted(UPSTREAMS)
    complaints = 0
    for number in range(batch, FUZZ // 3, 4):
        rng = random.Random(number)
        name = rng.choice(names)
        spoilt = mutate(of_side(UPSTREAMS[name], sent=False), rng)
        try:
            outcome = our_client([spoilt], *USERS[name])
            assert outcome == our_client(cut(spoilt, rng), *USERS[name])
        except Exception as error:
            raise AssertionError(f"mutation {number} of {name}: {spoilt!r}") from error
        complaints += len(outcome) == 2
    assert complaints > FUZZ // 120


@BATCHES
def test_spoilt_sessions_are_seen_alike_by_both_twins(batch: int, twins: dict[str, type[Tracker]]) -> None:
    names = sorted(SESSIONS)
    complaints = 0
    for number in range(batch, FUZZ // 3, 4):
        rng = random.Random(number)
        chunks = list(SESSIONS[rng.choice(names)])
        start = rng.randrange(len(chunks))
        chunks = chunks[start : start + 12]
        at = rng.randrange(len(chunks))
        spoilt = mutate(chunks[at].data, rng)
        sent = chunks[at].sent ^ (rng.random() < 0.1)
        before, behind = chunks[:at], chunks[at + 1 :]
        try:
            pure, compiled = twins["pure"](), twins["compiled"]()
            cuts = [Chunk(sent, piece) for piece in cut(spoilt, rng)]
            seen = follow(pure, [*before, *cuts, *behind])
            assert seen == follow(compiled, [*before, *cuts, *behind])
            whole = [Chunk(sent, spoilt)] if spoilt else []
            assert seen[-1:] == follow(twins["compiled"](), [*before, *whole, *behind])[-1:]
            assert len(pure._server_held) < 160
            assert len(pure._client_held) < 5
            assert len(pure._owed) < 1024
        except Exception as error:
            raise AssertionError(f"mutation {number}: {spoilt!r}") from error
        complaints += any(isinstance(view, str) for view in seen)
    assert complaints > FUZZ // 400


def test_random_sessions_are_seen_alike_by_both_twins(twins: dict[str, type[Tracker]]) -> None:
    """Messages in any order, which a real client or server would never send."""
    from_client = [messages.message(bytes((tag,)), b"x" * size) for tag in b"PBDECSQFHXdcf" for size in (0, 3)]
    from_server = [messages.message(bytes((tag,)), b"x" * size) for tag in b"GGHWdcC123TDNASV" for size in (0, 3)]
    from_server += [messages.ready_for_query(status) for status in (b"I", b"I", b"I", b"T", b"E")] * 4
    from_server += [messages.error_response("ERROR", "22012", "x")] * 4
    for number in range(FUZZ // 50):
        rng = random.Random(number)
        chunks = []
        for _ in range(rng.randrange(1, 40)):
            sent = rng.random() < 0.5
            chunks.append(
                Chunk(sent, b"".join(rng.choices(from_client if sent else from_server, k=rng.randrange(1, 5))))
            )
        seen = [follow(twin(), chunks) for twin in twins.values()]
        assert seen[0] == seen[1], f"session {number}"
        assert len(seen[0]) == len(chunks)


def test_spoilt_proxy_headers_are_refused_or_waited_for() -> None:
    one, other = proxy_header.Endpoint("192.0.2.1", 5432), proxy_header.Endpoint("2001:db8::1", 1)
    headers = [
        build(end, end) for build in (proxy_header.build_v1, proxy_header.build_v2) for end in (one, other, None)
    ]
    read = 0
    for number in range(FUZZ // 10):
        rng = random.Random(number)
        spoilt = mutate(rng.choice(headers), rng)
        try:
            header = proxy_header.parse(spoilt)
        except ClientError:
            continue
        assert header is None or 0 < header.size <= len(spoilt)
        read += header is not None
    assert read > 0
