"""What an authenticator is asked, and what it answers."""

from __future__ import annotations

import pytest

from ambassador.access.base import Authenticator, Claim, Principal, Proven, Refused, Verdict
from ambassador.config.model import Model
from ambassador.credentials.store import Store
from ambassador.net.peer import Peer


class Least(Authenticator):
    """The least an authenticator must do."""

    Options = Model

    async def identify(self, claim: Claim) -> Verdict:
        return Refused("nobody")


async def test_an_authenticator_that_says_nothing_more_needs_no_credential() -> None:
    found = Least(Model(), Store())
    await found.start()
    assert found.credentials() == ()
    assert await found.identify(Claim("app", Peer("unix:"))) == Refused("nobody")
    await found.stop()


def test_an_authenticator_that_identifies_nobody_is_none() -> None:
    class Nothing(Authenticator):
        Options = Model

    with pytest.raises(TypeError, match="abstract"):
        Nothing(Model(), Store())  # type: ignore[abstract]  # that is the point


def test_verdicts_are_values() -> None:
    assert Proven(Principal("app", "trust")) == Proven(Principal("app", "trust"))
    assert Claim("app", Peer("unix:")).tls is None
