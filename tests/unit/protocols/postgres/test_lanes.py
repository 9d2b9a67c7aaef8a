"""The lanes of a PostgreSQL session: what passes is passed on as it is, counted, and timed by its transactions."""

from __future__ import annotations

import pytest

from ambassador.errors import ClientError, UpstreamError
from ambassador.net.taker import Giving
from ambassador.protocols.postgres import lanes
from ambassador.protocols.postgres.lanes import Answers, Questions
from ambassador.telemetry.requests import RequestMetrics
from ambassador.wire.postgres.messages import TERMINATE, ready_for_query
from ambassador.wire.postgres.tracker import Tracker
from tests.support.shorthand import from_client, from_server
from tests.support.splits import every_split


class Session:
    """Both lanes of one session, and a clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0
        self.tracker = Tracker()
        self.requests = RequestMetrics()
        self.asked: list[bytes] = []
        self.answered: list[bytes] = []
        self.questions = Questions(Giving(self.asked.append), self.tracker)
        self.answers = Answers(Giving(self.answered.append), self.tracker, self.questions, self.requests)
        self.left: list[int] = []
        """How many chunks had been passed to the client, each time it might have left."""

    def ask(self, words: str, *, takes: float = 0.0) -> None:
        self.questions.take(from_client(words))
        self.now += takes

    def answer(self, words: str, *, takes: float = 0.0) -> None:
        self.answers.take(from_server(words))
        self.now += takes

    def leave(self) -> None:
        self.answers.leaving = lambda: self.left.append(len(self.answered))

    @property
    def counted(self) -> tuple[int, int]:
        return self.requests.ok, self.requests.error

    @property
    def timed(self) -> tuple[int, int]:
        return self.requests.seconds.count, self.requests.error_seconds.count


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> Session:
    made = Session()
    monkeypatch.setattr(lanes, "ticks", lambda: made.now)
    return made


# Passing on


def test_what_passes_is_passed_on_as_it_is_and_counted(session: Session) -> None:
    session.ask("Q")
    session.ask("P B D E S")
    session.answer("T D")
    session.answer("C ZI")
    assert session.asked == [from_client("Q"), from_client("P B D E S")]
    assert session.answered == [from_server("T D"), from_server("C ZI")]
    assert session.questions.count == len(from_client("Q P B D E S"))
    assert session.answers.count == len(from_server("T D C ZI"))


def test_the_lanes_can_be_led_elsewhere(session: Session) -> None:
    elsewhere: list[bytes] = []
    session.questions.to = session.answers.to = Giving(elsewhere.append)
    session.ask("Q")
    session.answer("C ZI")
    assert elsewhere == [from_client("Q"), from_server("C ZI")]
    assert session.asked == session.answered == []


def test_a_broken_question_is_neither_passed_on_nor_counted(session: Session) -> None:
    with pytest.raises(ClientError, match="invalid length"):
        session.questions.take(b"Q\0\0\0\1")
    assert session.asked == []
    assert session.questions.count == 0
    assert session.questions.since == 0.0


def test_a_broken_answer_is_neither_passed_on_nor_counted(session: Session) -> None:
    session.ask("Q")
    with pytest.raises(UpstreamError):
        session.answers.take(from_server("C") + ready_for_query(b"?"))
    assert session.answered == []
    assert session.answers.count == 0
    assert session.counted == (0, 0)


def test_what_the_next_one_raises_comes_out(session: Session) -> None:
    def fault(chunk: bytes) -> None:
        raise ZeroDivisionError

    session.questions.to = session.answers.to = Giving(fault)
    with pytest.raises(ZeroDivisionError):
        session.ask("Q")
    with pytest.raises(ZeroDivisionError):
        session.answer("C ZI")


# Since when something is owed


def test_nothing_is_owed_to_a_client_that_has_asked_nothing(session: Session) -> None:
    assert session.questions.since == 0.0


def test_the_first_question_begins_the_time_and_those_behind_it_do_not(session: Session) -> None:
    session.ask("P B", takes=1)
    assert session.questions.since == 100.0
    session.ask("D E", takes=1)
    session.ask("S")
    assert session.questions.since == 100.0


def test_the_first_byte_of_a_question_begins_the_time(session: Session) -> None:
    question = from_client("Q")
    session.questions.take(question[:2])
    session.now += 1
    session.questions.take(question[2:])
    assert session.questions.since == 100.0


def test_the_time_ends_with_the_transaction(session: Session) -> None:
    session.ask("Q", takes=1)
    session.answer("T D", takes=1)
    assert session.questions.since == 100.0
    session.answer("C ZI", takes=1)
    assert session.questions.since == 0.0
    session.ask("Q")
    assert session.questions.since == 103.0


def test_the_time_goes_on_through_a_transaction_of_several_statements(session: Session) -> None:
    for answer in ("C ZT", "C ZT"):
        session.ask("Q", takes=1)
        session.answer(answer, takes=1)
        assert session.questions.since == 100.0
    session.ask("Q", takes=1)
    session.answer("C ZI")
    assert session.questions.since == 0.0
    assert session.requests.seconds.sum == 5.0
    assert session.timed == (1, 0)


def test_with_more_in_the_pipeline_the_next_transaction_begins_where_the_last_one_ended(session: Session) -> None:
    session.ask("Q Q", takes=1)
    session.answer("C ZI", takes=2)
    assert session.questions.since == 101.0
    session.ask("Q", takes=4)
    assert session.questions.since == 101.0
    session.answer("C ZI", takes=8)
    assert session.questions.since == 107.0
    session.answer("C ZI")
    assert session.questions.since == 0.0
    assert session.timed == (3, 0)
    assert session.requests.seconds.sum == 1.0 + 6.0 + 8.0


# Transactions


@pytest.mark.parametrize(
    ("answer", "counted"),
    [
        ("T D D C ZI", (1, 0)),
        ("I ZI", (1, 0)),
        ("E ZI", (0, 1)),
        ("T D E ZI", (0, 1)),
        ("E E ZI", (0, 1)),
        ("N C ZI", (1, 0)),
        ("C ZT", (0, 0)),
        ("E ZE", (0, 0)),
        ("T D D", (0, 0)),
        ("F:57P01", (0, 0)),
    ],
)
def test_a_transaction_is_counted_when_it_ends_by_how_it_went(
    session: Session, answer: str, counted: tuple[int, int]
) -> None:
    session.ask("Q")
    session.answer(answer)
    assert session.counted == session.timed == counted


@pytest.mark.parametrize("answer", ["T D C ZI", "E ZI"])
def test_however_an_answer_is_cut_it_is_counted_and_timed_once(monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    whole = from_server(answer)
    for parts in every_split(whole):
        session = Session()
        monkeypatch.setattr(lanes, "ticks", lambda: 100.0)
        session.ask("Q")
        for part in parts:
            if part:
                session.answers.take(part)
        assert sum(session.counted) == sum(session.timed) == 1
        assert session.counted == session.timed == ((0, 1) if "E" in answer else (1, 0))
        assert b"".join(session.answered) == whole


def test_an_error_within_a_transaction_makes_it_a_failed_one_when_it_ends(session: Session) -> None:
    for answer in ("C ZT", "E ZE", "C ZI"):
        session.ask("Q", takes=1)
        session.answer(answer)
    assert session.counted == session.timed == (0, 1)
    assert session.requests.error_seconds.sum == 3.0
    session.ask("Q")
    session.answer("C ZI")
    assert session.counted == session.timed == (1, 1), "the next one is not to blame"


def test_several_errors_of_one_transaction_make_one_failed_one(session: Session) -> None:
    session.ask("Q Q")
    session.answer("E ZE E ZI")
    assert session.counted == session.timed == (0, 1)


@pytest.mark.parametrize(
    ("answer", "counted", "timed"),
    [
        ("C ZI C ZI C ZI", (3, 0), (1, 0)),
        ("C ZI C ZI E ZI", (2, 1), (0, 1)),
        ("E ZI C ZI E ZI", (1, 2), (0, 1)),
        ("E ZI E ZI E ZI", (0, 3), (0, 1)),
    ],
)
def test_a_pipeline_answered_at_once_is_counted_one_by_one_and_timed_once(
    session: Session, answer: str, counted: tuple[int, int], timed: tuple[int, int]
) -> None:
    session.ask("Q Q Q", takes=2)
    session.answer(answer)
    assert session.counted == counted
    assert session.timed == timed
    assert session.requests.seconds.sum + session.requests.error_seconds.sum == 2.0
    assert session.questions.since == 0.0


def test_an_extended_pipeline_ends_with_its_sync(session: Session) -> None:
    session.ask("P B D E P B D E S", takes=1)
    session.answer("1 2 T D C", takes=1)
    assert session.counted == (0, 0)
    session.answer("1 2 T D C ZI")
    assert session.counted == session.timed == (1, 0)
    assert session.requests.seconds.sum == 2.0


def test_a_server_that_is_ready_unasked_is_counted_and_took_no_time(session: Session) -> None:
    session.answer("ZI")
    assert session.counted == session.timed == (1, 0)
    assert session.requests.seconds.sum == 0.0
    assert session.questions.since == 0.0


def test_what_may_come_unasked_is_no_transaction(session: Session) -> None:
    session.answer("S N A")
    assert session.counted == session.timed == (0, 0)


def test_the_server_s_notices_do_not_end_the_time(session: Session) -> None:
    session.ask("Q", takes=1)
    session.answer("N S A", takes=1)
    session.answer("C ZI")
    assert session.requests.seconds.sum == 2.0


# Leaving


def test_a_session_that_nobody_asked_to_leave_stays(session: Session) -> None:
    assert session.answers.leaving is None
    session.ask("Q")
    session.answer("C ZI")
    assert session.left == []


def test_it_may_leave_when_its_transaction_is_over_and_was_passed_on(session: Session) -> None:
    session.leave()
    session.ask("Q")
    session.answer("T D")
    assert session.left == []
    session.answer("C ZI")
    assert session.left == [2]


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("Q", "C ZT"),
        ("Q", "E ZE"),
        ("Q Q", "C ZI"),
        ("Q P", "C ZI"),
        ("P B E S P B E S", "1 2 C ZI"),
        ("Q", "C ZI T"),
    ],
)
def test_it_may_not_leave_while_something_is_owed_or_open(session: Session, question: str, answer: str) -> None:
    session.leave()
    session.ask(question)
    taken = from_server(answer)
    session.answers.take(taken if not answer.endswith("T") or answer.endswith("ZT") else taken[:-1])
    assert session.left == []


def test_it_may_not_leave_in_the_middle_of_a_question(session: Session) -> None:
    session.leave()
    session.questions.take(from_client("Q Q")[:-3])
    session.answer("C ZI")
    assert session.left == []


def test_it_may_not_leave_after_the_client_s_goodbye(session: Session) -> None:
    session.leave()
    session.ask("Q")
    session.questions.take(TERMINATE)
    session.answer("C ZI")
    assert session.left == []
    assert session.counted == (1, 0)


def test_it_is_asked_again_until_it_has_left(session: Session) -> None:
    session.leave()
    for _ in range(3):
        session.ask("Q")
        session.answer("C ZI")
    assert session.left == [1, 2, 3]
    session.answers.leaving = None
    session.ask("Q")
    session.answer("C ZI")
    assert session.left == [1, 2, 3]


def test_the_transaction_at_whose_end_it_leaves_is_counted_before(session: Session) -> None:
    seen: list[tuple[int, int]] = []
    session.answers.leaving = lambda: seen.append(session.counted)
    session.ask("Q")
    session.answer("E ZI")
    assert seen == [(0, 1)]
