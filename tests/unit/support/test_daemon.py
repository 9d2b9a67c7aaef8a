"""The daemon as tests see it: a real one, watched from outside, ended and searched on leaving."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from ambassador.demo.servers import free_port
from tests.support import secrets
from tests.support.daemon import Daemon
from tests.support.processes import wait_until
from tests.support.secrets import SecretDir, canary


@pytest.fixture
def config(tmp_path: Path) -> str:
    """A daemon that forwards to nowhere, with a credential."""
    secret = SecretDir(tmp_path / "secret", {"username": "app", "password": canary("password")})
    return f"""
credentials: {{nowhere: {{file: {{path: {secret.path}}}}}}}
upstreams: {{nowhere: {{endpoints: ["127.0.0.1:1"], credential: nowhere}}}}
listeners: {{nowhere: {{listen: "127.0.0.1:{free_port()}", postgres: {{upstream: nowhere}}}}}}
"""


def test_it_is_ready_speaks_and_ends_clean(config: str) -> None:
    with Daemon(config) as daemon:
        assert daemon.ready
        assert daemon.log_contains("starting")["level"] == "info"
        assert daemon.status()["ready"] is True
        assert daemon.metric("ambassador_build_info") == 1
        assert daemon.metric("ambassador_no_such_metric", listener="nowhere") == 0
        assert daemon.ask("GET", "/livez", unix=False).code == 200
        assert daemon.rss() > 10 * 2**20
        assert daemon.cpu_seconds() > 0
        pid = Path(f"/proc/{daemon.child.pid}")
    assert not pid.exists()
    assert not daemon.directory.exists()
    assert not daemon.ready


def test_sighup_makes_it_read_what_was_rewritten(config: str) -> None:
    with Daemon(config) as daemon:
        daemon.rewrite(config + "log: {level: debug}\n")
        daemon.sighup()
        wait_until("the new level", lambda: daemon.status()["daemon"]["log_level"] == "debug")


def test_sigterm_ends_it_and_the_exit_code_is_told(config: str) -> None:
    with Daemon(config) as daemon:
        daemon.sigterm()
        assert daemon.wait() == 0


def test_another_exit_code_than_expected_fails(config: str) -> None:
    def killed() -> None:
        with Daemon(config) as daemon:
            daemon.child.signal(signal.SIGKILL)
            daemon.wait()

    with pytest.raises(AssertionError, match="ended with -9, not 0"):
        killed()


def test_a_configuration_that_is_refused_may_be_expected() -> None:
    with Daemon("listeners: {}\n", expect=2, ready=False) as daemon:
        assert daemon.wait() == 2
        assert "listeners" in daemon.child.err


def test_waiting_for_one_that_ended_fails_at_once_with_what_it_said() -> None:
    with pytest.raises(AssertionError, match="ended with 2") as caught, Daemon("listeners: {}\n"):
        pass
    assert "listeners" in "".join(caught.value.__notes__)


@pytest.mark.parametrize("told", ["starting", "ambassador_build_info", "<html", "ambassador.yaml"])
def test_a_secret_that_is_told_anywhere_fails(config: str, told: str) -> None:
    with pytest.raises(AssertionError, match="a secret of this test appeared in"), Daemon(config, secrets=[told]):
        pass


def test_canaries_are_secrets_without_being_named(config: str) -> None:
    with pytest.raises(AssertionError, match=r"appeared in .*log"), Daemon(config):
        secrets.MINTED.add("ready")
    secrets.MINTED.discard("ready")


def test_a_failing_test_is_shown_the_log(config: str) -> None:
    with pytest.raises(ZeroDivisionError) as caught, Daemon(config):
        raise ZeroDivisionError
    assert '"event":"starting"' in "".join(caught.value.__notes__)
