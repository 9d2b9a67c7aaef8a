from __future__ import annotations

import pytest

from ambassador.wire.postgres.messages import error_response, message
from ambassador.wire.postgres.tracker import Tracker
from tests.support.shorthand import from_client, from_server
from tests.support.twins import TWINS, tracker_module


@pytest.fixture(params=TWINS)
def tracker(request: pytest.FixtureRequest) -> Tracker:
    new = tracker_module(request.param).Tracker()
    assert hasattr(new, "last_code")
    return new  # type: ignore[no-any-return]  # a class found at run time


def test_a_session_begins_idle(tracker: Tracker) -> None:
    assert tracker.clean
    assert tracker.status == b"I"
    assert not tracker.in_transaction
    assert not tracker.last_fatal
    assert tracker.last_code == ""


def test_the_status_is_what_the_server_said_last(tracker: Tracker) -> None:
    for word, status in (("ZT", b"T"), ("ZE", b"E"), ("ZI", b"I")):
        tracker.from_client(from_client("Q"))
        tracker.from_server(from_server(f"C {word}"))
        assert tracker.status == status
        assert tracker.in_transaction == (status != b"I")
        assert tracker.idle
        assert tracker.clean == (status == b"I")


def test_an_error_is_remembered(tracker: Tracker) -> None:
    tracker.from_client(from_client("Q"))
    tracker.from_server(from_server("E:42P01 ZI"))
    assert tracker.errors == 1
    assert tracker.last_code == "42P01"
    assert not tracker.last_fatal


@pytest.mark.parametrize("severity", ["FATAL", "PANIC"])
def test_the_last_word_of_a_server_is_known_as_such(tracker: Tracker, severity: str) -> None:
    data = error_response(severity, "57P01", "terminating connection due to administrator command" * 10)
    for start in range(0, len(data), 7):
        assert not tracker.last_fatal or start > 40
        tracker.from_server(data[start : start + 7])
    assert tracker.last_fatal
    assert tracker.last_code == "57P01"


def test_an_error_without_sqlstate_has_the_code_of_internal_errors(tracker: Tracker) -> None:
    tracker.from_server(message(b"E", b"SFATAL\0VFATAL\0Mno code\0\0"))
    assert tracker.last_code == "XX000"
    assert tracker.last_fatal


def test_a_later_error_that_is_not_the_last_word_takes_its_place(tracker: Tracker) -> None:
    tracker.from_server(from_server("F:57P01 E:22012"))
    assert not tracker.last_fatal
    assert tracker.last_code == "22012"


def test_a_tracker_holds_nothing_but_its_own(tracker: Tracker) -> None:
    with pytest.raises(AttributeError):
        tracker.something = 1  # type: ignore[attr-defined]  # what is tested
