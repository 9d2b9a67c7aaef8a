from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import ClientResponse, web
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from ambassador.admin.daemon import ReloadResult
from ambassador.admin.guard import Door
from ambassador.admin.handlers import PAGES, Handlers
from ambassador.admin.style import CSS_HASH
from ambassador.config.address import Address
from ambassador.telemetry.redaction import conceal
from tests.support.operator import NotedDaemon

LOOPBACK = Door(Address.parse("127.0.0.1:9901"))
UNIX = Door(Address.parse("unix:/run/admin.sock"))

VERBS = [("POST", "/reload"), ("POST", "/drain"), ("POST", "/quit"), ("PUT", "/loglevel?level=debug")]


class Asked:
    """An answer, read to its end."""

    def __init__(self, answer: ClientResponse, body: str) -> None:
        self.status = answer.status
        self.headers = answer.headers
        self.kind = answer.content_type
        self.text = body


class Operator:
    """Asks one application."""

    def __init__(self, client: TestClient[web.Request, web.Application]) -> None:
        self._client = client

    async def ask(self, method: str, path: str, *, data: bytes | None = None, **headers: str) -> Asked:
        """One request; `_` in a header's name stands for `-`."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self._client.request(method, path, headers=named, data=data, allow_redirects=False) as answer:
            return Asked(answer, await answer.text())


@asynccontextmanager
async def operator(daemon: NotedDaemon, door: Door = UNIX, token_file: Path | None = None) -> AsyncIterator[Operator]:
    """The application behind a port of this machine, as if it were behind `door`."""
    application = Handlers(daemon, door, token_file=token_file).application()
    async with TestClient(TestServer(application)) as client:
        yield Operator(client)


async def test_probes_say_ok_when_nothing_is_missing() -> None:
    async with operator(NotedDaemon(), LOOPBACK) as op:
        for path in ("/livez", "/healthz", "/startupz", "/readyz"):
            answer = await op.ask("GET", path)
            assert (answer.status, answer.text, answer.kind) == (200, "ok\n", "text/plain")


async def test_probes_name_what_is_missing() -> None:
    daemon = NotedDaemon(missing=("draining", "credential orders"), starting=("listeners",))
    async with operator(daemon, LOOPBACK) as op:
        ready, started = await op.ask("GET", "/readyz"), await op.ask("GET", "/startupz")
        assert (ready.status, ready.text) == (503, "draining\ncredential orders\n")
        assert (started.status, started.text) == (503, "listeners\n")
        assert (await op.ask("GET", "/livez")).status == 200


async def test_the_metrics_come_in_the_form_that_is_asked_for() -> None:
    async with operator(NotedDaemon(), LOOPBACK) as op:
        text = await op.ask("GET", "/metrics")
        openmetrics = await op.ask("GET", "/metrics", Accept="application/openmetrics-text; version=1.0.0")
    assert text.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert openmetrics.headers["Content-Type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    assert "ambassador_build_info" in {family.name for family in parse_text(text.text)}
    found = parse_openmetrics(openmetrics.text)  # type: ignore[no-untyped-call]  # as it comes
    assert "ambassador_build_info" in {family.name for family in found}


async def test_the_status_is_a_page_or_json() -> None:
    async with operator(NotedDaemon(), LOOPBACK) as op:
        page = await op.ask("GET", "/status")
        data = await op.ask("GET", "/status", Accept="application/json")
    assert page.kind == "text/html"
    assert page.text.startswith("<!doctype html>")
    assert data.kind == "application/json"
    assert json.loads(data.text)["daemon"]["version"] == "1.2.3"
    assert page.headers["Vary"] == data.headers["Vary"] == "Accept"


@pytest.mark.parametrize(
    ("query", "refresh"),
    [("", None), ("?refresh=5", "5"), ("?refresh=0", None), ("?refresh=9999", None), ("?refresh=-1", None),
     ("?refresh=5;url=//evil.example", None), ("?refresh=%D9%A5", None), ("?refresh=99999999", None)],
)  # fmt: skip
async def test_the_page_refreshes_itself_only_when_asked_in_plain_seconds(query: str, refresh: str | None) -> None:
    async with operator(NotedDaemon(), LOOPBACK) as op:
        assert (await op.ask("GET", f"/status{query}")).headers.get("Refresh") == refresh


async def test_the_root_leads_to_the_status() -> None:
    async with operator(NotedDaemon(), LOOPBACK) as op:
        answer = await op.ask("GET", "/")
    assert (answer.status, answer.headers["Location"]) == (302, "/status")


@pytest.mark.parametrize("path", ["/status", "/metrics", "/readyz", "/nowhere", "/reload"])
async def test_every_answer_has_the_headers_that_keep_a_browser_safe(path: str) -> None:
    async with operator(NotedDaemon(), LOOPBACK) as op:
        headers = (await op.ask("GET", path, Origin="http://evil.example")).headers
    policy = headers["Content-Security-Policy"]
    assert policy.startswith(f"default-src 'none'; style-src {CSS_HASH};")
    assert "unsafe" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Cache-Control"] == "no-store"
    assert headers["Server"] == "ambassador"
    assert headers["Connection"] == "close"
    assert not [name for name in headers if name.startswith("Access-Control-")]


@pytest.mark.parametrize(("method", "path"), VERBS)
async def test_the_unix_socket_may_change_the_daemon(method: str, path: str) -> None:
    daemon = NotedDaemon()
    async with operator(daemon) as op:
        answer = await op.ask(method, path)
    assert answer.status in {200, 202}
    assert daemon.asked == [path.lstrip("/").replace("?level=", " ")]


@pytest.mark.parametrize(("method", "path"), VERBS)
async def test_other_addresses_may_not_without_a_token(method: str, path: str) -> None:
    daemon = NotedDaemon()
    async with operator(daemon, LOOPBACK) as op:
        answer = await op.ask(method, path)
    assert answer.status == 403
    assert "unix" in answer.text
    assert "admin.token_file" in answer.text
    assert daemon.asked == []


@pytest.mark.parametrize(("method", "path"), VERBS)
async def test_the_token_opens_other_addresses_and_follows_its_file(method: str, path: str, tmp_path: Path) -> None:
    daemon, file = NotedDaemon(), tmp_path / "token"
    first, second = secrets.token_hex(16), secrets.token_hex(16)
    async with operator(daemon, LOOPBACK, file) as op:
        assert (await op.ask(method, path, Authorization=f"Bearer {first}")).status == 403
        file.write_text(f"{first}\n")
        assert (await op.ask(method, path, Authorization=f"Bearer {first}")).status in {200, 202}
        assert (await op.ask(method, path, Authorization=f"Bearer {second}")).status == 403
        file.write_text(second)
        assert (await op.ask(method, path, Authorization=f"Bearer {first}")).status == 403
        assert (await op.ask(method, path, Authorization=f"Bearer {second}")).status in {200, 202}
    assert len(daemon.asked) == 2


async def test_a_web_page_may_not_change_the_daemon_even_with_the_token(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("a-token-of-ours")
    daemon = NotedDaemon()
    async with operator(daemon, LOOPBACK, tmp_path / "token") as op:
        answer = await op.ask("POST", "/quit", Authorization="Bearer a-token-of-ours", Origin="http://localhost:9901")
    assert (answer.status, daemon.asked) == (403, [])


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_rebound_name_gets_nothing(method: str) -> None:
    async with operator(NotedDaemon(), LOOPBACK) as op:
        answer = await op.ask(method, "/status", Host="evil.example:9901")
    assert answer.status == 403
    assert "localhost" in answer.text
    assert "evil" not in answer.text


@pytest.mark.parametrize("path", ["/reload", "/drain", "/quit", "/loglevel"])
async def test_reading_a_verb_changes_nothing(path: str) -> None:
    daemon = NotedDaemon()
    async with operator(daemon) as op:
        answer = await op.ask("GET", path)
    assert (answer.status, answer.headers["Allow"]) == (405, "PUT" if path == "/loglevel" else "POST")
    assert daemon.asked == []


async def test_an_unknown_page_says_which_there_are() -> None:
    async with operator(NotedDaemon()) as op:
        answer = await op.ask("GET", "/nowhere")
    assert (answer.status, answer.text) == (404, f"there is no such page; there are: {PAGES}\n")


async def test_a_refused_reload_tells_every_fault() -> None:
    result = ReloadResult(False, "2 faults, nothing changed", ("a.yaml:1: no", "a.yaml:2: no"))
    async with operator(NotedDaemon(result=result)) as op:
        text = await op.ask("POST", "/reload")
        data = await op.ask("POST", "/reload", Accept="application/json")
    assert (text.status, text.text) == (422, "2 faults, nothing changed\na.yaml:1: no\na.yaml:2: no\n")
    assert data.status == 422
    assert json.loads(data.text) == {
        "applied": False,
        "message": "2 faults, nothing changed",
        "faults": ["a.yaml:1: no", "a.yaml:2: no"],
        "restart_needed": [],
    }


async def test_an_applied_reload_tells_what_needs_a_restart() -> None:
    result = ReloadResult(True, "applied", restart_needed=("admin.listen",))
    async with operator(NotedDaemon(result=result)) as op:
        answer = await op.ask("POST", "/reload")
    assert (answer.status, answer.text) == (200, "applied\nrestart needed: admin.listen\n")


async def test_reloads_run_one_after_the_other() -> None:
    daemon = NotedDaemon()
    daemon.go_on.clear()
    async with operator(daemon) as op, asyncio.TaskGroup() as group:
        reloads = [group.create_task(op.ask("POST", "/reload")) for _ in range(2)]
        await asyncio.wait_for(daemon.reloading.wait(), 5)
        await asyncio.sleep(0.05)
        assert daemon.asked == ["reload"]
        daemon.go_on.set()
        assert [(await one).status for one in reloads] == [200, 200]
    assert daemon.asked == ["reload", "reload"]


@pytest.mark.parametrize(("body", "path"), [(b"warning", ""), (b" Warning\n", ""), (b"", "?level=warning")])
async def test_the_log_level_is_the_body_or_the_query(body: bytes, path: str) -> None:
    daemon = NotedDaemon()
    async with operator(daemon) as op:
        answer = await op.ask("PUT", f"/loglevel{path}", data=body)
    assert (answer.status, answer.text) == (200, "log level warning\n")
    assert daemon.asked == ["loglevel warning"]


@pytest.mark.parametrize("body", [b"", b"loud", b"\xff\xfe", b"debug info"])
async def test_another_word_is_no_log_level_and_the_right_ones_are_named(body: bytes) -> None:
    daemon = NotedDaemon()
    async with operator(daemon) as op:
        answer = await op.ask("PUT", "/loglevel", data=body, Content_Type="text/plain; charset=klingon")
    assert (answer.status, daemon.asked) == (400, [])
    assert "debug, info, warning, error" in answer.text


async def test_a_body_has_a_limit() -> None:
    async with operator(NotedDaemon()) as op:
        answer = await op.ask("PUT", "/loglevel", data=b"x" * 100_000)
    assert answer.status == 413


async def test_a_fault_of_ours_is_an_answer_that_tells_nothing() -> None:
    daemon = NotedDaemon(fault=RuntimeError("the inner truth"))
    async with operator(daemon) as op:
        answer = await op.ask("GET", "/status")
        assert (await op.ask("GET", "/livez")).status == 200
    assert answer.status == 500
    assert "inner truth" not in answer.text


async def test_no_known_secret_leaves_in_an_answer() -> None:
    secret = secrets.token_hex(10)
    conceal(secret)
    result = ReloadResult(False, f"bad {secret}", (f"a.yaml:1: {secret}",))
    async with operator(NotedDaemon(result=result)) as op:
        for accept in ("text/plain", "application/json"):
            answer = await op.ask("POST", "/reload", Accept=accept)
            assert secret not in answer.text
            assert answer.text.count("***") == 2
