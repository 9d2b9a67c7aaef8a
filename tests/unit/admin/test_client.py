from __future__ import annotations

import asyncio
import dataclasses
import json
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from ambassador.admin import client
from ambassador.admin.daemon import ReloadResult
from ambassador.admin.server import AdminServer
from ambassador.admin.status import EndpointStatus, UpstreamStatus, to_json
from ambassador.config.address import Address
from ambassador.config.schema import Admin
from ambassador.errors import ConfigError
from tests.support.operator import NotedDaemon, full_snapshot


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory whose name is short enough for a unix socket in it."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        yield Path(name)


@asynccontextmanager
async def serving(
    daemon: NotedDaemon, listen: str = "127.0.0.1:0", token_file: Path | None = None
) -> AsyncIterator[str]:
    """A running admin server; its address."""
    server = AdminServer(daemon, Admin(listen=(Address.parse(listen),), token_file=token_file))
    await server.start()
    try:
        yield server.addresses[0]
    finally:
        await server.stop(1.0)


async def test_the_status_is_a_few_lines_or_json(directory: Path) -> None:
    async with serving(NotedDaemon(), f"unix:{directory}/s") as address:
        lines = await asyncio.to_thread(client.status, address, as_json=False)
        data = await asyncio.to_thread(client.status, address, as_json=True)
    assert lines.done
    assert lines.text == client.summary(to_json(full_snapshot()))
    assert json.loads(data.text) == to_json(full_snapshot())


def test_the_summary_names_what_an_operator_looks_for() -> None:
    data = to_json(full_snapshot())
    data["held"] = ["credential reports"]
    data["credentials"][0]["last_error"] = "source_failed"
    summary = client.summary(data)
    for words in (
        "1.2.3",
        "ready",
        "credential reports",
        "listener orders: 127.0.0.1:5432, unix:/run/orders (postgres), 1 sessions",
        "db1:5432 healthy, db2:5432 ejected",
        "version 7, leased until ",
        "vault main: https://vault.example.com:8200, kubernetes role orders, logged in until ",
        "gave no answer in time",
        "source_failed",
    ):
        assert words in summary


@pytest.mark.parametrize(
    ("state", "ready", "said"),
    [
        ("ready", True, " · ready · "),
        ("ready", False, " · not ready · "),
        ("draining", False, " · draining, not ready · "),
    ],
)
def test_the_summary_says_once_whether_it_is_ready(state: str, ready: bool, said: str) -> None:
    data = to_json(full_snapshot())
    data["daemon"]["state"], data["ready"] = state, ready
    assert said in client.summary(data).splitlines()[0]


def test_a_credential_without_a_value_is_said_to_have_none() -> None:
    data = to_json(full_snapshot())
    data["credentials"][0].update(version=None, expires=None, lease=False)
    assert "credential orders-db: file /etc/secrets/orders, no value yet" in client.summary(data).splitlines()


async def test_a_verb_is_done_through_the_unix_socket(directory: Path) -> None:
    daemon = NotedDaemon(result=ReloadResult(True, "applied", restart_needed=("admin.listen",)))
    async with serving(daemon, f"unix:{directory}/s") as address:
        reload = await asyncio.to_thread(client.post, address, "/reload", None)
        drain = await asyncio.to_thread(client.post, address, "/drain", None)
    assert (reload.done, reload.text) == (True, "applied\nrestart needed for admin.listen")
    assert (drain.done, drain.text) == (True, "draining")
    assert daemon.asked == ["reload", "drain"]


async def test_a_refused_reload_is_not_done_and_tells_every_fault(directory: Path) -> None:
    daemon = NotedDaemon(result=ReloadResult(False, "nothing changed", ("a.yaml:1: no",)))
    async with serving(daemon, f"unix:{directory}/s") as address:
        reload = await asyncio.to_thread(client.post, address, "/reload", None)
    assert (reload.done, reload.text) == (False, "nothing changed\na.yaml:1: no")


async def test_the_token_is_taken_from_its_file(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("a-token-of-ours\n")
    daemon = NotedDaemon()
    async with serving(daemon, token_file=token) as address:
        without = await asyncio.to_thread(client.post, address, "/quit", None)
        allowed = await asyncio.to_thread(client.post, address, "/quit", token)
    assert not without.done
    assert "admin.token_file" in without.text
    assert (allowed.done, allowed.text) == (True, "quitting")
    assert daemon.asked == ["quit"]


def test_a_token_file_that_cannot_be_read_is_the_callers_mistake(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="token file"):
        client.post("127.0.0.1:1", "/quit", tmp_path / "none")


def test_an_address_that_is_none_is_the_callers_mistake() -> None:
    with pytest.raises(ConfigError, match="admin address"):
        client.status("nowhere", as_json=False)


def test_nobody_at_the_address_is_said_plainly(tmp_path: Path) -> None:
    answer = client.status(f"unix:{tmp_path}/none", as_json=False)
    assert not answer.done
    assert answer.text.startswith(f"no daemon answers at unix:{tmp_path}/none")


async def test_waiting_ends_when_the_daemon_is_ready() -> None:
    daemon = NotedDaemon(missing=("listeners",))
    async with serving(daemon) as address, asyncio.TaskGroup() as group:
        waiting = group.create_task(asyncio.to_thread(client.wait, address, 10.0))
        await asyncio.sleep(0.1)
        assert not waiting.done()
        daemon.missing = ()
    assert waiting.result().done


async def test_waiting_in_vain_tells_what_is_missing() -> None:
    async with serving(NotedDaemon(missing=("listeners",))) as address:
        answer = await asyncio.to_thread(client.wait, address, 0.5)
    assert not answer.done
    assert "not ready within 0.5 s" in answer.text
    assert "listeners" in answer.text


def test_waiting_for_nobody_tells_so(tmp_path: Path) -> None:
    answer = client.wait(f"unix:{tmp_path}/none", 0.3)
    assert not answer.done
    assert "no daemon answers" in answer.text


async def test_roles_of_endpoints_and_the_trouble_of_a_discovery_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    endpoints = (
        EndpointStatus(address="10.0.0.1:6379", role="primary", healthy=True, state="healthy", connections=1),
        EndpointStatus(address="10.0.0.2:6379", healthy=True, state="unknown", connections=0),
    )
    upstreams = (
        UpstreamStatus(name="cache", tls="off", endpoints=endpoints, discovery="sentinel"),
        UpstreamStatus(name="lost", tls="off", endpoints=(), discovery="sentinel", discovery_error="nobody answers"),
    )
    told = dataclasses.replace(full_snapshot(), upstreams=upstreams)
    monkeypatch.setattr(NotedDaemon, "snapshot", lambda _: told)
    async with serving(NotedDaemon()) as address:
        answer = await asyncio.to_thread(client.status, address, as_json=False)
    assert "upstream cache: 10.0.0.1:6379 primary healthy, 10.0.0.2:6379 unknown" in answer.text
    assert "upstream lost: no endpoint known, discovery: nobody answers" in answer.text
