from __future__ import annotations

import pytest

from ambassador.wire.postgres.login import events

SECRET = b"do not print"
HOLDERS = [
    events.CancelRequested(1, SECRET),
    events.PasswordReceived(SECRET),
    events.Md5Received(SECRET),
    events.KeysNeeded(SECRET, SECRET, 4096),
    events.LoggedIn({}, SECRET, 1, SECRET, b"I", SECRET, "none"),
]


@pytest.mark.parametrize("event", HOLDERS, ids=lambda event: type(event).__name__)
def test_events_do_not_print_secrets(event: object) -> None:
    assert "do not print" not in repr(event)
    assert type(event).__name__ in repr(event)
