"""What ends, ends when it should; and is renewed no further than it may."""

from __future__ import annotations

from datetime import datetime

import pytest

from tests.support.fake_vault_answers import Loan, No, duration, frame, stamp

PAST = (400, "past")


def test_a_loan_is_renewed_for_what_was_asked_or_for_what_it_was_made_for() -> None:
    loan = Loan(10, 1100.0, renewable=True, issued=1000.0)
    assert (loan.ends, loan.left(1000.0), loan.left(1009.5)) == (1010.0, 10, 1)
    assert loan.renew(0, 1005.0, PAST) is None
    assert (loan.ends, loan.renewed) == (1015.0, 1005.0)
    loan.renew(30, 1006.0, PAST)
    assert loan.ends == 1036.0


def test_a_renewal_is_capped_and_says_so() -> None:
    loan = Loan(10, 1012.0, renewable=True, issued=1000.0)
    warnings = loan.renew(0, 1005.0, PAST)
    assert loan.ends == 1012.0
    assert warnings == ['TTL of "10s" exceeded the effective max_ttl of "7s"; TTL value is capped accordingly']


def test_what_is_past_its_end_or_cannot_be_renewed_is_not() -> None:
    with pytest.raises(No) as caught:
        Loan(10, 1012.0, renewable=True, issued=1000.0).renew(0, 1012.0, PAST)
    assert caught.value.said == (400, {"errors": ["past"]})
    with pytest.raises(No, match="not renewable"):
        Loan(10, 1012.0, renewable=False, issued=1000.0).renew(0, 1001.0, PAST)


@pytest.mark.parametrize(("seconds", "text"), [(0, "0s"), (45, "45s"), (60, "1m"), (5400, "1h30m"), (3605, "1h5s")])
def test_durations_are_written_as_in_go(seconds: int, text: str) -> None:
    assert duration(seconds) == text


def test_a_stamp_has_nanoseconds() -> None:
    text = stamp(1000.25)
    assert text == "1970-01-01T00:16:40.250000000Z"
    assert datetime.fromisoformat(text).timestamp() == 1000.25


def test_a_frame_stands_around_data_or_auth() -> None:
    assert frame({"a": 1})["data"] == {"a": 1}
    assert frame(auth={"b": 2})["data"] is None
