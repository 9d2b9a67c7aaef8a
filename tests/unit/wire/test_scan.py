from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import ambassador
from ambassador.errors import ClientError, Reason, UpstreamError
from ambassador.wire import scan
from ambassador.wire.postgres.messages import error_response, message
from ambassador.wire.scan import PostgresWalk
from tests.support.shorthand import from_client, from_server
from tests.support.splits import every_split
from tests.support.twins import SOURCE, TWINS, walk_class

IDLE, MAX_LENGTH, MAX_OWED = SOURCE.IDLE, SOURCE.MAX_LENGTH, SOURCE.MAX_OWED


@pytest.fixture(params=TWINS)
def walk(request: pytest.FixtureRequest) -> PostgresWalk:
    return walk_class(request.param)()


def talk(walk: PostgresWalk, conversation: str) -> list[bool]:
    """Play lines of `> client's messages` and `< server's messages`; whether the walk was clean after each line."""
    clean = []
    for line in conversation.strip().splitlines():
        side, _, words = line.strip().partition(" ")
        if side == ">":
            walk.from_client(from_client(words))
        else:
            walk.from_server(from_server(words))
        clean.append(walk.clean)
    return clean


# The server's debt


def test_a_new_session_is_clean(walk: PostgresWalk) -> None:
    assert walk.clean
    assert walk.idle
    assert walk.aligned
    assert walk.server_aligned
    assert walk.status_byte == IDLE
    assert (walk.transactions, walk.errors, walk.terminated) == (0, 0, False)


@pytest.mark.parametrize(
    ("begun", "waiting"),
    [
        (b"", True),
        (b"Q\0\0", True),
        (b"Q\0\0\0\x20sel", True),
        (b"P\0\0\0\x20", True),
        (b"Q\0\0\0\x05\0", False),
        (b"Q\0\0\0\x05\0Q\0", False),
        (b"Q\0\0\0\x05\0Q\0\0\0\x20sel", False),
    ],
    ids=["nothing", "in a header", "in a query", "in a parse", "whole", "whole and a header", "whole and a query"],
)
def test_a_client_that_stops_inside_a_message_keeps_us_waiting_unless_the_server_has_something_to_do(
    walk: PostgresWalk, begun: bytes, waiting: bool
) -> None:
    if begun:
        walk.from_client(begun)
    assert walk.waiting is waiting


def test_a_server_inside_a_message_or_in_doubt_does_not_wait(walk: PostgresWalk) -> None:
    walk.from_server(b"N\0\0")
    assert not walk.waiting
    doubtful = type(walk)()
    talk(doubtful, DOUBTFUL + "> d c S\n< E ZI")
    assert not doubtful.waiting


CONVERSATIONS = {
    "a query is owed until the server is ready": ("> Q\n< T D C\n< ZI", [False, False, True]),
    "an empty message costs nothing": ("> H\n< N A S", [True, True]),
    "a function call is owed an answer": ("> F\n< V ZI", [False, True]),
    "extended messages need a Sync": ("> P B D E\n< 1 2 T D C\n> H\n> S\n< ZI", [False] * 4 + [True]),
    "each Sync is answered": ("> P B E S B E S\n< 1 2 C ZI\n< 2 C ZI", [False, False, True]),
    "each pipelined query is answered": ("> Q Q Q\n< C ZI\n< C ZI\n< C ZI", [False, False, False, True]),
    "an open transaction is not clean": ("> Q\n< C ZT\n> Q\n< E ZE\n> Q\n< C ZI", [False] * 5 + [True]),
    "an error skips to the Sync": ("> P B E S\n< E\n< ZI", [False, False, True]),
    "an error spares the next segment": ("> P B E S P B E S\n< E ZI\n< 1 2 C ZI", [False, False, True]),
    "a Query answers for what came before it": ("> P B E Q\n< 1 2 C T C ZI", [False, True]),
    "copying out ends with its query": ("> Q\n< H d d\n< c C ZI", [False, False, True]),
    "copying both ways ends with its query": ("> Q\n< W d\n> d c\n< c C ZI", [False, False, False, True]),
    "copying in by a query": ("> Q\n< G\n> d d c\n< C ZI", [False, False, False, True]),
    "a Sync inside copied data is ignored": ("> Q\n< G\n> S d H S d c\n< C ZI", [False, False, False, True]),
    "a Sync before copied data is ignored": ("> Q S S d c S\n< G C ZI\n< ZI", [False, False, True]),
    "extended copying in": ("> P B E S\n< 1 2 G\n> d c\n> S\n< C ZI", [False] * 4 + [True]),
    "extended copying in without the early Sync": ("> P B E H\n< 1 2 G\n> d c S\n< C ZI", [False] * 3 + [True]),
    "CopyFail ends a copy too": ("> Q\n< G\n> d f\n< E ZI", [False, False, False, True]),
    "data sent before the server asks": ("> Q d c\n< G C ZI", [False, True]),
    "a query sent behind the data at once": ("> Q d c Q\n< G C ZI\n< T D C ZI", [False, False, True]),
    "a query that copies, behind a Flush (asyncpg)": ("> P D H\n< 1 t T\n> Q d c\n< G C ZI", [False] * 3 + [True]),
    "the same, slower": ("> P D H\n< 1 t T\n> Q d\n< G\n> d c\n< C ZI", [False] * 5 + [True]),
    "ReadyForQuery ends a copy whatever happened": ("> Q\n< G\n< ZI", [False, False, True]),
    "two copies in one query": ("> Q d c d c S\n< G C G C ZI\n< ZI", [False, False, True]),
    "two copies in one segment": ("> P B E d c\n< 1 2 G C\n> P B E d c S\n< 1 2 G C ZI", [False] * 3 + [True]),
    "a second copy in one segment, asked first": (
        "> P B E d c\n< G C\n> P B E\n< G\n> c S\n< C ZI",
        [False] * 5 + [True],
    ),
    "data for a copy that failed": ("> Q d d c\n< E ZI", [False, True]),
    "data after a copy that failed": ("> Q\n< E ZI\n> d c f", [False, True, True]),
    "CopyDone with nothing before it": ("> c f d\n> Q\n< C ZI", [True, False, True]),
    "CopyDone twice": ("> Q c f\n< E ZI", [False, True]),
    "a copy that fails on its data": ("> Q\n< G\n> d\n< E ZI\n> d c", [False, False, False, True, True]),
    "a copy that nobody asked for": ("< G\n> c", [False, True]),
    "ReadyForQuery that nobody asked for": ("< ZI", [True]),
    "ReadyForQuery before the Sync": ("> P\n< ZI\n> S\n< ZI", [False, True, False, True]),
    "after good-bye nothing is clean": ("> X", [False]),
}


@pytest.mark.parametrize(("conversation", "clean"), CONVERSATIONS.values(), ids=CONVERSATIONS)
def test_the_walk_knows_when_the_server_owes_nothing(walk: PostgresWalk, conversation: str, clean: list[bool]) -> None:
    assert talk(walk, conversation) == clean


# When a COPY fails and a Sync went ahead of its data, the server may or may not have read that Sync.
DOUBTFUL = """
    > P B E S
    < 1 2 G
"""
DOUBTS = {
    "the Sync was data": (DOUBTFUL + "> d c S\n< E ZI", "> Q\n< T C ZI"),
    "the Sync was answered, before the next": (DOUBTFUL + "< E ZI\n> d c S\n< ZI", "> Q\n< T C ZI"),
    "the Sync was answered, after the next": (DOUBTFUL + "> d c S\n< E ZI\n< ZI", "> Q\n< T C ZI"),
    "the answer comes behind the next command": (DOUBTFUL + "> d c S\n< E ZI\n> Q\n< ZI", "< T C ZI"),
    "the next command is extended": (DOUBTFUL + "> d c S\n< E ZI", "> P B E S\n< 1 2 C ZI"),
    "the next command fails": (DOUBTFUL + "> d c S\n< E ZI", "> Q\n< E ZI"),
    "the next command copies": (DOUBTFUL + "> d c S\n< E ZI", "> Q\n< G\n> d c\n< C ZI"),
    "notices prove nothing": (DOUBTFUL + "> d c S\n< E ZI\n> Q\n< N A S ZI", "< T C ZI"),
    "two commands follow": (DOUBTFUL + "> d c S\n< E ZI\n> Q Q\n< C ZI", "< C ZI"),
    "a second copy fails": (DOUBTFUL + "> d c S\n< E ZI\n> P B E S\n< 1 2 G\n> d c S\n< E ZI", "> Q\n< C ZI"),
    "more was sent behind": (DOUBTFUL + "> d c S Q S\n< E ZI", "< C ZI ZI"),
    "more was sent behind, and the Sync was answered": (DOUBTFUL + "> d c S Q S\n< E ZI ZI", "< C ZI ZI"),
    "it was a query's copy": ("> Q S\n< G E ZI", "> Q\n< C ZI"),
}


@pytest.mark.parametrize(("before", "settling"), DOUBTS.values(), ids=DOUBTS)
def test_after_a_failed_copy_a_later_answer_settles_all(walk: PostgresWalk, before: str, settling: str) -> None:
    assert not any(talk(walk, before))
    assert not walk.idle
    assert talk(walk, settling)[-1]


def test_without_a_sync_ahead_a_failed_copy_leaves_no_doubt(walk: PostgresWalk) -> None:
    assert talk(walk, "> P B E H\n< 1 2 G\n> d c S\n< E ZI")[-1]


def test_a_sync_alone_settles_no_doubt_for_its_answer_could_be_another_s(walk: PostgresWalk) -> None:
    talk(walk, DOUBTFUL + "> d c S\n< E ZI")
    assert talk(walk, "> S\n< ZI\n< ZI") == [False] * 3


# Two readings, and no later byte will tell.
AMBIGUOUS = {
    "a Query that failed, or was skipped": "> P B E Q S\n< E ZI\n< ZI",
    "more in the segment of a failed copy": DOUBTFUL + "> d c P B E S\n< E ZI",
    "a Query in the segment of a failed copy": DOUBTFUL + "> d c Q S\n< E ZI",
    "two copies in one segment, sent in one go": "> P B E d c P B E d c S\n< G C G C ZI",
}


@pytest.mark.parametrize("conversation", AMBIGUOUS.values(), ids=AMBIGUOUS)
def test_what_has_two_readings_is_never_clean_again(walk: PostgresWalk, conversation: str) -> None:
    talk(walk, conversation)
    assert talk(walk, "> S\n< ZI\n> Q\n< C ZI\n> P B E S\n< 1 2 C ZI") == [False] * 6


def test_a_query_that_fails_behind_extended_messages_is_no_riddle_where_no_sync_was_sent(walk: PostgresWalk) -> None:
    assert talk(walk, "> P D H\n< 1 t T\n> Q\n< E ZI") == [False, False, False, True]


def test_a_client_that_sends_too_much_ahead_is_no_longer_counted_but_not_cut(walk: PostgresWalk) -> None:
    batch = from_client("Q S" + " Q S" * 1023)
    for _ in range(MAX_OWED // 2048):
        walk.from_client(batch)
    assert not walk.clean
    for _ in range(3):
        walk.from_client(batch)
        walk.from_server(from_server("C ZI ZI ZI"))
    answers = from_server("C" + " ZI" * 2048)
    for _ in range(MAX_OWED // 2048 + 3):
        walk.from_server(answers)
    assert not walk.clean
    assert walk.transactions == MAX_OWED + 3 * 2048 + 9


def test_a_long_pipeline_is_counted_to_its_end(walk: PostgresWalk) -> None:
    for _ in range(100):
        walk.from_client(from_client("P B E S " * 100))
        walk.from_server(from_server("1 2 C ZI " * 90))
    clean = []
    for answers in (999, 1):
        walk.from_server(from_server("1 2 C ZI " * answers))
        clean.append(walk.clean)
    assert clean == [False, True]
    assert walk.transactions == 10_000


# Counts


def test_transactions_and_errors_are_counted(walk: PostgresWalk) -> None:
    talk(walk, "> Q Q Q\n< C ZT E ZE C ZI\n> Q\n< E ZI")
    assert walk.transactions == 2
    assert walk.errors == 2


def test_good_bye_is_noticed(walk: PostgresWalk) -> None:
    talk(walk, "> Q X")
    assert walk.terminated


@pytest.mark.parametrize("twin", TWINS)
def test_the_beginning_of_each_error_is_handed_on(twin: str) -> None:
    seen: list[bytes] = []

    class Listening(walk_class(twin)):  # type: ignore[misc]  # a class found at run time
        def on_error(self, beginning: bytes) -> None:
            seen.append(beginning)

    errors = [error_response("ERROR", "42P01", "short"), error_response("FATAL", "57P01", "long" * 100)]
    for split in every_split(b"".join(errors)):
        listening = Listening()
        seen.clear()
        for piece in split:
            listening.from_server(piece)
        assert seen == [errors[0][5:], errors[1][5:129]]
        assert listening.aligned


# Bytes cut anywhere


@pytest.mark.parametrize("twin", TWINS)
def test_cuts_change_nothing(twin: str) -> None:
    sent, answered = from_client("P B D E S Q d c F S H"), from_server("1 2 T D D C ZI N G C ZI V ZT A E ZE")
    for there, back in zip(every_split(sent), every_split(answered), strict=False):
        walk = walk_class(twin)()
        for piece in there:
            walk.from_client(piece)
        for piece in back:
            walk.from_server(piece)
        assert (walk.transactions, walk.errors, chr(walk.status_byte)) == (2, 1, "E")
        assert walk.aligned
        assert walk.idle


@pytest.mark.parametrize("twin", TWINS)
def test_the_walk_knows_whether_a_message_is_under_way(twin: str) -> None:
    sent, answered = from_client("Q"), from_server("D")
    for cut in range(1, len(sent)):
        walk = walk_class(twin)()
        walk.from_client(sent[:cut])
        assert not walk.aligned
        assert walk.server_aligned
        walk.from_client(sent[cut:])
        assert walk.aligned
    for cut in range(1, len(answered)):
        walk = walk_class(twin)()
        walk.from_server(answered[:cut])
        assert not walk.server_aligned
        assert not walk.aligned
        assert not walk.clean
        walk.from_server(answered[cut:])
        assert walk.clean


def test_a_huge_row_costs_one_look_per_chunk(walk: PostgresWalk) -> None:
    walk.from_server(b"D" + (1 << 30).to_bytes(4))
    left = (1 << 30) - 4
    chunk = b"Z" * (1 << 20)
    while left:
        piece = chunk[: min(left, len(chunk))]
        walk.from_server(piece)
        left -= len(piece)
    assert walk.clean
    assert walk.transactions == 0


def test_an_empty_chunk_is_nothing(walk: PostgresWalk) -> None:
    walk.from_client(b"Q\0")
    walk.from_server(b"Z\0")
    walk.from_client(b"")
    walk.from_server(b"")
    assert not walk.aligned


# Impossible bytes


@pytest.mark.parametrize("length", [0, 3, MAX_LENGTH + 1, 0xFFFFFFFF])
def test_an_impossible_length_is_blamed_on_who_sent_it(walk: PostgresWalk, length: int) -> None:
    with pytest.raises(ClientError, match=f"invalid length {length} of message 'Q'") as client:
        walk.from_client(b"Q" + length.to_bytes(4))
    with pytest.raises(UpstreamError, match=f"invalid length {length} of message 'D'") as server:
        walk.from_server(b"D" + length.to_bytes(4))
    assert client.value.reason is Reason.BAD_MESSAGE
    assert server.value.reason is Reason.UPSTREAM_BAD_MESSAGE


def test_the_longest_message_is_possible(walk: PostgresWalk) -> None:
    walk.from_client(b"Q" + MAX_LENGTH.to_bytes(4))
    walk.from_server(b"D" + MAX_LENGTH.to_bytes(4))
    assert not walk.aligned


@pytest.mark.parametrize("ready", [message(b"Z"), message(b"Z", b"X"), message(b"Z", b"I "), message(b"Z", b"\0")])
def test_ready_for_query_must_say_a_known_status(ready: bytes, walk: PostgresWalk) -> None:
    with pytest.raises(UpstreamError, match="ReadyForQuery"):
        walk.from_server(ready)


def test_an_error_without_anything_in_it_is_counted(walk: PostgresWalk) -> None:
    walk.from_server(message(b"E"))
    assert walk.errors == 1
    assert walk.clean


# The choice


def serving(**environment: str) -> str:
    """Which twin a process runs on that starts with this in its environment."""
    words = [sys.executable, "-c", "from ambassador.wire.scan import SCAN; print(SCAN)"]
    done = subprocess.run(words, env=os.environ | environment, capture_output=True, text=True, timeout=20, check=True)
    return done.stdout.strip()


def test_the_compiled_twin_serves_where_it_was_built() -> None:
    built = any(Path(scan.__file__).parent.glob("scan.*.so"))
    assert serving(AMBASSADOR_PURE="") == ("compiled" if built else "pure")


def test_the_source_serves_where_it_was_asked_for() -> None:
    assert serving(AMBASSADOR_PURE="1") == "pure"


def test_nothing_compiled_is_older_than_its_source() -> None:
    """Python would run it all the same; `make test` builds anew what has changed."""
    package = Path(ambassador.__file__).parent
    for built in package.rglob("*.so"):
        stem = built.name.partition(".")[0]
        for source in (path for path in built.parent.glob(f"{stem}.p*") if path.suffix in {".py", ".pyx", ".pxd"}):
            assert source.stat().st_mtime <= built.stat().st_mtime, f"{built.name} is older than {source.name}"
