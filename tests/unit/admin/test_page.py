from __future__ import annotations

import dataclasses
import re
import secrets
from html.parser import HTMLParser

import pytest

from ambassador.admin.page import render
from ambassador.admin.status import (
    CertificateStatus,
    CredentialStatus,
    EndpointStatus,
    ReloadStatus,
    Snapshot,
    UpstreamStatus,
    VaultStatus,
)
from ambassador.telemetry.redaction import conceal
from tests.support.operator import NOW, daemon_status, full_snapshot, session_status


class Reader(HTMLParser):
    """Checks that elements nest, and gathers the text of tables' cells and of everything."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text: list[str] = []
        self.rows: list[list[str]] = []
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag != "meta":
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag == "td":
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text.append(data)
        if "td" in self.open:
            self.rows[-1][-1] += data

    def row(self, first: str) -> list[str]:
        """The cells of the row that begins with `first`."""
        return next(row for row in self.rows if row and row[0] == first)

    def says(self, words: str) -> bool:
        """Whether the page's text holds `words`."""
        return words in "".join(self.text)


def test_the_page_shows_listeners_upstreams_credentials_certificates_and_sessions() -> None:
    page = Reader(render(full_snapshot()))
    listener = page.row("orders")
    assert listener[1] == "127.0.0.1:5432unix:/run/orders"
    assert listener[2:6] == ["postgres", "orders-main", "trust", "on"]
    assert listener[6] == "1 of 500"
    assert listener[7].startswith("9client_closed 8")
    upstream = page.row("orders-main")
    assert upstream[1:] == ["db1:5432", "healthy", "–", "orders-db", "verify-full", "1"]  # noqa: RUF001 - as shown
    assert page.rows[page.rows.index(upstream) + 1][1:4] == ["db2:5432", "ejected", "connect_timeout"]
    credential = page.row("orders-db")
    assert credential[1:6] == ["file /etc/secrets/orders", "current", "7", "1 min 30 s", "in 2 h"]
    assert credential[6] == "in 1 h"
    assert credential[9] == "version 7: 1version 6: 2 (older)"
    vault = page.row("main")
    assert vault[1:4] == ["https://vault.example.com:8200, kubernetes role orders", "failing", "in 30 min"]
    assert vault[4] == "vault 'main', to read secret/app: gave no answer in time"
    assert page.row("listener orders")[1:4] == ["valid", "2026-10-21 14:13:20 UTC", "in 30 d"]
    session = page.row("run-1")
    assert session[1:7] == ["orders", "10.0.0.1:1", "app", "orders", "relay", "db.example.com:5432credential version 7"]
    assert session[7:] == ["12 s", "250 ms", "100 B", "200 B"]


def test_the_head_of_the_page_tells_what_runs() -> None:
    page = Reader(render(full_snapshot()))
    for words in ("ready", "orders-0", "version 1.2.3", "Python 3.11.7", "scan compiled", "pid 42", "log level info"):
        assert page.says(words)
    assert not page.says("Not ready")


def test_an_empty_daemon_has_a_page_too() -> None:
    daemon = daemon_status(state="starting", last_reload=None, host=None, config_file=None)
    page = Reader(render(Snapshot(taken=NOW, daemon=daemon, held=("configuration", "listeners"))))
    assert page.says("Not ready: configuration, listeners")
    assert page.says("No listener is configured.")
    assert page.says("No client is connected.")


def test_a_refused_configuration_is_said_loudly() -> None:
    refused = ReloadStatus(applied=False, at=NOW - 120, message="ambassador.yaml:3: no")
    page = Reader(render(Snapshot(taken=NOW, daemon=daemon_status(last_reload=refused))))
    assert page.says("The configuration was refused 2 min ago")
    assert page.says("ambassador.yaml:3: no")


@pytest.mark.parametrize(
    ("version", "expires", "error", "state"),
    [
        (None, None, None, "missing"),
        (3, None, None, "current"),
        (3, NOW + 1, None, "current"),
        (3, NOW - 1, None, "expired"),
        (3, None, "source_failed", "last good"),
    ],
)
def test_the_state_of_a_credential(version: int | None, expires: float | None, error: str | None, state: str) -> None:
    credential = CredentialStatus(
        name="c", source="file /x", version=version, expires=expires, last_error=error, warnings=("never changes",)
    )
    page = Reader(render(Snapshot(taken=NOW, daemon=daemon_status(), credentials=(credential,))))
    assert page.row("c")[2] == state
    assert page.row("c")[1] == "file /xnever changes"


@pytest.mark.parametrize(
    ("logged_in", "error", "state"),
    [(False, None, "not asked yet"), (True, None, "logged in"), (True, "sealed", "failing"), (False, "no", "failing")],
)
def test_the_state_of_a_vault(logged_in: bool, error: str | None, state: str) -> None:
    vault = VaultStatus(name="v", login="https://v:8200, approle at approle", logged_in=logged_in, error=error)
    page = Reader(render(Snapshot(taken=NOW, daemon=daemon_status(), vaults=(vault,))))
    assert page.row("v")[2:4] == [state, "–"]  # noqa: RUF001 - as shown


@pytest.mark.parametrize(("days", "state"), [(-1, "expired"), (3, "expires soon"), (30, "valid")])
def test_the_state_of_a_certificate(days: int, state: str) -> None:
    certificate = CertificateStatus(where="w", not_after=NOW + days * 86400)
    page = Reader(render(Snapshot(taken=NOW, daemon=daemon_status(), certificates=(certificate,))))
    assert page.row("w")[1] == state


def test_an_upstream_without_endpoints_says_so() -> None:
    upstream = UpstreamStatus(name="nowhere", tls="off", endpoints=())
    page = Reader(render(Snapshot(taken=NOW, daemon=daemon_status(), upstreams=(upstream,))))
    assert page.row("nowhere")[2] == "no endpoint"


def test_an_endpoint_shows_its_role_and_the_first_why_nobody_knows_better() -> None:
    endpoints = (
        EndpointStatus(address="10.0.0.1:6379", role="primary", healthy=True, state="healthy", connections=1),
        EndpointStatus(address="10.0.0.2:6379", role="replica", healthy=True, state="unknown", connections=0),
    )
    trouble = "no Sentinel answers <b>"
    upstream = UpstreamStatus(
        name="cache", tls="off", endpoints=endpoints, discovery="sentinel", discovery_error=trouble
    )
    page = Reader(render(Snapshot(taken=NOW, daemon=daemon_status(), upstreams=(upstream,))))
    assert page.row("cache")[1] == "10.0.0.1:6379primary"
    assert page.row("cache")[3] == "–sentinel: no Sentinel answers <b>"  # noqa: RUF001 - as shown
    assert page.says("10.0.0.2:6379replica")


HOSTILE = "</td><script>alert(1)</script><img src=x onerror=alert(1)> \" ' & \x00\x1b[2J\u202e\udc80" + "x" * 5000


def test_what_clients_say_cannot_become_markup() -> None:
    tame, wild = (
        full_snapshot(),
        dataclasses.replace(full_snapshot(), sessions=(session_status(user=HOSTILE, database=HOSTILE),)),
    )
    page, reference = Reader(render(wild)), Reader(render(tame))
    assert page.tags == reference.tags
    assert page.attributes == reference.attributes
    assert "script" not in page.tags
    assert page.row("run-1")[3].startswith("</td><script>alert(1)</script>")
    assert len(page.row("run-1")[3]) < 300
    render(wild).encode()


def test_the_page_runs_no_script_and_fetches_nothing() -> None:
    page = render(full_snapshot())
    assert not {"script", "img", "link", "iframe", "object", "form"} & Reader(page).tags
    assert not {"src", "srcset", "action", "data", "style"} & Reader(page).attributes
    # A Vault's address is shown, as text.
    assert not re.search(r"https?://(?!vault\.example\.com:8200,)|url\(|\bon\w+=|style=|@import", page)


def test_sessions_beyond_the_shown_ones_are_counted() -> None:
    sessions = tuple(session_status(number) for number in range(300))
    page = Reader(render(Snapshot(taken=NOW, daemon=daemon_status(), sessions=sessions, sessions_total=12345)))
    assert page.says("200 of 12\u202f345 sessions are shown.")


def test_the_page_offers_to_refresh_itself_and_to_stop() -> None:
    assert "/status?refresh=5" in render(full_snapshot())
    assert "stop refreshing" in render(full_snapshot(), refresh=5)


def test_no_known_secret_is_shown_in_an_errors_text() -> None:
    secret = secrets.token_hex(10)
    conceal(secret)
    credential = CredentialStatus(name="c", source=f"x {secret}", version=None, last_error=f"no {secret}")
    page = render(Snapshot(taken=NOW, daemon=daemon_status(), credentials=(credential,)))
    assert secret not in page
    assert page.count("***") == 2
