"""What the tour stands on: it comes up, says what fell, and leaves nothing."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ambassador.demo import stage as module
from ambassador.demo.resp import Conversation, Refused
from ambassador.demo.servers import free_port
from ambassador.demo.stage import Stage, StageFailed, usual_or_free
from tests.support.processes import wait_until


@pytest.fixture
def ports(monkeypatch: pytest.MonkeyPatch) -> None:
    """Usual ports that nobody else on this machine uses."""
    monkeypatch.setattr(module, "LISTENER_PORT", free_port())
    monkeypatch.setattr(module, "CACHE_PORT", free_port())
    monkeypatch.setattr(module, "ADMIN_PORT", free_port())


@pytest.fixture
def stage(ports: None) -> Iterator[Stage]:
    """A stage on which nothing runs yet."""
    with Stage() as found:
        yield found


def test_a_usual_port_is_used_if_it_is_free_and_another_one_if_not() -> None:
    port = free_port()
    assert usual_or_free(port) == port
    with socket.create_server(("127.0.0.1", port)):
        assert usual_or_free(port) != port


def test_a_rotation_moves_the_password_everywhere(stage: Stage) -> None:
    stage.start_servers()
    stage.start_ambassador()
    usual = (module.LISTENER_PORT, module.CACHE_PORT, module.ADMIN_PORT)
    assert (stage.port, stage.cache_port, stage.admin_port) == usual
    secrets = [folder / "password" for folder in (stage.secret.path, stage.cache_secret.path)]
    before = [secret.read_text() for secret in secrets]
    versions = stage.credential_versions()
    stage.rotate()
    stage.check()
    assert set(versions) == {"orders-db", "cache"}
    assert stage.credential_versions() == {name: version + 1 for name, version in versions.items()}
    told = stage.log.read_text() + stage.config.read_text()
    for old, secret in zip(before, secrets, strict=True):
        password = secret.read_text()
        assert password != old
        assert password not in told


def test_after_a_rotation_valkey_takes_the_new_password_only(stage: Stage) -> None:
    stage.start_servers()
    stage.start_ambassador()
    old = (stage.cache_secret.path / "password").read_text()
    stage.rotate()
    with Conversation((stage.cache.host, stage.cache.port)) as client:
        with pytest.raises(Refused, match="WRONGPASS"):
            client.ask("AUTH", module.CACHE_USER, old)
        assert client.ask("AUTH", module.CACHE_USER, (stage.cache_secret.path / "password").read_text()) == "OK"


def test_nothing_is_left_when_the_block_ends(ports: None) -> None:
    with Stage() as stage:
        directories = (stage.directory, stage.server.directory, stage.cache.directory)
        stage.start_servers()
        processes = [Path(f"/proc/{server.pid}") for server in (stage.server, stage.cache)]
    assert not [process for process in processes if process.exists()]
    assert not [directory for directory in directories if directory.exists()]


def test_an_ambassador_that_does_not_start_is_quoted(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CONFIGURATION", "no_such_key: 1\n")
    with pytest.raises(StageFailed, match="no_such_key"):
        stage.start_ambassador()


def test_an_ambassador_that_is_never_ready_is_given_up_on(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.05)
    monkeypatch.setattr(Stage, "_ready", lambda self: False)
    with pytest.raises(StageFailed, match=r"waited 0\.05 s for the ambassador"):
        stage.start_ambassador()


def test_a_fallen_database_is_noticed(stage: Stage) -> None:
    stage.start_servers()
    stage.check()
    os.kill(stage.server.pid, signal.SIGQUIT)
    wait_until("the database's end", lambda: not stage.server.running)
    with pytest.raises(StageFailed, match="PostgreSQL ended"):
        stage.check()


def test_a_fallen_cache_is_noticed(stage: Stage) -> None:
    stage.start_servers()
    os.kill(stage.cache.pid, signal.SIGKILL)
    wait_until("the cache's end", lambda: not stage.cache.running)
    with pytest.raises(StageFailed, match="Valkey ended"):
        stage.check()


def test_an_ambassador_that_ignores_sigterm_is_killed(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    class Deaf:
        """A process that only SIGKILL ends."""

        sent: list[signal.Signals]

        def __init__(self) -> None:
            self.sent = []

        def send_signal(self, number: signal.Signals) -> None:
            self.sent.append(number)

        def wait(self, timeout: float) -> None:
            if self.sent[-1] != signal.SIGKILL:
                raise subprocess.TimeoutExpired("ambassador", timeout)

    deaf = Deaf()
    monkeypatch.setattr(stage, "_ambassador", deaf)
    stage._stop_ambassador()
    assert deaf.sent == [signal.SIGTERM, signal.SIGKILL]
