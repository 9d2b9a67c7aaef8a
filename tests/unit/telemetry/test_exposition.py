from __future__ import annotations

import re
import shutil
import subprocess

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from ambassador.errors import Reason
from ambassador.telemetry.exposition import PREFIX
from ambassador.telemetry.metrics import Metrics

# The face of the daemon: name → labels. A change here breaks dashboards and alerts.
SETTLED = {
    "build_info": {"version", "python", "scan"},
    "downstream_connections": {"listener"},
    "downstream_connections_total": {"listener", "result"},
    "downstream_bytes_total": {"listener", "direction"},
    "session_duration_seconds": {"listener"},
    "upstream_connections": {"upstream", "endpoint", "state"},
    "upstream_connects_total": {"upstream", "endpoint", "result"},
    "upstream_connect_duration_seconds": {"upstream", "endpoint", "result"},
    "upstream_healthy": {"upstream", "endpoint"},
    "upstream_pinned_clients": {"upstream", "reason"},
    "upstream_owed_replies": {"upstream"},
    "upstream_topology_refreshes_total": {"upstream", "result"},
    "upstream_redirections_total": {"upstream", "word"},
    "requests_total": {"listener", "upstream", "kind", "result"},
    "request_duration_seconds": {"listener", "upstream", "kind", "result"},
    "credential_version": {"credential"},
    "credential_expiry_timestamp_seconds": {"credential"},
    "credential_refreshes_total": {"credential", "result"},
    "credential_last_success_timestamp_seconds": {"credential"},
    "credential_connections": {"credential", "version"},
    "credential_connections_ended_total": {"credential", "how"},
    "credential_leases_total": {"credential", "event"},
    "vault_requests_total": {"vault", "operation", "result"},
    "vault_request_duration_seconds": {"vault", "operation"},
    "vault_token_expiry_timestamp_seconds": {"vault"},
    "tls_certificate_expiry_timestamp_seconds": {"where"},
    "config_last_reload_successful": set(),
    "config_last_reload_success_timestamp_seconds": set(),
    "log_lines_dropped_total": set(),
}


def filled() -> Metrics:
    metrics = Metrics(scan="compiled")
    listener = metrics.listener("orders")
    listener.active = 1
    for reason in Reason:
        listener.finished(reason)
    listener.bytes_in = 2**60
    listener.session_seconds.observe(3.0)
    requests = metrics.requests("orders", "orders", "transaction")
    requests.ok = 1
    requests.seconds.observe(0.1)
    for address in ("db.example.com:5432", "[::1]:5432", 'unix:/run/a b/\\odd"\n.sock'):
        endpoint = metrics.upstream("orders").endpoint(address)
        endpoint.connected("ok", 0.1)
        endpoint.connected("connect_failed", 0.1)
        endpoint.states["leased"] = 1
    metrics.upstream("orders").pinned["watch"] = 1
    metrics.upstream("orders").owed = lambda: 4
    metrics.upstream("orders").redirections["ASK"] += 1
    metrics.upstream("orders").topology_refreshes["ok"] += 1
    credential = metrics.credential("orders-db")
    credential.version, credential.expires, credential.last_success = 3, 2e9, 1.7e9
    credential.refreshes["source_failed"] += 1
    credential.connected(3)
    credential.leases["issued"] += 1
    vault = metrics.vault("main")
    vault.asked("login", "ok", 0.01)
    vault.asked("read_secret", "denied", 0.01)
    vault.token_expires = 2e9
    metrics.certificates["listener orders"] = 2e9
    metrics.reload(True, 1.7e9)
    return metrics


PAGES = {"empty": Metrics, "filled": filled}


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.apt
def test_promtool_finds_no_fault(page: str) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed: it comes with Debian's package prometheus (`make apt`)")
    text, kind = PAGES[page]().exposition(False)
    done = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, timeout=20, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert kind == "text/plain; version=0.0.4; charset=utf-8"


@pytest.mark.parametrize("page", PAGES)
def test_openmetrics_parses(page: str) -> None:
    text, kind = PAGES[page]().exposition(True)
    families = {family.name: family for family in parse_openmetrics(text.decode())}  # type: ignore[no-untyped-call]  # as it comes
    assert kind.startswith("application/openmetrics-text; version=1.0.0")
    assert families[PREFIX + "build_info"].samples[0].value == 1
    assert families[PREFIX + "downstream_connections"].type == "gauge"


def test_both_forms_tell_the_same() -> None:
    metrics = filled()
    forms = [
        {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in parse(metrics.exposition(openmetrics)[0].decode())
            for sample in family.samples
            if sample.name.startswith(PREFIX)
        }
        for parse, openmetrics in ((parse_text, False), (parse_openmetrics, True))
    ]
    assert forms[0] == forms[1]
    assert (
        forms[0][PREFIX + "downstream_bytes_total", frozenset({("listener", "orders"), ("direction", "in")})] == 2**60
    )


def test_names_and_labels_are_the_settled_ones() -> None:
    found: dict[str, set[str]] = {}
    for family in parse_text(filled().exposition(False)[0].decode()):
        for sample in family.samples:
            if sample.name.startswith(PREFIX):
                name = re.sub(r"_(bucket|sum|count)\Z", "", sample.name.removeprefix(PREFIX))
                found.setdefault(name, set()).update(set(sample.labels) - {"le"})
    assert found == SETTLED


def test_the_standard_metrics_of_a_process_are_there() -> None:
    names = {family.name for family in parse_text(Metrics().exposition(False)[0].decode())}
    assert {"process_resident_memory_bytes", "process_cpu_seconds", "process_open_fds"} <= names
