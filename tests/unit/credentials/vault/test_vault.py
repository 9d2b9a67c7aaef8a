"""One Vault at work: logs in when needed, keeps its token alive, asks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from ambassador.credentials.vault import vault as module
from ambassador.credentials.vault.attempts import FIRST_RETRY, LONGEST_REFUSAL
from ambassador.credentials.vault.failure import Kind, VaultError
from ambassador.credentials.vault.operation import Operation
from ambassador.credentials.vault.vault import FIRST_DOUBT
from ambassador.demo.servers import Certificates
from ambassador.telemetry.metrics import Metrics
from tests.support.certificates import Authority
from tests.support.clock import ManualClock
from tests.support.fake_vault import FakeVault
from tests.support.house import until
from tests.support.openbao import OpenBao
from tests.support.secrets import canary
from tests.support.vaults import LOGIN, Opened, at, counted, opened

Logged = Callable[[], list[dict[str, Any]]]

# Asking


async def test_it_logs_in_when_first_asked_and_once_however_many_ask(server: FakeVault, clock: ManualClock) -> None:
    async with at(server, clock) as found:
        assert server.asked() == []
        answers = await asyncio.gather(*(found.read() for _ in range(20)))
        assert {answer["data"]["username"] for answer in answers} == {"u"}
        assert len(server.asked("auth")) == 1
        assert found.vault.trouble is None
        assert found.metrics.requests == {("login", "ok"): 1, ("read_secret", "ok"): 20}
        assert found.metrics.token_expires == clock.wall() + 3600


async def test_it_tells_what_failed_until_something_works(server: FakeVault, clock: ManualClock) -> None:
    async with at(server, clock) as found:
        error = await found.fails("kv/nothing")
        assert error.kind is Kind.MISSING
        assert found.vault.trouble == str(error)
        assert found.metrics.requests["read_secret", "missing"] == 1
        await found.read()
        assert found.vault.trouble is None


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ({"status": 503, "errors": ["Vault is sealed"]}, Kind.SEALED),
        ({"status": 429, "errors": []}, Kind.BUSY),
        ({"status": 500, "errors": ["storage"]}, Kind.FAILED),
        ({"status": 400, "errors": ["no"]}, Kind.REJECTED),
        ({"act": "hang"}, Kind.TIMEOUT),
        ({"act": "drip"}, Kind.TIMEOUT),
        ({"act": "endless"}, Kind.TIMEOUT),
        ({"act": "close"}, Kind.UNREACHABLE),
        ({"act": "cut"}, Kind.UNREACHABLE),
    ],
)
async def test_faults_have_their_word_and_their_number(
    server: FakeVault, clock: ManualClock, fault: dict[str, Any], kind: Kind
) -> None:
    async with at(server, clock, timeout=0.4) as found:
        await found.read()
        server.on("kv", **fault)
        assert (await found.fails()).kind is kind
        assert found.metrics.requests["read_secret", kind] == 1
        server.as_usual()
        await found.read()
        assert len(server.asked("auth")) == 1


async def test_the_loop_does_not_wait_while_a_vault_is_slow(server: FakeVault, clock: ManualClock) -> None:
    async with at(server, clock) as found:
        await found.vault.reach()
        server.on("kv", delay=0.5)
        asking = asyncio.ensure_future(found.read())
        turns = 0
        while not asking.done():
            await asyncio.sleep(0.001)
            turns += 1
        assert turns > 100


async def test_an_ask_that_is_given_up_harms_nobody(server: FakeVault, clock: ManualClock) -> None:
    async with at(server, clock) as found:
        await found.vault.reach()
        server.on("kv", delay=0.2)
        asking = asyncio.ensure_future(found.read())
        await asyncio.sleep(0.05)
        asking.cancel()
        await asyncio.wait([asking])
        await found.read()
        assert found.metrics.requests == {("login", "ok"): 1, ("read_secret", "cancelled"): 1, ("read_secret", "ok"): 1}


# Denied


async def test_a_token_that_was_revoked_is_replaced_once_however_many_are_denied(
    server: FakeVault, clock: ManualClock
) -> None:
    async with at(server, clock) as found:
        await found.vault.reach()
        told = []
        found.vault.on_token(lambda: told.append(1))
        assert found.shown is not None
        server.revoke(found.shown).on("kv", delay=0.05)
        answers = await asyncio.gather(*(found.read() for _ in range(50)))
        assert len(answers) == 50
        assert len(server.asked("auth")) == 2
        assert told == [1]


async def test_where_a_policy_is_missing_logins_are_few_and_the_token_stays(
    server: FakeVault, clock: ManualClock
) -> None:
    """Each login that helps nobody would end the leases of all, if it took the place of the one before."""
    async with at(server, clock) as found:
        await found.vault.reach()
        before = found.shown
        server.deny("kv")
        for _ in range(120):
            assert (await found.fails()).kind is Kind.DENIED
            await clock.advance(5.0)
        logins = len(server.asked("auth/userpass"))
        assert 2 < logins < 20
        assert found.shown == before
        # Those that helped nobody are revoked at once.
        assert set(server.contents.tokens) == {server.root, before}
        server.deny()
        await found.read()
        assert len(server.asked("auth/userpass")) == logins


async def test_many_that_are_denied_at_once_cause_one_login(server: FakeVault, clock: ManualClock) -> None:
    async with at(server, clock) as found:
        await found.vault.reach()
        server.deny("kv").on("kv", delay=0.02)
        await asyncio.gather(*(found.fails() for _ in range(50)))
        assert len(server.asked("auth/userpass")) == 2


async def test_what_another_token_does_not_help_is_not_tried_with_one(server: FakeVault, clock: ManualClock) -> None:
    async with at(server, clock) as found:
        await found.vault.reach()
        server.deny("kv")
        assert (await found.fails(insist=False)).kind is Kind.DENIED
        assert len(server.asked("auth")) == 1


async def test_a_login_that_gives_the_same_token_again_helps_nobody(
    server: FakeVault, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIVEN", server.token())
    async with opened(server.url, {"token": {"env": "GIVEN"}}, clock=clock) as vault:
        found, told = Opened(vault, Metrics()), []
        vault.on_token(lambda: told.append(1))
        await found.read()
        server.deny("kv")
        for _ in range(10):
            assert (await found.fails()).kind is Kind.DENIED
        assert len(server.asked("auth/token/lookup-self")) == 2
        await clock.advance(FIRST_DOUBT * 2)
        await found.fails()
        assert len(server.asked("auth/token/lookup-self")) == 3
        assert told == []


async def test_whoever_wants_to_hear_no_more_is_not_told(server: FakeVault, clock: ManualClock) -> None:
    told = []
    async with at(server, clock) as found:
        unsubscribe = found.vault.on_token(lambda: told.append(1))
        await found.vault.reach()
        unsubscribe()
        unsubscribe()
        assert found.shown is not None
        server.revoke(found.shown)
        await found.read()
        assert told == []


# A login that fails


async def test_a_login_that_fails_is_not_tried_over_and_over(
    server: FakeVault, clock: ManualClock, monkeypatch: pytest.MonkeyPatch, logged: Logged
) -> None:
    monkeypatch.setenv("DOOR", canary("wrong"))
    async with at(server, clock) as found:
        for _ in range(600):
            assert (await found.fails()).kind is Kind.REJECTED
            await clock.advance(1.0)
        logins = len(server.asked())
        assert 2 <= logins <= 11, "a Vault locks out who tries too often"
        monkeypatch.setenv("DOOR", "open")
        await clock.advance(LONGEST_REFUSAL + 1)
        await found.read()
        assert len(server.asked("auth")) == logins + 1
    events = [line["event"] for line in logged() if line["level"] != "debug"]
    assert events == ["vault login failed", "vault login recovered", "vault login"]


async def test_many_who_wait_for_a_login_that_fails_share_its_failure(
    server: FakeVault, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOOR", "closed")
    async with at(server, clock) as found:
        errors = await asyncio.gather(*(found.fails() for _ in range(50)))
        assert len({str(error) for error in errors}) == 1
        assert len(server.asked()) == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda said: {},
        lambda said: [],
        lambda said: "text",
        lambda said: said | {"auth": None},
        lambda said: said | {"auth": said["auth"] | {"client_token": "a\r\nb"}},
        lambda said: said | {"auth": said["auth"] | {"lease_duration": "soon"}},
    ],
)
async def test_an_answer_without_a_token_is_no_login(
    server: FakeVault, clock: ManualClock, change: Callable[[Any], Any]
) -> None:
    server.on(LOGIN, change=change)
    async with at(server, clock) as found:
        error = await found.fails()
        assert (error.kind, found.vault.token) == (Kind.MALFORMED, None)
        assert "its answer has no usable token" in str(error)
        assert found.metrics.token_expires is None


async def test_an_answer_that_is_not_json_is_no_login(server: FakeVault, clock: ManualClock) -> None:
    server.on(LOGIN, body="<html>")
    async with at(server, clock) as found:
        assert (await found.fails()).kind is Kind.MALFORMED


async def test_nothing_to_log_in_with_asks_nobody(
    server: FakeVault, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DOOR")
    async with at(server, clock) as found:
        error = await found.fails()
        assert error.kind is Kind.NOT_READY
        assert "the environment variable DOOR is not set" in str(error)
        assert server.asked() == []


# The life of a token


async def test_one_that_has_ended_is_replaced_when_it_is_needed(server: FakeVault, clock: ManualClock) -> None:
    async with at(server, clock) as found:
        await found.read()
        await clock.advance(3600)
        await found.read()
        assert counted(server, LOGIN) == 2


async def test_a_wall_clock_that_jumps_changes_nothing(server: FakeVault, clock: ManualClock) -> None:
    async with at(server, clock, kept=True) as found:
        await found.read()
        for jump in (1e8, -2e8):
            clock.jump(jump)
            await clock.advance(60)
            await found.read()
        assert len(server.asked("auth")) == 1


async def test_a_renewal_that_moves_the_end_ends_the_trouble_and_one_that_grants_what_is_left_does_not(
    server: FakeVault, clock: ManualClock
) -> None:
    told = []
    async with at(server, clock) as found:
        await found.vault.reach()
        token = found.vault.token
        assert token is not None
        found.vault.worry(token, "it is sealed")
        found.vault.on_token(lambda: told.append(token.trouble))
        await clock.advance(3000)
        server.on("auth/token/renew-self", change=lambda said: said | {"auth": said["auth"] | {"lease_duration": 600}})
        await found.vault.renew(token)
        assert (token.trouble, told) == ("it is sealed", [])
        server.as_usual()
        await found.vault.renew(token)
        assert (token.trouble, told) == (None, [None])


async def test_a_renewal_that_is_refused_and_a_login_that_gives_the_same_is_a_failure(
    server: FakeVault, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIVEN", server.token(ttl=600))
    server.on("auth/token/renew-self", status=403, errors=["permission denied"])
    server.on("auth/token/lookup-self", change=lambda said: said | {"data": said["data"] | {"ttl": 600}})
    async with opened(server.url, {"token": {"env": "GIVEN"}}, clock=clock) as vault:
        await vault.reach()
        assert vault.token is not None
        with pytest.raises(VaultError, match="to renew our token"):
            await vault.renew(vault.token)


async def test_waits_are_short_again_after_a_renewal_and_near_the_end(server: FakeVault, clock: ManualClock) -> None:
    async with at(server, clock) as found:
        await found.vault.reach()
        token = found.vault.token
        assert token is not None
        assert max(found.vault.rest(token) for _ in range(20)) > 2
        await found.vault.renew(token)
        assert found.vault.rest(token) <= FIRST_RETRY
        await clock.advance(3590)
        assert max(found.vault.rest(token) for _ in range(20)) <= 2.5


# The end


async def test_a_login_that_nobody_waits_for_any_more_is_taken_back(server: FakeVault, clock: ManualClock) -> None:
    async with at(server, clock) as found:
        server.on(LOGIN, delay=0.3)
        asking = [asyncio.ensure_future(found.read()) for _ in range(4)]
        await until("the login", lambda: len(server.asked("auth")) == 1)
        for one in asking:
            one.cancel()
        await asyncio.wait(asking)
        await until("it to be taken back", lambda: [*server.contents.tokens] == [server.root])
        assert found.vault.token is None


async def test_in_the_end_our_token_is_revoked(server: FakeVault, clock: ManualClock) -> None:
    async with at(server, clock) as found:
        await found.read()
    assert [*server.contents.tokens] == [server.root]
    assert found.vault.token is None


async def test_it_is_left_where_we_are_told_to(server: FakeVault, clock: ManualClock) -> None:
    async with at(server, clock, revoke=False) as found:
        await found.read()
    assert len(server.contents.tokens) == 2


@pytest.mark.parametrize("fault", [{"act": "hang"}, {"status": 500, "errors": ["no"]}])
async def test_an_end_that_fails_is_said_and_does_not_last(
    server: FakeVault, clock: ManualClock, fault: dict[str, Any], logged: Logged
) -> None:
    async with at(server, clock, timeout=1.0) as found:
        await found.read()
        server.on("auth/token/revoke-self", **fault)
        async with asyncio.timeout(1.0):
            await found.vault.close(0.2)
    assert [line["vault"] for line in logged() if line["event"] == "vault token not revoked"] == ["main"]


# Several, and namespaces


async def test_several_vaults_do_not_meet(server: FakeVault, clock: ManualClock) -> None:
    with FakeVault().login(LOGIN, password="open").key_value("kv", 1) as second:
        second.put("kv", "app", username="second").deny("kv/other")
        async with at(server, clock, name="a") as one, at(second, clock, name="b") as two:
            assert [(await each.read())["data"]["username"] for each in (one, two)] == ["u", "second"]
            second.seal()
            assert (await two.fails()).kind is Kind.SEALED
            await one.read()
            assert "vault 'b'" in str(two.vault.trouble)


async def test_a_namespace_is_that_of_login_and_requests(openbao: OpenBao, monkeypatch: pytest.MonkeyPatch) -> None:
    space = openbao.namespace("shop")
    store = space.key_value(1)
    store.put("app", {"username": "in the shop"})
    user = space.userpass(space.policy("reader", store.reading()))
    monkeypatch.setenv("DOOR", user.password)
    login = {"userpass": {"username": user.name, "password_env": "DOOR", "mount": user.mount}}
    async with opened(openbao.url, login, namespace="shop") as vault:
        found = Opened(vault, Metrics())
        assert (await found.read(store.path("app")))["data"] == {"username": "in the shop"}
    async with opened(openbao.url, login) as vault:
        assert (await Opened(vault, Metrics()).fails(store.path("app"))).kind in {Kind.DENIED, Kind.REJECTED}


async def test_a_replaced_certificate_of_the_vault_is_accepted(authority: Authority, clock: ManualClock) -> None:
    first, second = authority.server("127.0.0.1"), authority.server("localhost", "127.0.0.1")
    with OpenBao(certificates=Certificates(first.cert, first.key)) as server:
        user = server.userpass()
        (authority.file.parent / "password").write_text(user.password)
        words = {
            "username": user.name,
            "password_file": authority.file.parent / "password",
            "mount": user.mount,
        }
        async with opened(server.url, {"userpass": words}, clock=clock, tls={"ca": authority.file}) as vault:
            await vault.reach()
            server.replace_certificate(Certificates(second.cert, second.key))
            await clock.advance(1e9)
            await vault.reach()


async def test_what_it_says_of_itself_holds_no_secret(
    server: FakeVault, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = canary("password")
    monkeypatch.setenv("DOOR", secret)
    server.login(LOGIN, password=secret)
    async with at(server, clock) as found:
        await found.read()
        assert found.vault.describe() == f"{server.url}, userpass user app"
        assert found.shown is not None
        told = [found.vault.describe(), repr(found.vault), repr(vars(found.vault)), repr(found.metrics.requests)]
        assert not [text for text in told if secret in text or found.shown in text]


def test_what_is_asked_is_a_closed_list() -> None:
    assert {*Operation} == {
        "login", "renew_token", "revoke_token", "read_secret", "read_database", "issue_certificate", "renew_lease",
        "revoke_lease",
    }  # fmt: skip


async def test_what_keeps_alive_does_not_wait_for_what_hangs(server: FakeVault, clock: ManualClock) -> None:
    server.key_value("slow", 1).on("slow", act="hang")
    async with at(server, clock, timeout=1.5) as found:
        await found.read()
        waiting = [asyncio.ensure_future(found.fails("slow/app")) for _ in range(module.MOST_OTHERS + 4)]
        await until("all places to be taken", lambda: counted(server, "slow") == module.MOST_OTHERS)
        assert found.vault.token is not None
        await found.vault.renew(found.vault.token)
        assert not any(task.done() for task in waiting)
        assert {(await task).kind for task in waiting} == {Kind.TIMEOUT}


async def test_it_is_logged_in_as_long_as_its_token_lasts(server: FakeVault, clock: ManualClock) -> None:
    async with at(server, clock) as found:
        seen = [found.vault.logged_in]
        await found.read()
        seen.append(found.vault.logged_in)
        await clock.advance(3601)
        assert [*seen, found.vault.logged_in] == [False, True, False]
