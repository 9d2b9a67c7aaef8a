"""One Vault at work: logs in when needed, keeps its token alive, asks."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hvac.adapters import JSONAdapter

from ambassador.credentials.vault import vault as module
from ambassador.credentials.vault.failure import Kind, VaultError
from ambassador.credentials.vault.operation import Operation
from ambassador.credentials.vault.vault import FIRST_DOUBT, LONGEST_REFUSAL, Vault
from ambassador.demo.servers import Certificates
from ambassador.telemetry.metrics import Metrics, VaultMetrics
from tests.support.certificates import Authority
from tests.support.clock import ManualClock
from tests.support.fake_vault import FakeVault
from tests.support.house import until
from tests.support.openbao import OpenBao
from tests.support.secrets import canary
from tests.support.vaults import opened

Logged = Callable[[], list[dict[str, Any]]]

LOGIN = "auth/userpass/login/app"


@pytest.fixture
def server() -> Iterator[FakeVault]:
    """Lets in whoever is `app`, for an hour at a time; has one secret."""
    with FakeVault().login(LOGIN, password="open").key_value("kv", 1) as found:
        found.put("kv", "app", username="u")
        yield found


@pytest.fixture(autouse=True)
def password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOOR", "open")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


class Opened:
    """A Vault, and its counts."""

    def __init__(self, vault: Vault, metrics: Metrics) -> None:
        self.vault = vault
        self.metrics: VaultMetrics = metrics.vault(vault.name)

    async def read(self, path: str = "kv/app", **more: Any) -> Any:
        return await self.vault.ask(Operation.READ_SECRET, f"read {path}", reading(path), **more)

    async def fails(self, path: str = "kv/app", **more: Any) -> VaultError:
        with pytest.raises(VaultError) as caught:
            await self.read(path, **more)
        return caught.value

    @property
    def shown(self) -> str | None:
        """The token it has."""
        return None if self.vault.token is None else self.vault.token.secret.reveal().decode()


def reading(path: str) -> Callable[[JSONAdapter], Any]:
    return lambda adapter: adapter.get(f"/v1/{path}")


@asynccontextmanager
async def at(server: FakeVault, clock: ManualClock, **settings: Any) -> AsyncIterator[Opened]:
    metrics = Metrics()
    login = {"userpass": {"username": "app", "password_env": "DOOR"}}
    async with opened(server.url, login, clock=clock, metrics=metrics, **settings) as vault:
        yield Opened(vault, metrics)


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
        found.vault.on_login(lambda: told.append(1))
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
        vault.on_login(lambda: told.append(1))
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
        unsubscribe = found.vault.on_login(lambda: told.append(1))
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


def counted(server: FakeVault, prefix: str) -> int:
    return len(server.asked(prefix))


async def renewals(server: FakeVault, number: int) -> None:
    """Wait for the threads, which know nothing of the clock by hand."""
    await until(f"renewal {number}", lambda: counted(server, "auth/token/renew-self") >= number)
    await asyncio.sleep(0.05)


async def test_it_is_renewed_at_about_two_thirds_and_again_and_again(server: FakeVault, clock: ManualClock) -> None:
    async with at(server, clock, kept=True) as found:
        await found.vault.reach()
        token = found.vault.token
        assert token is not None
        for number in range(1, 4):
            await clock.advance(0.59 * 3600 - (clock.now() - token.term.granted_at))
            assert counted(server, "auth/token/renew-self") == number - 1
            await clock.advance(0.08 * 3600)
            await renewals(server, number)
            assert found.vault.token is token
            # From when it was asked for.
            assert token.term.ends_at == pytest.approx(clock.now() + 3600, abs=0.08 * 3600)
            assert found.metrics.token_expires == pytest.approx(clock.wall() + token.term.ends_at - clock.now())
        assert counted(server, LOGIN) == 1


async def test_near_its_maximum_it_is_replaced_while_the_old_one_still_works(
    server: FakeVault, clock: ManualClock
) -> None:
    told = []
    server.on("auth/token/renew-self", change=lambda said: said | {"auth": said["auth"] | {"lease_duration": 1000}})
    async with at(server, clock, kept=True) as found:
        found.vault.on_login(lambda: told.append(1))
        await found.vault.reach()
        first = found.shown
        await clock.advance(0.67 * 3600)
        await renewals(server, 1)
        assert (found.shown, told) == (first, [])
        await clock.advance(670)
        await until("another token", lambda: found.shown != first)
        assert told == [1]
        assert first in server.contents.tokens


async def test_one_that_will_not_be_renewed_is_replaced(server: FakeVault, clock: ManualClock) -> None:
    server.login(LOGIN, password="open", renewable=False)
    async with at(server, clock, kept=True) as found:
        await found.vault.reach()
        first = found.shown
        await clock.advance(0.67 * 3600)
        await until("another token", lambda: found.shown != first)
        assert counted(server, "auth/token/renew-self") == 0


@pytest.mark.parametrize("status", [400, 403, 500])
async def test_one_whose_renewal_is_refused_in_whatever_way_is_replaced(
    server: FakeVault, clock: ManualClock, status: int
) -> None:
    async with at(server, clock, kept=True) as found:
        await found.vault.reach()
        first = found.shown
        server.on("auth/token/renew-self", status=status, errors=["past the max TTL, cannot renew"])
        await clock.advance(0.67 * 3600)
        await until("another token", lambda: found.shown != first)
        assert counted(server, "auth/token/renew-self") == 1


async def test_while_the_vault_is_away_it_is_kept_and_few_requests_are_made(
    server: FakeVault, clock: ManualClock
) -> None:
    async with at(server, clock, kept=True) as found:
        await found.vault.reach()
        first = found.shown
        server.seal()
        for _ in range(300):
            await clock.advance(10)
            await asyncio.sleep(0.002)
        assert found.shown == first
        assert 5 < len(server.asked()) < 200
        server.unseal()
        for _ in range(200):  # its requests take time that this clock does not know of
            await clock.advance(10)
            await asyncio.sleep(0.01)
            if found.vault.trouble is None:
                break
        assert found.vault.trouble is None
        assert found.vault.token is not None
        assert found.vault.token.term.ends_at > clock.now()


@pytest.mark.parametrize("granted", [0, None, "1h", -5])
async def test_a_renewal_that_grants_nothing_is_none(server: FakeVault, clock: ManualClock, granted: Any) -> None:
    async with at(server, clock, kept=True) as found:
        await found.vault.reach()
        assert found.vault.token is not None
        term = found.vault.token.term
        server.on("auth/token/renew-self", body=f'{{"auth": {{"lease_duration": {json(granted)}}}}}')
        await clock.advance(0.67 * 3600)
        await until("it to be asked for", lambda: len(server.asked("auth/token/renew-self")) >= 1)
        assert found.vault.token.term is term
        server.as_usual()
        for _ in range(200):  # its requests take time that this clock does not know of
            await clock.advance(10)
            await asyncio.sleep(0.01)
            if found.vault.token.term is not term:
                break
        assert found.vault.token.term.granted_at > term.granted_at


def json(value: Any) -> str:
    return {None: "null", "1h": '"1h"'}.get(value, str(value))


async def test_one_that_was_given_to_us_and_meets_its_maximum_is_looked_up_and_not_in_a_busy_loop(
    server: FakeVault, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIVEN", server.token(ttl=3600))
    server.on("auth/token/renew-self", change=lambda said: said | {"auth": said["auth"] | {"lease_duration": 1000}})
    async with opened(server.url, {"token": {"env": "GIVEN"}}, clock=clock, kept=True) as vault:
        await vault.reach()
        token = vault.token
        for _ in range(40):
            await clock.advance(90)
            await asyncio.sleep(0.01)
        assert vault.token is token
        assert 2 < len(server.asked()) < 20


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


async def test_one_without_an_end_is_left_alone(
    server: FakeVault, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIVEN", server.root)
    endless = {"expire_time": None, "ttl": 0}
    server.on("auth/token/lookup-self", change=lambda said: said | {"data": said["data"] | endless})
    async with opened(server.url, {"token": {"env": "GIVEN"}}, clock=clock, kept=True) as vault:
        await vault.reach()
        await clock.advance(1e7)
        assert len(server.asked()) == 1


async def test_a_file_s_token_is_left_to_whoever_keeps_it(
    server: FakeVault, clock: ManualClock, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text(server.token(ttl=600))
    async with opened(server.url, {"token_file": {"path": tmp_path / "token"}}, clock=clock, kept=True) as vault:
        await vault.reach()
        await clock.advance(590)
        assert [request.path for request in server.asked()] == ["auth/token/lookup-self"]
        await clock.advance(3600)
        assert len(server.asked()) < 20


async def test_nobody_cares_for_what_was_never_needed(server: FakeVault, clock: ManualClock) -> None:
    async with at(server, clock, kept=True):
        await clock.advance(1e6)
    assert server.asked() == []


async def test_renewals_of_many_daemons_are_spread(server: FakeVault, clock: ManualClock) -> None:
    shares = set()
    for seed in range(20):
        async with at(server, clock) as found:
            vault = Vault(
                "v",
                found.vault.settings,
                None,
                metrics=VaultMetrics(),
                clock=clock,
                rng=random.Random(seed),
            )
            shares.add(vault._share)
    assert len(shares) == 20
    assert all(0.6 <= share <= 2 / 3 for share in shares)


# The end


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
    assert module.THREADS == 4
