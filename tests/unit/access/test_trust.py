"""Everyone is who they say they are."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from ambassador.access.base import Claim, Principal, Proven
from ambassador.access.trust import Trust, TrustOptions
from ambassador.credentials.store import Store
from ambassador.net.peer import Peer


@pytest.mark.parametrize(("user", "name"), [("app", "app"), ("", ""), (None, "")])
async def test_everyone_is_let_in_under_the_name_they_claim(user: str | None, name: str) -> None:
    verdict = await Trust(TrustOptions(), Store()).identify(Claim(user, Peer("127.0.0.1:5", "127.0.0.1", 5)))
    assert verdict == Proven(Principal(name, "trust"))


def test_it_has_no_options() -> None:
    with pytest.raises(ValidationError):
        TrustOptions.model_validate({"users": ["app"]})
