"""A password that the client must show."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pydantic import ValidationError

from ambassador.access import candidates
from ambassador.access.base import Claim, Principal, Refused
from ambassador.access.password import Password, PasswordCheck, PasswordOptions
from ambassador.credentials.credential import Credential
from ambassador.credentials.store import Store
from ambassador.errors import CredentialError, Reason
from ambassador.net.peer import Peer
from ambassador.wire import scram
from ambassador.wire.scram import ScramClient, ScramError, ScramServer, Verifier
from tests.support.clock import ManualClock

PEER = Peer("192.0.2.1:5", "192.0.2.1", 5)
SALT = b"\x01\x02\x03\x04"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def store(clock: ManualClock) -> Store:
    return Store(clock)


@asynccontextmanager
async def access(store: Store, clock: ManualClock, **options: Any) -> AsyncIterator[Password]:
    """An authenticator at work; of the credential `a` where nothing else is said."""
    if "credentials" not in options:
        options.setdefault("credential", "a")
    found = Password(PasswordOptions(**options), store, clock)
    await found.start()
    yield found
    await found.stop()


def put(
    store: Store, password: str | bytes, *, name: str = "a", user: str = "app", not_after: float | None = None
) -> None:
    fields = {"username": user.encode(), "password": password.encode() if isinstance(password, str) else password}
    store.put(Credential(name, store.next_version(name), fields, not_after=not_after))


async def check(found: Password, user: str) -> PasswordCheck:
    verdict = await found.identify(Claim(user, PEER))
    assert isinstance(verdict, PasswordCheck)
    return verdict


def scram_passes(verifier: Verifier, password: bytes) -> bool:
    """A whole exchange between a client with `password` and a server with `verifier`."""
    server = ScramServer(verifier, "s" * 24, plus=False, end_point=None)
    client = ScramClient("c" * 24)
    challenge = client.challenged(server.first(client.first()))
    proof = client.prove(scram.derive(password, challenge.salt, challenge.iterations))
    try:
        server.final(proof)
    except ScramError as error:
        return not error.refused
    client.verify(server.signature)
    return True


def md5_of(user: str, password: bytes, salt: bytes = SALT) -> bytes:
    inner = hashlib.md5(password + user.encode()).hexdigest().encode()
    return b"md5" + hashlib.md5(inner + salt).hexdigest().encode()


def passes(found: PasswordCheck, password: str | bytes) -> bool:
    """Whether `password` passes; asserts that all three methods agree."""
    raw = password.encode() if isinstance(password, str) else password
    user = found.principal.name
    answers = {
        scram_passes(found.scram_verifier(), raw),
        found.md5_matches(user, SALT, md5_of(user, raw)),
        found.password_matches(raw),
    }
    assert len(answers) == 1
    return answers.pop()


# Right and wrong


@pytest.mark.parametrize("password", [b"hunter22", b"x" * 900, bytes(range(1, 256)), "p\u00e4ss\u00ad\u2168".encode()])
async def test_the_right_password_of_the_right_user_passes(store: Store, clock: ManualClock, password: bytes) -> None:
    put(store, password)
    async with access(store, clock) as found:
        verdict = await check(found, "app")
        assert verdict.principal == Principal("app", "password")
        assert verdict.method == "scram-sha-256"
        assert passes(verdict, password)
        assert not passes(verdict, password + b"x")
        assert not passes(verdict, b"")


async def test_nobody_else_passes_with_whatever_password(store: Store, clock: ManualClock) -> None:
    put(store, "hunter22")
    async with access(store, clock) as found:
        for user in ("nobody", "", "App", "\udcff"):
            verdict = await check(found, user)
            assert not scram_passes(verdict.scram_verifier(), b"hunter22")
            assert not verdict.password_matches(b"hunter22")
            assert not verdict.md5_matches(user, SALT, md5_of("app", b"hunter22"))


async def test_an_unknown_user_is_asked_the_same_and_checked_at_the_same_cost(store: Store, clock: ManualClock) -> None:
    put(store, "one")
    put(store, "two")
    put(store, "other", name="b", user="other")
    async with access(store, clock, credentials=("a", "b")) as found:
        await check(found, "app")
        put(store, "three")
        verdicts = [await check(found, user) for user in ("app", "other", "nobody")]
    verifiers = [verdict.scram_verifier() for verdict in verdicts]
    assert {len(verifier.candidates) for verifier in verifiers} == {2}
    assert {verifier.iterations for verifier in verifiers} == {4096}
    assert {len(verifier.salt) for verifier in verifiers} == {16}
    assert len({verifier.salt for verifier in verifiers}) == 3


async def test_the_salt_of_a_user_stays_through_rotation_and_reload(store: Store, clock: ManualClock) -> None:
    put(store, "one")
    salts = set()
    for password in ("two", "three"):
        async with access(store, clock) as found:
            salts |= {(await check(found, user)).scram_verifier().salt for user in ("app", "nobody")}
            put(store, password)
            salts |= {(await check(found, user)).scram_verifier().salt for user in ("app", "nobody")}
    assert len(salts) == 2


async def test_md5_answers_are_bound_to_user_and_salt(store: Store, clock: ManualClock) -> None:
    put(store, "hunter22")
    async with access(store, clock, method="md5") as found:
        verdict = await check(found, "app")
        assert verdict.method == "md5"
        assert verdict.md5_matches("app", SALT, md5_of("app", b"hunter22"))
        assert not verdict.md5_matches("app", b"\x00\x00\x00\x00", md5_of("app", b"hunter22"))
        assert not verdict.md5_matches("other", SALT, md5_of("app", b"hunter22"))
        assert not verdict.md5_matches("app", SALT, b"md5")


async def test_a_protocol_without_users_has_no_way_to_ask(store: Store, clock: ManualClock) -> None:
    put(store, "hunter22")
    async with access(store, clock) as found:
        assert isinstance(await found.identify(Claim(None, PEER)), Refused)


# Several, and changing


async def test_several_credentials_may_name_the_same_user(store: Store, clock: ManualClock) -> None:
    put(store, "blue", name="blue")
    put(store, "green", name="green")
    async with access(store, clock, credentials=("blue", "green")) as found:
        verdict = await check(found, "app")
        assert passes(verdict, "blue")
        assert passes(verdict, "green")
        assert not passes(verdict, "red")


async def test_after_a_change_both_passwords_pass_until_the_grace_is_over(store: Store, clock: ManualClock) -> None:
    put(store, "old")
    async with access(store, clock, grace=60.0) as found:
        assert passes(await check(found, "app"), "old")
        put(store, "new")
        assert passes(await check(found, "app"), "new")
        await clock.advance(59)
        assert passes(await check(found, "app"), "old")
        await clock.advance(2)
        assert not passes(await check(found, "app"), "old")
        assert passes(await check(found, "app"), "new")


async def test_without_grace_the_old_password_ends_at_once(store: Store, clock: ManualClock) -> None:
    put(store, "old")
    async with access(store, clock, grace=0.0) as found:
        assert passes(await check(found, "app"), "old")
        put(store, "new")
        assert not passes(await check(found, "app"), "old")


async def test_a_changed_user_name_lets_the_old_one_in_for_the_grace(store: Store, clock: ManualClock) -> None:
    put(store, "old", user="app_v1")
    async with access(store, clock, grace=60.0) as found:
        await check(found, "app_v1")
        put(store, "new", user="app_v2")
        assert passes(await check(found, "app_v1"), "old")
        assert not passes(await check(found, "app_v1"), "new")
        assert passes(await check(found, "app_v2"), "new")


async def test_an_expired_password_does_not_pass(store: Store, clock: ManualClock) -> None:
    put(store, "short", not_after=clock.wall() + 10)
    put(store, "other", name="b", user="other")
    async with access(store, clock, credentials=("a", "b")) as found:
        assert passes(await check(found, "app"), "short")
        clock.jump(11)
        assert not passes(await check(found, "app"), "short")


async def test_nothing_is_derived_at_a_login(store: Store, clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    put(store, "hunter22")
    async with access(store, clock) as found:
        await check(found, "app")
        monkeypatch.setattr(scram, "derive", None)
        monkeypatch.setattr(hashlib, "pbkdf2_hmac", None)
        for user in ("app", "nobody"):
            assert (await check(found, user)).scram_verifier().candidates


async def test_all_users_alike_wait_for_keys_that_are_being_derived(
    store: Store, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, derive = threading.Event(), scram.derive

    def slowly(*arguments: Any) -> scram.Keys:
        assert gate.wait(10.0)
        return derive(*arguments)

    monkeypatch.setattr(scram, "derive", slowly)
    put(store, "hunter22")
    async with access(store, clock) as found:
        waiting = [asyncio.ensure_future(check(found, user)) for user in ("app", "nobody")]
        await asyncio.sleep(0.05)
        assert not any(one.done() for one in waiting)
        gate.set()
        assert [passes(await one, "hunter22") for one in waiting] == [True, False]


async def test_a_derivation_that_fails_leaves_what_was_accepted(
    store: Store, clock: ManualClock, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    put(store, "old")
    async with access(store, clock) as found:
        await check(found, "app")

        def failing(*arguments: Any) -> scram.Keys:
            raise MemoryError

        monkeypatch.setattr(scram, "derive", failing)
        put(store, "new")
        verdict = await check(found, "app")
        monkeypatch.undo()
        assert passes(verdict, "old")
    assert "task failed" in capfd.readouterr().err


async def test_a_credential_nobody_can_log_in_with_is_said_and_changes_nothing(
    store: Store, clock: ManualClock, capfd: pytest.CaptureFixture[str]
) -> None:
    put(store, "old")
    async with access(store, clock) as found:
        await check(found, "app")
        store.put(Credential("a", store.next_version("a"), {"password": b"nameless"}))
        assert passes(await check(found, "app"), "old")
    shown = capfd.readouterr().err
    assert "it needs both a user name and a password" in shown
    assert "nameless" not in shown


async def test_without_any_password_to_check_against_nobody_is_asked_for_one(store: Store, clock: ManualClock) -> None:
    async with access(store, clock, credentials=("a", "b")) as found:
        with pytest.raises(CredentialError, match="no valid password to check clients against in a, b") as caught:
            await found.identify(Claim("app", PEER))
        assert caught.value.reason is Reason.NO_CREDENTIAL
        put(store, "late", name="b")
        assert passes(await check(found, "app"), "late")


async def test_once_stopped_it_hears_of_no_change(store: Store, clock: ManualClock) -> None:
    put(store, "old")
    async with access(store, clock) as found:
        await check(found, "app")
    put(store, "new")
    assert not passes(await check(found, "app"), "new")
    await found.stop()


async def test_stopping_in_the_middle_of_a_derivation_leaves_nothing(store: Store, clock: ManualClock) -> None:
    put(store, "hunter22")
    async with access(store, clock) as found:
        assert len(found._tasks) == 1
    assert len(found._tasks) == 0


def test_there_are_decoys_for_as_many_as_one_user_can_have(store: Store) -> None:
    found = Password(PasswordOptions(credentials=("a", "b", "c")), store)
    assert len(found._decoys) == 3 * candidates.KEPT


# Options


def test_its_credentials_are_those_it_names(store: Store) -> None:
    assert Password(PasswordOptions(credential="a"), store).credentials() == ("a",)
    assert Password(PasswordOptions(credentials=("a", "b")), store).credentials() == ("a", "b")


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"credential": "a", "credentials": ["b"]},
        {"credentials": []},
        {"credentials": ["a", "a"]},
        {"credential": "a", "method": "plain"},
        {"credential": "a", "grace": "-1s"},
        {"credential": "a", "password": "hunter22"},
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        PasswordOptions.model_validate(options)


def test_a_password_in_the_clear_needs_tls_around_it() -> None:
    assert PasswordOptions(credential="a", method="cleartext").needs == {"passwords", "tls"}
    assert PasswordOptions(credential="a").needs == {"passwords"}
