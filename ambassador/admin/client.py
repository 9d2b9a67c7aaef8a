"""The other end of the admin address: what `status`, `reload`, `drain`, `quit` and `wait` ask of a running daemon."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

import aiohttp

from ambassador.config.address import Address
from ambassador.errors import ConfigError
from ambassador.kit.clock import SYSTEM

TIMEOUT = 30.0
"""Seconds for one answer; a reload fetches nothing and takes far less."""

PROBE_INTERVAL = 0.2


@dataclass(frozen=True, slots=True)
class Answer:
    """Whether it was done, and what to tell the person who asked."""

    done: bool
    text: str


class Unreachable(Exception):
    """Nobody answers at the admin address."""


async def _ask(admin: str, method: str, path: str, token_file: Path | None = None) -> tuple[int, str, str]:
    """One request; returns status, content type and text."""
    address = _address(admin)
    connector = aiohttp.UnixConnector(address.path) if address.path is not None else aiohttp.TCPConnector()
    base = "http://localhost" if address.is_unix else f"http://{address}"
    headers = {"Accept": "application/json, text/plain;q=0.9"}
    if token_file is not None:
        headers["Authorization"] = f"Bearer {_token(token_file)}"
    timeout = aiohttp.ClientTimeout(total=TIMEOUT)
    try:
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
            session.request(method, base + path, headers=headers, allow_redirects=False) as answer,
        ):
            return answer.status, answer.content_type, await answer.text()
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise Unreachable(f"no daemon answers at {admin}: {error or type(error).__name__}") from error


def status(admin: str, *, as_json: bool) -> Answer:
    """What the daemon does, in a few lines or as JSON."""

    async def run() -> Answer:
        code, _, text = await _ask(admin, "GET", "/status")
        if code != HTTPStatus.OK:
            return _answer(code, text)
        data = json.loads(text)
        return Answer(True, json.dumps(data, indent=2) if as_json else summary(data))

    return _run(run)


def post(admin: str, path: str, token_file: Path | None) -> Answer:
    """Send one of the verbs."""

    async def run() -> Answer:
        code, kind, text = await _ask(admin, "POST", path, token_file)
        if kind == "application/json":
            text = _verdict(json.loads(text))
        return _answer(code, text)

    return _run(run)


def wait(admin: str, timeout: float) -> Answer:
    """Ask until the daemon is ready, at most `timeout` seconds."""

    async def run() -> Answer:
        last = "nothing was asked yet"
        try:
            async with asyncio.timeout(timeout):
                while True:
                    try:
                        code, _, last = await _ask(admin, "GET", "/readyz")
                    except Unreachable as error:
                        code, last = 0, str(error)
                    if code == HTTPStatus.OK:
                        return Answer(True, "")
                    await SYSTEM.sleep(PROBE_INTERVAL)
        except TimeoutError:
            return Answer(False, f"not ready within {timeout:g} s: {last.strip()}")

    return _run(run)


def summary(data: dict[str, Any]) -> str:
    """The status in a few lines, for a terminal."""
    daemon = data["daemon"]
    # READY is the daemon's own state; what it depends on may hold it back all the same.
    ready = "ready" if data["ready"] else "not ready"
    state = ready if daemon["state"] == "ready" else f"{daemon['state']}, {ready}"
    lines = [f"ambassador {daemon['version']} · {state} · up {daemon['uptime_seconds']:.0f} s"]
    if daemon["last_reload"] is not None and not daemon["last_reload"]["applied"]:
        lines.append(f"the changed configuration was refused: {daemon['last_reload']['message']}")
    lines += [f"waiting for: {name}" for name in data["held"]]
    for listener in data["listeners"]:
        addresses = ", ".join(listener["addresses"])
        lines.append(
            f"listener {listener['name']}: {addresses} ({listener['protocol']}), {listener['active']} sessions"
        )
    for upstream in data["upstreams"]:
        states = ", ".join(map(_endpoint, upstream["endpoints"])) or "no endpoint known"
        trouble = upstream.get("discovery_error")
        lines.append(f"upstream {upstream['name']}: {states}" + (f", discovery: {trouble}" if trouble else ""))
    for vault in data.get("vaults", ()):
        state = "logged in" if vault["logged_in"] else "not logged in"
        lines.append(f"vault {vault['name']}: {vault['login']}, {state}{_ends(vault, 'token_expires')}{_error(vault)}")
    lines += map(_credential, data["credentials"])
    return "\n".join(lines)


def _credential(one: dict[str, Any]) -> str:
    what = "no value yet" if one["version"] is None else f"version {one['version']}"
    what += ", leased" if one.get("lease") else ""
    return f"credential {one['name']}: {one['source']}, {what}{_ends(one, 'expires')}{_error(one)}"


def _ends(one: dict[str, Any], key: str) -> str:
    return f" until {one[key]}" if one.get(key) else ""


def _error(one: dict[str, Any]) -> str:
    return f", last error: {one['last_error']}" if one["last_error"] else ""


def _endpoint(endpoint: dict[str, Any]) -> str:
    role = endpoint.get("role")
    return " ".join(filter(None, (endpoint["address"], role, endpoint["state"])))


def _verdict(data: dict[str, Any]) -> str:
    lines = [str(data.get("message", ""))]
    lines += [str(fault) for fault in data.get("faults", ())]
    lines += [f"restart needed for {name}" for name in data.get("restart_needed", ())]
    return "\n".join(line for line in lines if line)


def _answer(code: int, text: str) -> Answer:
    return Answer(code < HTTPStatus.MULTIPLE_CHOICES, text.strip())


def _run(ask: Callable[[], Awaitable[Answer]]) -> Answer:
    async def guarded() -> Answer:
        try:
            return await ask()
        except Unreachable as error:
            return Answer(False, str(error))

    return asyncio.run(guarded())


def _address(text: str) -> Address:
    try:
        return Address.parse(text)
    except ValueError as error:
        raise ConfigError(f"admin address: {error}") from None


def _token(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        raise ConfigError(f"the token file {path} cannot be read as text") from None
