"""The status as one HTML page: plain tables, no script, nothing fetched from anywhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from ambassador.admin.human import DASH, count, size, span, when
from ambassador.admin.markup import Html, join, tag
from ambassador.admin.status import (
    MAX_SESSIONS,
    CertificateStatus,
    CredentialStatus,
    EndpointStatus,
    ListenerStatus,
    SessionStatus,
    Snapshot,
    UpstreamStatus,
    VaultStatus,
    safe,
)
from ambassador.admin.style import CSS

SOON = 7 * 86400.0
"""Seconds. A certificate that expires within these is shown as a warning."""

_STATES = {"ready": "good", "starting": "warn", "leaving": "warn", "draining": "warn"}

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Column(Generic[T]):
    """One column of a table: its heading, what it shows of a row, whether that is a number or a long text, and in which
    rows it only repeats the row above."""

    title: str
    show: Callable[[T], str]
    number: bool = False
    long: bool = False
    repeats: Callable[[T], bool] = lambda _: False


def render(snapshot: Snapshot, *, refresh: int | None = None) -> str:
    """The whole page. `refresh`: seconds after which the browser is told to load it again, for the footer."""
    name = f"ambassador on {snapshot.daemon.host}" if snapshot.daemon.host else "ambassador"
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", f"{snapshot.daemon.state} {DASH} {name}"),
        tag("style", Html(CSS)),
    )
    body = tag(
        "body",
        _header(snapshot),
        tag(
            "main",
            _notices(snapshot),
            _tiles(snapshot),
            _listeners(snapshot),
            _upstreams(snapshot),
            _vaults(snapshot),
            _credentials(snapshot),
            _certificates(snapshot),
            _sessions(snapshot),
        ),
        _footer(snapshot, refresh),
    )
    return "<!doctype html>" + tag("html", head, body, lang="en") + "\n"


def _header(snapshot: Snapshot) -> Html:
    daemon = snapshot.daemon
    facts = [
        ("version ", daemon.version),
        ("Python ", daemon.python),
        ("scan ", daemon.scan),
        ("pid ", str(daemon.pid)),
        ("log level ", daemon.log_level),
    ]
    line = Html(" · ".join(join(label, tag("b", value)) for label, value in facts))
    return tag(
        "header",
        tag("h1", "ambassador"),
        _pill(daemon.state, _STATES.get(daemon.state, "bad")),
        tag("span", daemon.host, class_="soft") if daemon.host else Html(),
        tag("div", line, class_="facts"),
    )


def _notices(snapshot: Snapshot) -> Html:
    notices = []
    if snapshot.held:
        notices.append(tag("p", tag("b", "Not ready: "), ", ".join(snapshot.held), class_="notice", role="status"))
    reload = snapshot.daemon.last_reload
    if reload is not None and not reload.applied:
        when = span(max(0.0, snapshot.taken - reload.at))
        text = tag("b", f"The configuration was refused {when} ago and the one before is in force: ")
        notices.append(tag("p", text, safe(reload.message) or "", class_="notice bad", role="alert"))
    return join(*notices)


def _tiles(snapshot: Snapshot) -> Html:
    daemon = snapshot.daemon
    endpoints = [endpoint for upstream in snapshot.upstreams for endpoint in upstream.endpoints]
    healthy = sum(endpoint.healthy for endpoint in endpoints)
    valid = sum(_credential_state(one, snapshot.taken)[1] == "good" for one in snapshot.credentials)
    reload = daemon.last_reload
    ended = sum(listener.total for listener in snapshot.listeners)
    return tag(
        "dl",
        _tile("Sessions", count(_total(snapshot)), f"{count(ended)} ended"),
        _tile("Endpoints in use", str(healthy), f"of {len(endpoints)}", bad=healthy < len(endpoints)),
        _tile(
            "Credentials in order", str(valid), f"of {len(snapshot.credentials)}", bad=valid < len(snapshot.credentials)
        ),
        _tile("Up", span(daemon.uptime), f"since {when(daemon.started)}"),
        _tile(
            "Configuration",
            DASH if reload is None else "applied" if reload.applied else "refused",
            None if reload is None else f"{span(max(0.0, snapshot.taken - reload.at))} ago",
            bad=reload is not None and not reload.applied,
        ),
        class_="tiles",
    )


def _tile(title: str, value: str, note: str | None, *, bad: bool = False) -> Html:
    small = tag("small", note) if note else Html()
    return tag("div", tag("dt", title), tag("dd", value, small), class_="tile bad" if bad else "tile")


def _listeners(snapshot: Snapshot) -> Html:
    columns: list[Column[ListenerStatus]] = [
        Column("Listener", lambda one: one.name),
        Column("Address", lambda one: _lines(map(_code, one.addresses)), long=True),
        Column("Protocol", lambda one: one.protocol),
        Column("Upstream", lambda one: one.upstream or DASH),
        Column("Access", lambda one: one.access),
        Column("TLS", lambda one: _pill("on", "good") if one.tls else _pill("off")),
        Column("Sessions", _sessions_of, number=True),
        Column("Ended", _ended, number=True),
        Column("In", lambda one: size(one.bytes_in), number=True),
        Column("Out", lambda one: size(one.bytes_out), number=True),
    ]
    return _section("Listeners", len(snapshot.listeners), columns, snapshot.listeners, "No listener is configured.")


def _sessions_of(one: ListenerStatus) -> Html:
    limit = tag("span", f" of {count(one.limit)}", class_="soft") if one.limit is not None else Html()
    return join(count(one.active), limit)


def _ended(one: ListenerStatus) -> Html:
    frequent = sorted(one.results.items(), key=lambda item: -item[1])[:4]
    words = [tag("span", f"{reason} {count(number)}", class_="line soft") for reason, number in frequent if number]
    return join(count(one.total), *words)


@dataclass(frozen=True, slots=True)
class _Place:
    """A row of the upstreams: one endpoint, and whether it is the first of its upstream."""

    upstream: UpstreamStatus
    endpoint: EndpointStatus
    first: bool


_NOWHERE = EndpointStatus(address=DASH, healthy=False, state="no endpoint", connections=0)


def _upstreams(snapshot: Snapshot) -> Html:
    rows = [
        _Place(one, endpoint, first=number == 0)
        for one in snapshot.upstreams
        for number, endpoint in enumerate(one.endpoints or (_NOWHERE,))
    ]
    columns: list[Column[_Place]] = [
        Column("Upstream", lambda row: row.upstream.name, repeats=lambda row: not row.first),
        Column("Endpoint", lambda row: _place(row.endpoint), long=True),
        Column("Health", lambda row: _health(row.endpoint)),
        Column("Last error", _trouble, long=True),
        Column("Credential", lambda row: row.upstream.credential or DASH),
        Column("TLS", lambda row: row.upstream.tls),
        Column("Connections", lambda row: count(row.endpoint.connections), number=True),
    ]
    return _section("Upstreams", len(snapshot.upstreams), columns, rows, "No upstream is configured.")


def _place(endpoint: EndpointStatus) -> Html:
    return _lines([_code(endpoint.address), *([] if endpoint.role is None else [_soft(endpoint.role)])])


def _trouble(row: _Place) -> Html:
    """What is wrong with an endpoint; and with the discovery of all of them, beside the first."""
    own = join(safe(row.endpoint.last_error) or DASH)
    if row.upstream.discovery_error is None or not row.first:
        return own
    return _lines([own, _soft(f"{row.upstream.discovery}: {row.upstream.discovery_error}")])


def _health(endpoint: EndpointStatus) -> Html:
    return _pill(endpoint.state, ("mute" if endpoint.state == "unknown" else "good") if endpoint.healthy else "bad")


def _credentials(snapshot: Snapshot) -> Html:
    now = snapshot.taken
    columns: list[Column[CredentialStatus]] = [
        Column("Credential", lambda one: one.name),
        Column("Source", lambda one: _lines([_code(safe(one.source) or DASH), *map(_soft, one.warnings)]), long=True),
        Column("State", lambda one: _pill(*_credential_state(one, now))),
        Column("Version", lambda one: DASH if one.version is None else str(one.version), number=True),
        Column("Age", lambda one: span(one.age), number=True),
        Column("Expires", lambda one: _expiry(one.expires, now), number=True),
        Column("Renewal", lambda one: _expiry(one.next_renewal, now), number=True),
        Column("Last read", lambda one: _ago(one.last_success, now), number=True),
        Column("Last error", lambda one: safe(one.last_error) or DASH, long=True),
        Column("Connections by version", _by_version),
    ]
    return _section(
        "Credentials", len(snapshot.credentials), columns, snapshot.credentials, "No credential is configured."
    )


def _vaults(snapshot: Snapshot) -> Html:
    now = snapshot.taken

    def state(one: VaultStatus) -> Html:
        if one.error is not None:
            return _pill("failing", "bad")
        return _pill("logged in", "good") if one.logged_in else _pill("not asked yet", "mute")

    columns: list[Column[VaultStatus]] = [
        Column("Vault", lambda one: one.name),
        Column("Login", lambda one: _code(safe(one.login) or DASH), long=True),
        Column("State", state),
        Column("Token ends", lambda one: _expiry(one.token_expires, now), number=True),
        Column("Last error", lambda one: safe(one.error) or DASH, long=True),
    ]
    return _section("Vaults", len(snapshot.vaults), columns, snapshot.vaults, "No Vault is configured.")


def _soft(text: str) -> Html:
    return tag("span", safe(text) or "", class_="soft")


def _credential_state(one: CredentialStatus, now: float) -> tuple[str, str]:
    if not one.version:
        return "missing", "bad"
    if one.expires is not None and one.expires <= now:
        return "expired", "bad"
    return ("last good", "warn") if one.last_error else ("current", "good")


def _by_version(one: CredentialStatus) -> Html:
    pieces = []
    for version, number in sorted(one.connections.items(), reverse=True):
        note = "" if version == one.version else " (older)"
        pieces.append(tag("span", f"version {version}: {count(number)}{note}"))
    return _lines(pieces) if pieces else join(DASH)


def _certificates(snapshot: Snapshot) -> Html:
    now = snapshot.taken

    def state(one: CertificateStatus) -> Html:
        if one.not_after <= now:
            return _pill("expired", "bad")
        return _pill("expires soon", "warn") if one.not_after - now < SOON else _pill("valid", "good")

    columns: list[Column[CertificateStatus]] = [
        Column("Certificate", lambda one: one.where),
        Column("State", state),
        Column("Not after", lambda one: when(one.not_after)),
        Column("Left", lambda one: _expiry(one.not_after, now), number=True),
        Column("Last error", lambda one: safe(one.error) or DASH, long=True),
    ]
    return _section(
        "Certificates", len(snapshot.certificates), columns, snapshot.certificates, "No certificate is in use."
    )


def _sessions(snapshot: Snapshot) -> Html:
    shown, total = snapshot.sessions[:MAX_SESSIONS], _total(snapshot)
    columns: list[Column[SessionStatus]] = [
        Column("Session", lambda one: _code(one.id)),
        Column("Listener", lambda one: one.listener),
        Column("Client", lambda one: _code(one.client)),
        Column("User", lambda one: DASH if one.user is None else one.user, long=True),
        Column("Database", lambda one: DASH if one.database is None else one.database, long=True),
        Column("Phase", lambda one: _pill(one.phase)),
        Column("Endpoint", _endpoint_of, long=True),
        Column("Age", lambda one: span(one.age), number=True),
        Column("Idle", lambda one: span(one.idle), number=True),
        Column("In", lambda one: size(one.bytes_in), number=True),
        Column("Out", lambda one: size(one.bytes_out), number=True),
    ]
    more = f"{count(len(shown))} of {count(total)} sessions are shown." if total > len(shown) else None
    return _section("Sessions", total, columns, shown, "No client is connected.", more=more)


def _endpoint_of(one: SessionStatus) -> Html:
    version = one.credential_version
    credential = Html() if version is None else tag("span", f"credential version {version}", class_="line soft")
    return join(_code(one.endpoint) if one.endpoint else DASH, credential)


def _footer(snapshot: Snapshot, refresh: int | None) -> Html:
    again = (
        tag("a", "stop refreshing", href="/status")
        if refresh
        else tag("a", "refresh every 5 s", href="/status?refresh=5")
    )
    links = tag("nav", again, tag("a", "metrics", href="/metrics"), tag("a", "readiness", href="/readyz"))
    file = join("configuration ", _code(snapshot.daemon.config_file), " · ") if snapshot.daemon.config_file else Html()
    return tag("footer", links, tag("div", file, "as of ", when(snapshot.taken)))


def _section(
    title: str, total: int, columns: Sequence[Column[T]], rows: Sequence[T], empty: str, *, more: str | None = None
) -> Html:
    heading = tag("h2", title, tag("span", count(total), class_="count"))
    if not rows:
        return join(heading, tag("div", tag("p", empty, class_="none"), class_="sheet"))
    head = tag(
        "thead", tag("tr", *(tag("th", c.title, scope="col", class_="n" if c.number else None) for c in columns))
    )
    body = tag("tbody", *(tag("tr", *(_cell(column, row) for column in columns)) for row in rows))
    rest = tag("p", more, class_="more") if more else Html()
    return join(heading, tag("div", tag("table", head, body), rest, class_="sheet"))


def _cell(column: Column[T], row: T) -> Html:
    shown = column.show(row)
    # A phone shows each row as a card: cells named, those with nothing in them left out.
    words = ["n"] if column.number else ["long"] if column.long else []
    words += ["same"] if column.repeats(row) else ["empty"] if shown == DASH else []
    return tag("td", tag("span", shown), class_=" ".join(words) or None, data_label=column.title)


def _pill(text: str, kind: str = "mute") -> Html:
    return tag("span", text, class_=f"pill {kind}")


def _code(text: str) -> Html:
    return tag("code", text)


def _lines(pieces: Iterable[Html]) -> Html:
    return join(*(tag("span", piece, class_="line") for piece in pieces))


def _ago(wall: float | None, now: float) -> str:
    return DASH if wall is None else f"{span(max(0.0, now - wall))} ago"


def _expiry(wall: float | None, now: float) -> str:
    if wall is None:
        return DASH
    return f"in {span(wall - now)}" if wall > now else f"{span(now - wall)} ago"


def _total(snapshot: Snapshot) -> int:
    return max(snapshot.sessions_total, len(snapshot.sessions))
