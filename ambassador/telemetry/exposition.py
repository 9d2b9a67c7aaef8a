"""Every metric the daemon shows: name, labels, help. The one place where a dashboard's author need look.

Names follow Prometheus' practices (base units, `_total`); the tests hold them against `promtool check metrics`.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
    UnknownMetricFamily,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics_exposition
from prometheus_client.registry import Collector

from ambassador import __version__
from ambassador.telemetry.histogram import Histogram
from ambassador.telemetry.logs import dropped

if TYPE_CHECKING:
    from ambassador.telemetry.metrics import Metrics
    from ambassador.telemetry.requests import RequestMetrics

PREFIX = "ambassador_"


def expose(metrics: Metrics, *, openmetrics: bool) -> tuple[bytes, str]:
    """The metrics page and its content type: text 0.0.4, or OpenMetrics 1.0.0."""
    registry = CollectorRegistry()
    registry.register(Everything(metrics, openmetrics=openmetrics))
    ProcessCollector(registry=registry)
    if openmetrics:
        page: bytes = openmetrics_exposition.generate_latest(registry)  # type: ignore[no-untyped-call]  # not annotated there
        return page, openmetrics_exposition.CONTENT_TYPE_LATEST
    return generate_latest(registry), CONTENT_TYPE_PLAIN_0_0_4


class Everything(Collector):
    """Reads the plain counts when somebody scrapes."""

    def __init__(self, metrics: Metrics, *, openmetrics: bool) -> None:
        self._metrics = metrics
        self._openmetrics = openmetrics

    def describe(self) -> Iterable[Metric]:
        """Nothing: else the registry would collect once more just to learn the names."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """All families, each with its samples; those without any show their help text alone."""
        yield _build(self._metrics)
        yield _ended(self._metrics, openmetrics=self._openmetrics)
        yield from _downstream(self._metrics)
        yield from _requests(self._metrics)
        yield from _upstream(self._metrics)
        yield from _credentials(self._metrics)
        yield from _vaults(self._metrics)
        yield from _configuration(self._metrics)
        lost = "Log lines lost because the reader of the log was too slow."
        yield _counter("log_lines_dropped", lost, (), [((), dropped())])


Row = tuple[Sequence[str], float]


def _gauge(name: str, help_text: str, labels: Sequence[str], rows: Iterable[Row]) -> Metric:
    family = GaugeMetricFamily(PREFIX + name, help_text, labels=labels)
    for values, number in rows:
        family.add_metric(values, number)
    return family


def _counter(name: str, help_text: str, labels: Sequence[str], rows: Iterable[Row]) -> Metric:
    family = CounterMetricFamily(PREFIX + name, help_text, labels=labels)
    for values, number in rows:
        family.add_metric(values, number)
    return family


def _histogram(
    name: str, help_text: str, labels: Sequence[str], rows: Iterable[tuple[Sequence[str], Histogram]]
) -> Metric:
    family = HistogramMetricFamily(PREFIX + name, help_text, labels=labels)
    for values, histogram in rows:
        family.add_metric(values, histogram.buckets(), histogram.sum)
    return family


def _build(metrics: Metrics) -> Metric:
    return _gauge(
        "build_info",
        "What runs: always 1. scan: the variant of the message boundary walk, compiled or pure.",
        ("version", "python", "scan"),
        [((__version__, platform.python_version(), metrics.scan), 1)],
    )


def _ended(metrics: Metrics, *, openmetrics: bool) -> Metric:
    """`downstream_connections_total`.

    In OpenMetrics a counter's family is named without its `_total`, which here is the name of the gauge; two
    families may not share one, so there the counter goes by its whole name and an unknown type.
    """
    name, help_text = PREFIX + "downstream_connections", "Client connections ended, by the reason they ended for."
    labels = ("listener", "result")
    family = (
        UnknownMetricFamily(name + "_total", help_text, labels=labels)
        if openmetrics
        else CounterMetricFamily(name, help_text, labels=labels)
    )
    for listener, counts in metrics.listeners():
        for result, number in counts.results.items():
            family.add_metric((listener, result), number)
    return family


def _downstream(metrics: Metrics) -> Iterator[Metric]:
    listeners = list(metrics.listeners())
    yield _gauge(
        "downstream_connections",
        "Client connections open now.",
        ("listener",),
        (((name,), counts.active) for name, counts in listeners),
    )
    yield _counter(
        "downstream_bytes",
        "Bytes received from clients (in) and sent to them (out).",
        ("listener", "direction"),
        (
            ((name, direction), n)
            for name, counts in listeners
            for direction, n in (("in", counts.bytes_in), ("out", counts.bytes_out))
        ),
    )
    yield _histogram(
        "session_duration_seconds",
        "How long client connections lasted, in seconds.",
        ("listener",),
        (((name,), counts.session_seconds) for name, counts in listeners),
    )


def _results(counts: RequestMetrics) -> tuple[tuple[str, int], ...]:
    """How many ended how; `refused` only where anything was, for most have no policy."""
    results = ("ok", counts.ok), ("error", counts.error)
    return (*results, ("refused", counts.refused)) if counts.refused else results


def _requests(metrics: Metrics) -> Iterator[Metric]:
    labels = ("listener", "upstream", "kind", "result")
    requests = list(metrics.all_requests())
    yield _counter(
        "requests",
        "Units of work done, by kind (transaction, command class, method) and whether they went well, or the listener's"
        " policy refused them.",
        labels,
        (((*key, result), number) for key, counts in requests for result, number in _results(counts)),
    )
    yield _histogram(
        "request_duration_seconds",
        "How long units of work took, in seconds.",
        labels,
        (
            ((*key, result), histogram)
            for key, counts in requests
            for result, histogram in (("ok", counts.seconds), ("error", counts.error_seconds))
        ),
    )


def _upstream(metrics: Metrics) -> Iterator[Metric]:
    endpoints = [
        ((name, address), counts)
        for name, upstream in metrics.upstreams()
        for address, counts in upstream.endpoints.items()
    ]
    yield _gauge(
        "upstream_connections",
        "Connections to an endpoint open now, by state.",
        ("upstream", "endpoint", "state"),
        (((*key, state), n) for key, counts in endpoints for state, n in counts.states.items()),
    )
    yield _counter(
        "upstream_connects",
        "Tries to get a usable connection to an endpoint (dial, TLS, login), by result.",
        ("upstream", "endpoint", "result"),
        (((*key, result), n) for key, counts in endpoints for result, n in counts.connects.items()),
    )
    yield _histogram(
        "upstream_connect_duration_seconds",
        "How long tries to get a usable connection took, in seconds.",
        ("upstream", "endpoint", "result"),
        (
            ((*key, result), histogram)
            for key, counts in endpoints
            for result, histogram in (("ok", counts.connect_seconds), *counts.failed_seconds.items())
        ),
    )
    yield _gauge(
        "upstream_healthy",
        "Whether an endpoint is in use (1) or set aside (0).",
        ("upstream", "endpoint"),
        ((key, counts.healthy) for key, counts in endpoints),
    )
    yield from _sharing(metrics)


def _sharing(metrics: Metrics) -> Iterator[Metric]:
    upstreams = list(metrics.upstreams())
    yield _gauge(
        "upstream_pinned_clients",
        "Clients that have an upstream connection of their own now, by the reason.",
        ("upstream", "reason"),
        (((name, reason), n) for name, upstream in upstreams for reason, n in upstream.pinned.items()),
    )
    yield _gauge(
        "upstream_owed_replies",
        "Replies that an upstream owes now on connections that clients take turns on.",
        ("upstream",),
        (((name,), upstream.owed()) for name, upstream in upstreams if upstream.owed is not None),
    )
    yield _counter(
        "upstream_topology_refreshes",
        "Questions to the nodes of a cluster who serves what, by result.",
        ("upstream", "result"),
        (((name, result), n) for name, upstream in upstreams for result, n in upstream.topology_refreshes.items()),
    )
    yield _counter(
        "upstream_redirections",
        "Requests that a node of a cluster sent to another one, by its word (MOVED, ASK).",
        ("upstream", "word"),
        (((name, word), n) for name, upstream in upstreams for word, n in upstream.redirections.items()),
    )


def _credentials(metrics: Metrics) -> Iterator[Metric]:
    credentials = list(metrics.credentials())
    label = ("credential",)
    yield _gauge(
        "credential_version",
        "Which value of a credential is current: counts up from 1; 0 while there is none.",
        label,
        (((name,), counts.version) for name, counts in credentials),
    )
    yield _gauge(
        "credential_expiry_timestamp_seconds",
        "When a credential's current value expires, in seconds since 1970; absent where its source does not say.",
        label,
        (((name,), counts.expires) for name, counts in credentials if counts.expires is not None),
    )
    yield _counter(
        "credential_refreshes",
        "Tries to renew a credential, by result.",
        ("credential", "result"),
        (((name, result), n) for name, counts in credentials for result, n in counts.refreshes.items()),
    )
    yield _gauge(
        "credential_last_success_timestamp_seconds",
        "When a credential was last read from its source without fault, in seconds since 1970.",
        label,
        (((name,), counts.last_success) for name, counts in credentials if counts.last_success is not None),
    )
    yield _gauge(
        "credential_connections",
        "Upstream connections open now, by the version of the credential they logged in with.",
        ("credential", "version"),
        (((name, str(version)), n) for name, counts in credentials for version, n in counts.connections.items() if n),
    )
    yield _counter(
        "credential_connections_ended",
        "Upstream connections ended because their credential did: at a safe point (left), or at the very end (cut).",
        ("credential", "how"),
        (((name, how), n) for name, counts in credentials for how, n in counts.ended.items()),
    )


def _vaults(metrics: Metrics) -> Iterator[Metric]:
    vaults = list(metrics.vaults())
    yield _counter(
        "vault_requests",
        "Requests to a Vault, by what was asked and by what came of it.",
        ("vault", "operation", "result"),
        (((name, *key), n) for name, counts in vaults for key, n in counts.requests.items()),
    )
    yield _histogram(
        "vault_request_duration_seconds",
        "How long requests to a Vault took, in seconds.",
        ("vault", "operation"),
        (((name, operation), times) for name, counts in vaults for operation, times in counts.seconds.items()),
    )
    yield _gauge(
        "vault_token_expiry_timestamp_seconds",
        "When our token ends unless it is renewed, in seconds since 1970; absent while there is none or it has no end.",
        ("vault",),
        (((name,), counts.token_expires) for name, counts in vaults if counts.token_expires is not None),
    )
    yield _counter(
        "credential_leases",
        "Leases of a credential, by what became of them: issued, renewed, revoked, lapsed, lost.",
        ("credential", "event"),
        (((name, event), n) for name, counts in metrics.credentials() for event, n in counts.leases.items()),
    )


def _configuration(metrics: Metrics) -> Iterator[Metric]:
    yield _gauge(
        "tls_certificate_expiry_timestamp_seconds",
        "When a certificate that is in use expires, in seconds since 1970.",
        ("where",),
        (((where,), not_after) for where, not_after in metrics.certificates.items()),
    )
    ok, success = metrics.last_reload_ok, metrics.last_reload_success
    yield _gauge(
        "config_last_reload_successful",
        "Whether the last configuration read was applied (1) or refused (0).",
        (),
        [] if ok is None else [((), ok)],
    )
    yield _gauge(
        "config_last_reload_success_timestamp_seconds",
        "When a configuration was last applied, in seconds since 1970.",
        (),
        [] if success is None else [((), success)],
    )
