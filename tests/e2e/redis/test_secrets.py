"""Neither what the daemon says nor what it lets the server say tells a client, or anybody else, how it logs in."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex

import pytest

from tests.e2e.redis.plan import MODES, Plan
from tests.support import secrets
from tests.support.daemon import Daemon
from tests.support.processes import wait_until
from tests.support.redis_client import RedisClient, command
from tests.support.secrets import canary
from tests.support.valkey import Account, ValkeyServer

QUESTIONS: tuple[tuple[str | int, ...], ...] = (
    ("CONFIG", "GET", "*"),
    ("CONFIG", "GET", "requirepass", "masterauth", "primaryauth", "masteruser", "tls-key-file-pass"),
    ("CONFIG", "GET", "*AUTH*"),
    ("ACL", "LIST"),
    ("ACL", "USERS"),
    ("ACL", "GETUSER", "default"),
    ("ACL", "WHOAMI"),
    ("ACL", "LOG"),
    ("ACL", "SAVE"),
    ("ACL", "NOSUCH"),
    ("CLIENT", "LIST"),
    ("CLIENT", "INFO"),
    ("CLIENT", "LIST", "TYPE", "normal"),
    ("CLIENT", "GETNAME"),
    ("SLOWLOG", "GET", -1),
    ("COMMANDLOG", "GET", -1, "slow"),
    ("INFO", "everything"),
    ("MONITOR",),
    ("EVAL", "return redis.call('ACL', 'WHOAMI')", 0),
    ("EVAL", "return redis.call('ACL', 'LIST')", 0),
    ("EVAL", "return redis.call('CONFIG', 'GET', '*')", 0),
    ("EVAL", "return redis.call('CLIENT', 'LIST')", 0),
    ("HELLO", 3),
    ("HELLO", 2),
    ("NOSUCH",),
    ("DEBUG", "CHANGE-REPL-ID"),
    ("REPLICAOF", "127.0.0.1", 1),
    ("MIGRATE", "127.0.0.1", 1, "key", 0, 10),
    ("CONFIG", "SET", "requirepass", "mine"),
    ("CONFIG", "REWRITE"),
    ("RESET",),
    ("AUTH", "x", "y"),
)
"""What a curious client asks."""


@dataclass(frozen=True)
class Told:
    """A daemon's configuration, the logins in it, and the listeners."""

    server: ValkeyServer
    plan: Plan
    account: Account
    client: Account
    ports: dict[str, int]


@pytest.fixture
def told(tmp_path: Path) -> Iterator[Told]:
    """A server of this test's own, whose settings hold secrets too."""
    settings = [f"masterauth {canary('masterauth')}", f"masteruser {canary('masteruser')}", "slowlog-log-slower-than 0"]
    with ValkeyServer(settings=settings) as server:
        account = Account(f"somebody_{token_hex(8)}", canary("password"))
        server.set_user(account.name, account.password)
        client = Account("alice", canary("client"))
        plan = Plan(tmp_path)
        plan.secret("cache", account, refused_wait="200ms")
        plan.secret("clients", client)
        ports = plan.both(server, "cache", wait="1s")
        for mode in MODES:
            ports[f"{mode}-closed"] = plan.listener(
                f"{mode}-closed", mode, access={"password": {"credential": "clients"}}
            )
        yield Told(server, plan, account, client, ports)


def heard(port: int, *said: tuple[str | int, ...]) -> bytes:
    """Everything that comes of it, to the end of the connection."""
    with RedisClient(("127.0.0.1", port), patience=20) as client:
        client.send(b"".join(command(*words) for words in said) + command("QUIT"))
        return client.remaining()


def found_in(data: bytes) -> list[str]:
    """The secrets that are in it; and the name we log in with, which operators may read, and clients not."""
    return [secret for secret in secrets.MINTED if secret.encode() in data] + re.findall(r"somebody_\w+", repr(data))


@pytest.mark.timeout(60)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("protocol", [2, 3])
def test_a_curious_client_is_told_nothing(told: Told, mode: str, protocol: int) -> None:
    with Daemon(told.plan.text(log={"level": "debug"})) as daemon:
        for question in QUESTIONS:
            said = heard(told.ports[mode], ("HELLO", protocol), question)
            assert not found_in(said), f"{question} tells {found_in(said)}"
            said = heard(told.ports[mode], ("HELLO", protocol), ("MULTI",), question, ("EXEC",))
            assert not found_in(said), f"{question} tells {found_in(said)} in a transaction"
            words = " ".join(f'"{word}"' for word in question)
            inline = f"HELLO {protocol}\r\n{words}\r\nQUIT\r\n".encode()
            with RedisClient(("127.0.0.1", told.ports[mode])) as client:
                client.send(inline)
                assert not found_in(client.remaining()), question
        daemon.look()
        assert not daemon.logged("session failed")


@pytest.mark.timeout(60)
def test_clients_own_secrets_are_told_to_nobody(told: Told) -> None:
    with Daemon(told.plan.text(log={"level": "debug"})) as daemon:
        for mode in MODES:
            port = told.ports[f"{mode}-closed"]
            login = ("AUTH", told.client.name, told.client.password)
            assert heard(port, login, ("SET", "key", canary("value")), ("ECHO", "x")).startswith(b"+OK\r\n+OK\r\n")
            assert heard(port, ("HELLO", 3, *login)).startswith(b"%")
            for wrong in (
                ("AUTH", told.client.name, canary("wrong")),
                ("AUTH", canary("stranger")),
                ("HELLO", 3, "AUTH", "who", canary("wrong")),
                ("AUTH", told.client.name, told.client.password, canary("third")),
                (canary("command"), canary("argument")),
            ):
                said = heard(port, wrong)
                assert said.startswith(b"-"), said
                assert not found_in(said), said
            said = heard(port, login, ("CONFIG", "GET", "*"), ("CLIENT", "LIST"), ("NOSUCH", "x"))
            assert not found_in(said)
            # Nor does the server ever hear it.
            assert told.client.password not in str(told.server.ask("SLOWLOG", "GET", -1))
        daemon.look()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("mode", MODES)
def test_errors_of_a_login_tell_nothing(told: Told, mode: str) -> None:
    port = told.ports[mode]
    with Daemon(told.plan.text(log={"level": "debug"})) as daemon:
        assert heard(port, ("PING",)) == b"+PONG\r\n+OK\r\n"
        # Without a right for this command: newer servers say whose right.
        told.server.ask("ACL", "SETUSER", told.account.name, "-get", "-mget")
        for words in (("GET", "x"), ("MGET", "x", "y"), ("EVAL", "return redis.call('GET', 'x')", 0)):
            said = heard(port, words)
            assert b"no permissions" in said, said
            assert not found_in(said), said
        # The server no longer knows the password, and nobody has told us.
        told.server.set_password(told.account.name, canary("changed"))
        told.plan.secrets["cache"].swap({"username": told.account.name, "password": canary("unknown")})
        daemon.log_contains("credential not rotated", credential="cache")
        told.server.ask("CLIENT", "KILL", "USER", told.account.name)
        said = heard(port, ("SET", "x", 1))
        assert said.startswith(b"-"), said
        assert not found_in(said), said
        with contextlib.suppress(OSError):
            told.plan.secrets["cache"].swap_half({"username": "half", "password": canary("half")}, lost="password")
        daemon.log_contains("credential not read", credential="cache")
        wait_until("it to have looked", lambda: bool(daemon.logged("credential not read")))
        said = heard(port, ("SET", "x", 1))
        assert not found_in(said), said
        daemon.look()


def test_another_name_is_shown_in_the_place_of_ours(told: Told) -> None:
    with Daemon(told.plan.text()):
        for mode in MODES:
            assert b"\r\ndefault\r\n" in heard(told.ports[mode], ("ACL", "WHOAMI"))
            login = ("AUTH", told.client.name, told.client.password)
            said = heard(told.ports[f"{mode}-closed"], login, ("ACL", "WHOAMI"), ("CLIENT", "INFO"))
            assert b"\r\nalice\r\n" in said
            assert b" user=alice " in said
