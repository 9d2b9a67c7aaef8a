"""What every authenticator must do, whichever it is. A new one needs one entry in `CASES`."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from pydantic import ValidationError

from ambassador import registry
from ambassador.access.base import Authenticator, Check, Claim, Proven, Refused, Verdict
from ambassador.config.model import Model
from ambassador.config.schema import AccessSettings
from ambassador.credentials.credential import Credential
from ambassador.credentials.store import Store
from ambassador.net.facts import TlsFacts
from ambassador.net.peer import Peer
from tests.support.secrets import canary

REMOTE = Peer("192.0.2.1:5", "192.0.2.1", 5)
LOCAL = Peer("unix:", uid=os.getuid(), gid=os.getgid(), pid=os.getpid())
SELF = str(os.getuid())
PASSWORD = canary("password")


class Handshake:
    """The part of an SSLObject that knows the peer's verified certificate."""

    def getpeercert(self) -> dict[str, Any]:
        return {"subject": ((("commonName", "app"),),)}


CERTIFICATE = TlsFacts(cast("ssl.SSLObject", Handshake()))


@dataclass(frozen=True)
class Case:
    """One kind at work.

    Args:
        options: as written in a file.
        known: claims that are let in, at once or with `PASSWORD`.
        strangers: claims that are not.
        alike: pairs of claims that must get the same answer: one that exists, one that does not.
    """

    options: Mapping[str, Any]
    known: tuple[Claim, ...]
    strangers: tuple[Claim, ...] = ()
    alike: tuple[tuple[Claim, Claim], ...] = field(default=())


CASES: dict[str, Case] = {
    "trust": Case({}, known=(Claim("app", REMOTE), Claim("anybody", LOCAL), Claim(None, LOCAL))),
    "password": Case(
        {"credential": "clients"},
        known=(Claim("app", REMOTE), Claim("app", LOCAL), Claim("app", REMOTE, CERTIFICATE)),
        strangers=(Claim("nobody", REMOTE), Claim("", LOCAL), Claim(None, LOCAL)),
        alike=((Claim("app", REMOTE), Claim("nobody", REMOTE)),),
    ),
    "peer": Case(
        {"users": {SELF: ["app"]}},
        known=(Claim("app", LOCAL), Claim(None, LOCAL)),
        strangers=(Claim("other", LOCAL), Claim("", LOCAL), Claim("app", REMOTE), Claim("app", REMOTE, CERTIFICATE)),
    ),
    "mtls": Case(
        {"users": {"cn:app": ["app"]}},
        known=(Claim("app", REMOTE, CERTIFICATE), Claim(None, REMOTE, CERTIFICATE)),
        strangers=(Claim("other", REMOTE, CERTIFICATE), Claim("", REMOTE, CERTIFICATE), Claim("app", LOCAL)),
    ),
}


@pytest.fixture(params=sorted(registry.AUTHENTICATORS))
def kind(request: pytest.FixtureRequest) -> str:
    """Every authenticator of the registry."""
    found: str = request.param
    return found


@pytest.fixture
def case(kind: str) -> Case:
    return CASES[kind]


def make(kind: str, case: Case) -> Authenticator:
    """As the daemon makes it: from the words of a file."""
    store = Store()
    store.put(Credential("clients", 1, {"username": b"app", "password": PASSWORD.encode()}))
    settings = AccessSettings.model_validate({kind: case.options})
    found: Authenticator = registry.resolve("authenticators", settings.kind)(settings.options, store)
    return found


@asynccontextmanager
async def at_work(kind: str, case: Case) -> AsyncIterator[Authenticator]:
    found = make(kind, case)
    await found.start()
    try:
        yield found
    finally:
        await found.stop()


def lets_in(verdict: Verdict, password: str) -> bool:
    return verdict.password_matches(password.encode()) if isinstance(verdict, Check) else isinstance(verdict, Proven)


def test_it_is_an_authenticator_whose_options_are_a_frozen_model_of_its_own(kind: str) -> None:
    found = registry.resolve("authenticators", kind)
    assert issubclass(found, Authenticator)
    assert issubclass(found.Options, Model)
    assert found.Options is not Model
    assert found.Options.__doc__


def test_it_refuses_options_it_does_not_know(kind: str, case: Case) -> None:
    with pytest.raises(ValidationError):
        AccessSettings.model_validate({kind: {**case.options, "no_such_option": 1}})


async def test_those_it_knows_are_let_in_under_a_name_and_a_method(kind: str, case: Case) -> None:
    async with at_work(kind, case) as found:
        for claim in case.known:
            verdict = await found.identify(claim)
            assert lets_in(verdict, PASSWORD)
            assert isinstance(verdict, Proven | Check)
            assert verdict.principal.method == kind


async def test_strangers_are_not_and_the_log_is_told_why(kind: str, case: Case) -> None:
    async with at_work(kind, case) as found:
        for claim in case.strangers:
            verdict = await found.identify(claim)
            assert not lets_in(verdict, PASSWORD)
            if isinstance(verdict, Refused):
                assert verdict.reason


async def test_who_must_show_a_password_does_not_get_in_with_a_wrong_one(kind: str, case: Case) -> None:
    async with at_work(kind, case) as found:
        for claim in (*case.known, *case.strangers):
            verdict = await found.identify(claim)
            if isinstance(verdict, Check):
                assert not lets_in(verdict, "wrong")
                assert not verdict.md5_matches(claim.user or "", b"salt", b"md5" + b"0" * 32)


async def test_whoever_is_unknown_gets_the_same_answer_as_the_known(kind: str, case: Case) -> None:
    async with at_work(kind, case) as found:
        for known, unknown in case.alike:
            first, second = await found.identify(known), await found.identify(unknown)
            assert isinstance(first, Check)
            assert type(first) is type(second)
            assert isinstance(second, Check)
            assert first.method == second.method
            ours, theirs = first.scram_verifier(), second.scram_verifier()
            assert (ours.iterations, len(ours.salt), len(ours.candidates)) == (
                theirs.iterations,
                len(theirs.salt),
                len(theirs.candidates),
            )
            assert (await found.identify(unknown)) is not second
            again = await found.identify(unknown)
            assert isinstance(again, Check)
            assert again.scram_verifier().salt == theirs.salt


async def test_what_it_says_holds_no_password(kind: str, case: Case) -> None:
    async with at_work(kind, case) as found:
        said = [repr(found), repr(found.options), repr(vars(found))]
        for claim in (*case.known, *case.strangers):
            verdict = await found.identify(claim)
            said += [repr(verdict), str(verdict)]
            if isinstance(verdict, Check):
                said += [repr(verdict.scram_verifier())]
    assert not [text for text in said if PASSWORD in text]


async def test_many_at_once_are_judged_each_by_itself(kind: str, case: Case) -> None:
    claims = [*case.known, *case.strangers] * 10
    async with at_work(kind, case) as found:
        verdicts = await asyncio.gather(*(found.identify(claim) for claim in claims))
    expected = ([True] * len(case.known) + [False] * len(case.strangers)) * 10
    assert [lets_in(verdict, PASSWORD) for verdict in verdicts] == expected


async def test_it_names_the_credentials_it_needs_and_stops_cleanly_twice(kind: str, case: Case) -> None:
    found = make(kind, case)
    assert set(found.credentials()) <= {"clients"}
    await found.start()
    await found.stop()
    await found.stop()
