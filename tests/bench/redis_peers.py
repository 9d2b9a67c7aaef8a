"""The proxies before Redis that are compared, each with the setting that suits it best.

The server has a password. Ours and Envoy know it and log in by themselves; twemproxy logs in too and demands it of its
clients; behind HAProxy, which copies bytes, clients log in at the server.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

from ambassador.demo.servers import free_port, write_private
from tests.bench.peers import Missing, Peer, envoy_words, haproxy_before, program, running
from tests.support.daemon import COMMAND

SMALL, MBUF = 1024, 16384
"""Bytes of twemproxy's buffers: for small values, and its default."""


@dataclass(frozen=True)
class Backend:
    """The server behind every peer; `ca` is None for cleartext. `size` is that of the values, in bytes: it matters to
    proxies whose buffers have one size."""

    port: int
    password: str
    size: int
    ca: Path | None = None


def ambassador_multiplex(directory: Path, backend: Backend) -> AbstractContextManager[Peer]:
    """Ours, one shared connection."""
    return _ambassador("multiplex", "{mode: multiplex, connections: 1}", directory, backend)


def ambassador_dedicated(directory: Path, backend: Backend) -> AbstractContextManager[Peer]:
    """Ours, a server connection for each client."""
    return _ambassador("dedicated", "{mode: dedicated}", directory, backend)


@contextmanager
def _ambassador(mode: str, options: str, directory: Path, backend: Backend) -> Iterator[Peer]:
    """Log level warning, since none of the others writes a line per session here."""
    port = free_port()
    home = directory / f"ambassador-{port}"
    home.mkdir()
    write_private(home / "password", backend.password)
    tls = f"tls: {{mode: verify-full, ca: {backend.ca}}}" if backend.ca else ""
    configuration = dedent(f"""\
        admin: {{listen: unix:{home}/admin.sock}}
        log: {{level: warning}}
        drain: {{delay: 0s, timeout: 1s}}
        credentials:
          bench: {{file: {{path: {home}}}}}
        upstreams:
          bench:
            endpoints: ["127.0.0.1:{backend.port}"]
            credential: bench
            redis: {options}
            {tls}
        listeners:
          bench:
            listen: 127.0.0.1:{port}
            limits: {{connections: 5000}}
            redis: {{upstream: bench}}
        """)
    file = home / "ambassador.yaml"
    file.write_text(configuration)
    with running(f"ambassador {mode}", [COMMAND, "run", "-c", file], port, configuration, home) as peer:
        yield peer


def twemproxy(directory: Path, backend: Backend) -> AbstractContextManager[Peer]:
    """With buffers that suit the values best.

    A message takes at least one: with those of 1 KiB small values cost it half of what they cost with the default,
    which in turn suits large ones best.
    """
    return _twemproxy("twemproxy", SMALL if backend.size < SMALL else MBUF, directory, backend)


def twemproxy_untuned(directory: Path, backend: Backend) -> AbstractContextManager[Peer]:
    """With the buffers it has unless told otherwise, where others suit better."""
    if backend.size >= SMALL:
        raise Missing("values for which its default is not the best")
    return _twemproxy("twemproxy untuned", MBUF, directory, backend)


@contextmanager
def _twemproxy(name: str, mbuf: int, directory: Path, backend: Backend) -> Iterator[Peer]:
    """One connection, opened at once; it has one thread, and knows no TLS."""
    if backend.ca is not None:
        raise Missing("TLS, which twemproxy does not know")
    port = free_port()
    home = directory / f"twemproxy-{port}"
    home.mkdir()
    configuration = dedent(f"""\
        bench:
          listen: 127.0.0.1:{port}
          hash: fnv1a_64
          distribution: modula
          redis: true
          redis_auth: {backend.password}
          preconnect: true
          backlog: 4096
          server_connections: 1
          servers:
            - 127.0.0.1:{backend.port}:1
        """)
    file = home / "nutcracker.yml"
    write_private(file, configuration)
    words: list[str | Path] = [program("nutcracker"), "-c", file, "-o", home / "log", "-v", "0", "-m", str(mbuf)]
    words += ["-s", str(free_port()), "-a", "127.0.0.1", "-i", "3600000", "-p", home / "pid"]
    told = f"# nutcracker -m {mbuf}\n" + configuration.replace(backend.password, "***")
    with running(name, words, port, told, home, password=backend.password) as peer:
        yield peer


@contextmanager
def haproxy(directory: Path, backend: Backend) -> Iterator[Peer]:
    """Copies bytes, one thread. Large values cost it least with buffers of 64 KiB, small ones with the default."""
    tls = f"ssl verify required ca-file {backend.ca} verifyhost localhost" if backend.ca else ""
    tuning = f"tune.bufsize {16384 if backend.size < 16384 else 65536}"
    with haproxy_before(directory, backend.port, tls, tuning=tuning, password=backend.password) as peer:
        yield peer


@contextmanager
def envoy(directory: Path, backend: Backend) -> Iterator[Peer]:
    """redis_proxy, one worker, one shared connection.

    Requests gather to 1 KiB before they leave, or for 1 ms: of no gathering, 1 KiB and 64 KiB that cost it least.
    """
    port = free_port()
    home = directory / f"envoy-{port}"
    home.mkdir()
    configuration = _envoy_configuration(port, backend)
    file = home / "envoy.yaml"
    write_private(file, configuration)
    with running("envoy", envoy_words(file), port, configuration.replace(backend.password, "***"), home) as peer:
        yield peer


def _envoy_configuration(port: int, backend: Backend) -> str:
    tls = f"""
    transport_socket:
      name: envoy.transport_sockets.tls
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
        sni: localhost
        common_tls_context:
          validation_context: {{trusted_ca: {{filename: {backend.ca}}}}}"""
    return f"""\
static_resources:
  listeners:
  - address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.redis_proxy
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.redis_proxy.v3.RedisProxy
          stat_prefix: bench
          settings: {{op_timeout: 60s, max_buffer_size_before_flush: 1024, buffer_flush_timeout: 0.001s}}
          prefix_routes: {{catch_all_route: {{cluster: bench}}}}
  clusters:
  - name: bench
    type: STATIC
    circuit_breakers: {{thresholds: [{{max_connections: 6000}}]}}
    typed_extension_protocol_options:
      envoy.filters.network.redis_proxy:
        "@type": type.googleapis.com/envoy.extensions.filters.network.redis_proxy.v3.RedisProtocolOptions
        auth_password: {{inline_string: {backend.password}}}
    load_assignment:
      cluster_name: bench
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {backend.port}}}}}}}
{tls if backend.ca else ""}
"""
