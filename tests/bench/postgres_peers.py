"""The proxies before PostgreSQL that are compared, each with the setting that suits it best."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

from ambassador.demo.servers import free_port
from tests.bench.peers import NOBODY, Peer, envoy_words, haproxy_before, program, running
from tests.support.daemon import COMMAND


@dataclass(frozen=True)
class Backend:
    """The server behind every peer; `ca` is None for cleartext."""

    port: int
    user: str
    password: str
    database: str
    ca: Path | None = None


@contextmanager
def ambassador(directory: Path, backend: Backend) -> Iterator[Peer]:
    """Ours: log level warning, since none of the others writes a line per session here."""
    port = free_port()
    secret = directory / f"ambassador-{port}"
    secret.mkdir()
    (secret / "username").write_text(backend.user)
    (secret / "password").write_text(backend.password)
    tls = f"tls: {{mode: verify-full, ca: {backend.ca}}}" if backend.ca else ""
    configuration = dedent(f"""\
        admin: {{listen: unix:{secret}/admin.sock}}
        log: {{level: warning}}
        drain: {{delay: 0s, timeout: 1s}}
        credentials:
          bench: {{file: {{path: {secret}}}}}
        upstreams:
          bench:
            endpoints: ["127.0.0.1:{backend.port}"]
            credential: bench
            {tls}
        listeners:
          bench:
            listen: 127.0.0.1:{port}
            limits: {{connections: 5000}}
            postgres: {{upstream: bench}}
        """)
    file = secret / "ambassador.yaml"
    file.write_text(configuration)
    with running("ambassador", [COMMAND, "run", "-c", file], port, configuration, secret) as peer:
        yield peer


@contextmanager
def pgbouncer(directory: Path, backend: Backend) -> Iterator[Peer]:
    """Session pooling: one server connection for each client, as ours."""
    port = free_port()
    home = directory / f"pgbouncer-{port}"
    home.mkdir()
    tls = f"server_tls_sslmode = verify-full\nserver_tls_ca_file = {backend.ca}" if backend.ca else ""
    login = f"user={backend.user} password={backend.password}"
    configuration = dedent("""\
        [databases]
        {database} = host=127.0.0.1 port={upstream} dbname={database} {login}
        [pgbouncer]
        listen_addr = 127.0.0.1
        listen_port = {port}
        unix_socket_dir =
        auth_type = any
        pool_mode = session
        max_client_conn = 5000
        default_pool_size = 5000
        server_reset_query =
        log_connections = 0
        log_disconnections = 0
        {tls}
        """).format(database=backend.database, upstream=backend.port, login=login, port=port, tls=tls)
    file = home / "pgbouncer.ini"
    file.write_text(configuration)
    words: list[str | Path] = [program("pgbouncer"), "-q", file]
    if os.geteuid() == 0:
        words = [words[0], "-q", "-u", NOBODY, file]
        file.chmod(0o644)
    with running("pgbouncer", words, port, configuration.replace(backend.password, "***"), home) as peer:
        yield peer


@contextmanager
def haproxy(directory: Path, backend: Backend) -> Iterator[Peer]:
    """Copies bytes, one thread; TLS begun at once, as PostgreSQL 17 allows (HAProxy cannot ask for it first)."""
    tls = f"ssl verify required ca-file {backend.ca} verifyhost localhost alpn postgresql" if backend.ca else ""
    with haproxy_before(directory, backend.port, tls) as peer:
        yield peer


@contextmanager
def envoy(directory: Path, backend: Backend) -> Iterator[Peer]:
    """tcp_proxy, one worker."""
    port = free_port()
    home = directory / f"envoy-{port}"
    home.mkdir()
    configuration = _envoy_configuration(port, backend)
    file = home / "envoy.yaml"
    file.write_text(configuration)
    with running("envoy", envoy_words(file), port, configuration, home) as peer:
        yield peer


def _envoy_configuration(port: int, backend: Backend) -> str:
    tls = f"""
    transport_socket:
      name: envoy.transport_sockets.tls
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
        sni: localhost
        common_tls_context:
          alpn_protocols: [postgresql]
          validation_context: {{trusted_ca: {{filename: {backend.ca}}}}}"""
    return f"""\
static_resources:
  listeners:
  - address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.tcp_proxy
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
          stat_prefix: bench
          cluster: bench
  clusters:
  - name: bench
    type: STATIC
    circuit_breakers: {{thresholds: [{{max_connections: 6000}}]}}
    load_assignment:
      cluster_name: bench
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {backend.port}}}}}}}
{tls if backend.ca else ""}
"""
