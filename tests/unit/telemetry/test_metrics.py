from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from ambassador.telemetry.metrics import Metrics


def samples(metrics: Metrics) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    page, _ = metrics.exposition(False)
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(page.decode())
        for sample in family.samples
    }


def sample(metrics: Metrics, name: str, **labels: str) -> float | None:
    return samples(metrics).get((f"ambassador_{name}", frozenset(labels.items())))


def test_a_listener_counts_its_sessions_and_their_ends() -> None:
    metrics = Metrics()
    listener = metrics.listener("orders")
    listener.active += 2
    listener.finished("client_closed")
    listener.finished("client_closed")
    listener.finished("idle_timeout")
    listener.bytes_in += 10
    listener.bytes_out += 20
    listener.session_seconds.observe(0.5)
    assert sample(metrics, "downstream_connections", listener="orders") == 2
    assert sample(metrics, "downstream_connections_total", listener="orders", result="client_closed") == 2
    assert sample(metrics, "downstream_connections_total", listener="orders", result="idle_timeout") == 1
    assert sample(metrics, "downstream_bytes_total", listener="orders", direction="in") == 10
    assert sample(metrics, "downstream_bytes_total", listener="orders", direction="out") == 20
    assert sample(metrics, "session_duration_seconds_count", listener="orders") == 1


def test_requests_are_counted_by_result() -> None:
    metrics = Metrics()
    requests = metrics.requests("orders", "db", "transaction")
    requests.ok += 3
    requests.error += 1
    requests.seconds.observe(0.25)
    requests.error_seconds.observe(2)
    labels = {"listener": "orders", "upstream": "db", "kind": "transaction"}
    assert sample(metrics, "requests_total", **labels, result="refused") is None
    requests.refused += 2
    assert sample(metrics, "requests_total", **labels, result="refused") == 2
    assert sample(metrics, "requests_total", **labels, result="ok") == 3
    assert sample(metrics, "requests_total", **labels, result="error") == 1
    assert sample(metrics, "request_duration_seconds_sum", **labels, result="ok") == 0.25
    assert sample(metrics, "request_duration_seconds_sum", **labels, result="error") == 2


def test_an_endpoint_tells_of_connections_tries_and_health() -> None:
    metrics = Metrics()
    endpoint = metrics.upstream("db").endpoint("h:1")
    endpoint.connected("ok", 0.1)
    endpoint.connected("connect_timeout", 5.0)
    endpoint.states["leased"] += 2
    endpoint.healthy = False
    labels = {"upstream": "db", "endpoint": "h:1"}
    assert sample(metrics, "upstream_connects_total", **labels, result="ok") == 1
    assert sample(metrics, "upstream_connects_total", **labels, result="connect_timeout") == 1
    assert sample(metrics, "upstream_connect_duration_seconds_sum", **labels, result="ok") == 0.1
    assert sample(metrics, "upstream_connect_duration_seconds_sum", **labels, result="connect_timeout") == 5
    assert sample(metrics, "upstream_connections", **labels, state="leased") == 2
    assert sample(metrics, "upstream_healthy", **labels) == 0


def test_a_counter_of_good_results_is_there_before_the_first_so_that_alerts_see_it_rise() -> None:
    metrics = Metrics()
    metrics.upstream("db").endpoint("h:1")
    metrics.credential("c")
    assert sample(metrics, "upstream_connects_total", upstream="db", endpoint="h:1", result="ok") == 0
    assert sample(metrics, "credential_refreshes_total", credential="c", result="ok") == 0


def test_a_credential_counts_connections_by_version_and_forgets_versions_nobody_uses() -> None:
    metrics = Metrics()
    credential = metrics.credential("c")
    credential.version = 2
    credential.connected(1)
    credential.connected(2)
    credential.disconnected(1)
    assert credential.connections == {2: 1}
    assert sample(metrics, "credential_connections", credential="c", version="2") == 1
    assert sample(metrics, "credential_connections", credential="c", version="1") is None
    assert sample(metrics, "credential_version", credential="c") == 2


def test_connections_that_ended_with_their_credential_are_counted_by_how_and_go_with_it() -> None:
    metrics = Metrics()
    credential = metrics.credential("c")
    credential.connected(1)
    credential.ended["cut"] += 1
    metrics.reconcile((), (), ())
    assert sample(metrics, "credential_connections_ended_total", credential="c", how="cut") == 1
    assert sample(metrics, "credential_connections_ended_total", credential="c", how="left") == 0
    credential.disconnected(1)
    assert sample(metrics, "credential_connections_ended_total", credential="c", how="cut") is None


def test_requests_to_a_vault_are_counted_and_timed_and_go_with_it() -> None:
    metrics = Metrics()
    metrics.vault("v").asked("login", "ok", 0.02)
    metrics.vault("v").asked("login", "denied", 3.0)
    metrics.vault("v").token_expires = 2e9
    assert sample(metrics, "vault_requests_total", vault="v", operation="login", result="ok") == 1
    assert sample(metrics, "vault_requests_total", vault="v", operation="login", result="denied") == 1
    assert sample(metrics, "vault_request_duration_seconds_count", vault="v", operation="login") == 2
    assert sample(metrics, "vault_request_duration_seconds_sum", vault="v", operation="login") == 3.02
    assert sample(metrics, "vault_token_expiry_timestamp_seconds", vault="v") == 2e9
    metrics.vault("v").token_expires = None
    assert sample(metrics, "vault_token_expiry_timestamp_seconds", vault="v") is None
    metrics.reconcile((), (), (), ("v",))
    assert sample(metrics, "vault_requests_total", vault="v", operation="login", result="ok") == 1
    metrics.reconcile((), (), ())
    assert sample(metrics, "vault_requests_total", vault="v", operation="login", result="ok") is None


def test_what_became_of_leases_is_counted() -> None:
    metrics = Metrics()
    metrics.credential("c").leases["issued"] += 2
    metrics.credential("c").leases["revoked"] += 1
    assert sample(metrics, "credential_leases_total", credential="c", event="issued") == 2
    assert sample(metrics, "credential_leases_total", credential="c", event="revoked") == 1


def test_moments_that_are_not_known_are_not_shown() -> None:
    metrics = Metrics()
    credential = metrics.credential("c")
    assert sample(metrics, "credential_expiry_timestamp_seconds", credential="c") is None
    assert sample(metrics, "credential_last_success_timestamp_seconds", credential="c") is None
    credential.expires, credential.last_success = 2e9, 1e9
    assert sample(metrics, "credential_expiry_timestamp_seconds", credential="c") == 2e9
    assert sample(metrics, "credential_last_success_timestamp_seconds", credential="c") == 1e9


def test_a_refused_reload_keeps_the_time_of_the_last_good_one() -> None:
    metrics = Metrics()
    assert sample(metrics, "config_last_reload_successful") is None
    metrics.reload(True, 100.0)
    metrics.reload(False, 200.0)
    assert sample(metrics, "config_last_reload_successful") == 0
    assert sample(metrics, "config_last_reload_success_timestamp_seconds") == 100


def test_reconciling_drops_what_the_configuration_no_longer_names() -> None:
    metrics = Metrics()
    for name in ("a", "b"):
        metrics.listener(name)
        metrics.upstream(name)
        metrics.credential(name)
        metrics.requests(name, name, "transaction")
    metrics.requests("a", "b", "transaction")
    metrics.reconcile(["a"], ["a"], ["a"])
    assert [name for name, _ in metrics.listeners()] == ["a"]
    assert [name for name, _ in metrics.upstreams()] == ["a"]
    assert [name for name, _ in metrics.credentials()] == ["a"]
    assert [key for key, _ in metrics.all_requests()] == [("a", "a", "transaction")]


def test_what_still_has_connections_is_shown_until_they_are_gone() -> None:
    metrics = Metrics()
    metrics.listener("old").active = 1
    metrics.upstream("old").endpoint("h:1").states["leased"] = 1
    metrics.credential("old").connected(1)
    metrics.reconcile([], [], [])
    assert sample(metrics, "downstream_connections", listener="old") == 1
    assert sample(metrics, "upstream_connections", upstream="old", endpoint="h:1", state="leased") == 1
    assert sample(metrics, "credential_connections", credential="old", version="1") == 1


def test_endpoints_that_discovery_dropped_leave_with_their_last_connection() -> None:
    upstream = Metrics().upstream("db")
    leaving = upstream.endpoint("h:1")
    leaving.states["leased"] = 1
    upstream.endpoint("h:2")
    upstream.retain(["h:2"])
    assert [address for address, _ in upstream.endpoints.items()] == ["h:1", "h:2"]
    leaving.states["leased"] = 0
    assert [address for address, _ in upstream.endpoints.items()] == ["h:2"]


def test_clients_with_a_connection_of_their_own_are_told_by_the_reason() -> None:
    metrics = Metrics()
    upstream = metrics.upstream("cache")
    assert sample(metrics, "upstream_pinned_clients", upstream="cache", reason="watch") is None
    upstream.pinned["watch"] += 2
    upstream.pinned["large"] += 1
    upstream.pinned["large"] -= 1
    assert sample(metrics, "upstream_pinned_clients", upstream="cache", reason="watch") == 2
    assert sample(metrics, "upstream_pinned_clients", upstream="cache", reason="large") == 0


def test_what_a_cluster_s_nodes_are_asked_and_where_they_send_requests_is_counted() -> None:
    metrics = Metrics()
    upstream = metrics.upstream("cache")
    assert sample(metrics, "upstream_redirections_total", upstream="cache", word="MOVED") is None
    upstream.redirections["MOVED"] += 2
    upstream.topology_refreshes["error"] += 1
    assert sample(metrics, "upstream_redirections_total", upstream="cache", word="MOVED") == 2
    assert sample(metrics, "upstream_topology_refreshes_total", upstream="cache", result="error") == 1


def test_what_an_upstream_owes_is_asked_when_somebody_looks() -> None:
    metrics = Metrics()
    owed = [3]
    assert sample(metrics, "upstream_owed_replies", upstream="cache") is None
    metrics.upstream("cache").owed = lambda: owed[0]
    metrics.upstream("orders")
    assert sample(metrics, "upstream_owed_replies", upstream="cache") == 3
    owed[0] = 0
    assert sample(metrics, "upstream_owed_replies", upstream="cache") == 0
    assert sample(metrics, "upstream_owed_replies", upstream="orders") is None, "a protocol that shares nothing"
