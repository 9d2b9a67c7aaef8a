"""The pages and verbs: thin functions over the daemon, and the one edge that guards and finishes every answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

from aiohttp import web
from aiohttp.typedefs import Handler

from ambassador.admin.daemon import Daemon
from ambassador.admin.guard import FOREIGN, Door, read_token, refusal
from ambassador.admin.negotiate import prefers
from ambassador.admin.page import render
from ambassador.admin.status import safe, to_json
from ambassador.admin.style import CSS_HASH
from ambassador.telemetry import logs

LONGEST_BODY = 4096
"""Bytes; the longest body anyone sends is a log level."""

HEADERS: Mapping[str, str] = {
    "Server": "ambassador",
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        f"default-src 'none'; style-src {CSS_HASH}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}

PAGES = "GET /status /metrics /livez /healthz /startupz /readyz · POST /reload /drain /quit · PUT /loglevel"

_JSON = "application/json"
_READING = {"GET", "HEAD"}
_SLOWEST_REFRESH = 3600

_log = logs.logger(__name__)


class Handlers:
    """What is answered at one address.

    Args:
        daemon: what is shown and asked.
        door: the address, which decides whom to trust.
        token_file: holds the token that changes need at other addresses than a unix socket.
        reloading: held while the daemon reloads; shared by all addresses.
        heard: told of each connection whose request has arrived.
    """

    def __init__(
        self,
        daemon: Daemon,
        door: Door,
        *,
        token_file: Path | None = None,
        reloading: asyncio.Lock | None = None,
        heard: Callable[[asyncio.Transport], None] = lambda _: None,
    ) -> None:
        self._daemon = daemon
        self._door = door
        self._token_file = token_file
        self._heard = heard
        self._reloading = reloading or asyncio.Lock()

    def application(self) -> web.Application:
        """The web application with every page and verb."""
        app = web.Application(middlewares=[self._edge], client_max_size=LONGEST_BODY)
        app.add_routes(
            [
                web.get("/", self._root),
                web.get("/livez", self._alive),
                web.get("/healthz", self._alive),
                web.get("/startupz", self._started),
                web.get("/readyz", self._ready),
                web.get("/metrics", self._metrics),
                web.get("/status", self._status),
                web.post("/reload", self._reload),
                web.post("/drain", self._drain),
                web.post("/quit", self._quit),
                web.put("/loglevel", self._log_level),
            ]
        )
        return app

    @web.middleware
    async def _edge(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Guard the request, answer every failure with words, finish the answer."""
        if request.transport is not None:
            self._heard(request.transport)
        try:
            refused = await self._refused(request)
            answer = refused if refused is not None else await handler(request)
        except web.HTTPException as error:
            answer = _failure(error)
        except (ConnectionError, web.RequestPayloadError):
            answer = _text("the request's body is broken\n", 400)
        except Exception as error:  # noqa: BLE001 - the one edge of this room: a fault ends the request, not the server
            _log.exception("admin request failed", error, path=request.path)
            answer = _text("internal error; the daemon's log has the reason\n", 500)
        answer.headers.update(HEADERS)
        # One request for each connection: an idle one would hold a place, and its deadline would be another rule.
        answer.force_close()
        return answer

    async def _refused(self, request: web.Request) -> web.Response | None:
        if not self._door.knows(request.headers.get("Host")):
            return _text(FOREIGN + "\n", 403)
        if request.method in _READING:
            return None
        reason = refusal(self._door, request.headers, await self._token())
        if reason is None:
            return None
        _log.warning("admin request refused", path=request.path, client=_client(request), error=reason)
        return _text(reason + "\n", 403)

    async def _token(self) -> bytes | None:
        if self._token_file is None:
            return None
        return await asyncio.get_running_loop().run_in_executor(None, read_token, self._token_file)

    async def _root(self, _: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": "/status"})

    async def _alive(self, _: web.Request) -> web.Response:
        return _text("ok\n")  # that it answers at all is the answer

    async def _started(self, _: web.Request) -> web.Response:
        return _probe(self._daemon.started())

    async def _ready(self, _: web.Request) -> web.Response:
        return _probe(self._daemon.held())

    async def _metrics(self, request: web.Request) -> web.Response:
        openmetrics = prefers(_accept(request), "application/openmetrics-text", over="text/plain")
        page, kind = self._daemon.metrics.exposition(openmetrics)
        return web.Response(body=page, headers={"Content-Type": kind, "Vary": "Accept"})

    async def _status(self, request: web.Request) -> web.Response:
        snapshot = self._daemon.snapshot()
        if _wants_json(request):
            answer = _json(to_json(snapshot))
        else:
            refresh = _seconds(request.query.get("refresh"))
            answer = web.Response(text=render(snapshot, refresh=refresh), content_type="text/html")
            if refresh:
                answer.headers["Refresh"] = str(refresh)
        answer.headers["Vary"] = "Accept"
        return answer

    async def _reload(self, request: web.Request) -> web.Response:
        _log.info("reload asked", client=_client(request))
        async with self._reloading:
            result = await self._daemon.reload()
        restart = [f"restart needed: {name}" for name in result.restart_needed]
        data = {
            "applied": result.applied,
            "message": safe(result.message),
            "faults": [safe(fault) for fault in result.faults],
            "restart_needed": list(result.restart_needed),
        }
        lines = [result.message, *result.faults, *restart]
        return _verdict(request, data, lines, 200 if result.applied else 422)

    async def _drain(self, request: web.Request) -> web.Response:
        _log.info("drain asked", client=_client(request))
        self._daemon.drain()
        return _verdict(request, {"message": "draining"}, ["draining"], 202)

    async def _quit(self, request: web.Request) -> web.Response:
        _log.info("quit asked", client=_client(request))
        self._daemon.quit()
        return _verdict(request, {"message": "quitting"}, ["quitting"], 202)

    async def _log_level(self, request: web.Request) -> web.Response:
        body = (await request.read()).decode("ascii", "replace").strip()
        word = (body or request.query.get("level", "")).lower()
        if word not in logs.LEVELS:
            known = ", ".join(logs.LEVELS)
            return _text(f"the body (or ?level=) must be one of: {known}\n", 400)
        self._daemon.set_log_level(cast("logs.Level", word))
        _log.info("log level set", to=word, client=_client(request))
        return _verdict(request, {"message": f"log level {word}"}, [f"log level {word}"], 200)


def _probe(missing: tuple[str, ...]) -> web.Response:
    return _text("".join(f"{name}\n" for name in missing), 503) if missing else _text("ok\n")


def _verdict(request: web.Request, data: dict[str, Any], lines: list[str], status: int) -> web.Response:
    if _wants_json(request):
        return _json(data, status)
    return _text("".join(f"{safe(line)}\n" for line in lines), status)


def _failure(error: web.HTTPException) -> web.Response:
    if error.status == 404:
        return _text(f"there is no such page; there are: {PAGES}\n", 404)
    answer = _text(f"{error.reason.lower()}\n", error.status)
    if "Allow" in error.headers:
        answer.headers["Allow"] = error.headers["Allow"]
    return answer


def _text(text: str, status: int = 200) -> web.Response:
    return web.Response(text=text, status=status)


def _json(data: dict[str, Any], status: int = 200) -> web.Response:
    return web.Response(text=json.dumps(data, indent=2) + "\n", status=status, content_type=_JSON)


def _accept(request: web.Request) -> str:
    return ",".join(request.headers.getall("Accept", ()))


def _wants_json(request: web.Request) -> bool:
    return prefers(_accept(request), _JSON, over="text/html")


def _seconds(text: str | None) -> int | None:
    if text is None or not text.isascii() or not text.isdigit() or len(text) > 4:
        return None
    return int(text) if 0 < int(text) <= _SLOWEST_REFRESH else None


def _client(request: web.Request) -> str:
    return request.remote or "unix socket"
