"""Everything the daemon counts, as plain numbers.

The data path holds its child (a listener's, an endpoint's) and adds to an integer; nothing is looked up, locked or
formatted until somebody scrapes, and then `exposition.py`, which holds every metric's name, reads them all at once.

Names come from the configuration and words from closed lists, never from a client: each distinct one is a time
series for ever. All of this belongs to the loop's thread.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator

from ambassador.telemetry.children import Children
from ambassador.telemetry.exposition import expose
from ambassador.telemetry.histogram import FAST, LIVES, Histogram
from ambassador.telemetry.requests import RequestMetrics

__all__ = [
    "CredentialMetrics",
    "EndpointMetrics",
    "Histogram",
    "ListenerMetrics",
    "Metrics",
    "UpstreamMetrics",
    "VaultMetrics",
]

OK = "ok"


class ListenerMetrics:
    """What one listener's sessions did.

    `active` sessions now, `results` of ended ones by reason word, bytes received from clients (`bytes_in`) and
    sent to them (`bytes_out`), and how long sessions lasted.
    """

    __slots__ = ("active", "bytes_in", "bytes_out", "results", "session_seconds")

    def __init__(self) -> None:
        self.active = 0
        self.results: dict[str, int] = defaultdict(int)
        self.bytes_in = 0
        self.bytes_out = 0
        self.session_seconds = Histogram(LIVES)

    def finished(self, result: str) -> None:
        """Count an ended session. `result` is a word of `errors.Reason`. The caller lowers `active` itself."""
        self.results[result] += 1

    @property
    def idle(self) -> bool:
        return self.active <= 0


class EndpointMetrics:
    """One address of an upstream.

    `connects` counts tries to get a usable connection by result: `ok` or a word of `errors.Reason`.
    `states` counts the open connections by state (a pool's words); `healthy` is the balancer's opinion.
    """

    __slots__ = ("connect_seconds", "connects", "failed_seconds", "healthy", "states")

    def __init__(self) -> None:
        self.connects: dict[str, int] = defaultdict(int)
        self.connects[OK] = 0
        self.connect_seconds = Histogram(FAST)
        self.failed_seconds: dict[str, Histogram] = {}
        self.healthy = True
        self.states: dict[str, int] = defaultdict(int)

    def connected(self, result: str, seconds: float) -> None:
        """Count one try and its duration, by result."""
        self.connects[result] += 1
        histogram = self.connect_seconds if result == OK else self.failed_seconds.setdefault(result, Histogram(FAST))
        histogram.observe(seconds)

    @property
    def idle(self) -> bool:
        return not any(self.states.values())


class UpstreamMetrics:
    """One upstream: its endpoints, and the clients that share connections to it.

    `pinned` counts clients that have a connection of their own for now, by reason (a closed list of the protocol's);
    `owed` tells how many replies its servers owe at this moment. Of a cluster: `topology_refreshes` counts questions
    who serves what by result, `redirections` requests that a node sent to another one, by its word.
    """

    __slots__ = ("endpoints", "owed", "pinned", "redirections", "topology_refreshes")

    def __init__(self) -> None:
        self.topology_refreshes: dict[str, int] = defaultdict(int)
        self.redirections: dict[str, int] = defaultdict(int)
        self.pinned: dict[str, int] = defaultdict(int)
        self.owed: Callable[[], int] | None = None
        self.endpoints: Children[str, EndpointMetrics] = Children(EndpointMetrics)

    def endpoint(self, address: str) -> EndpointMetrics:
        """The counts of one address (`host:port` or `unix:/path`, as configured or discovered)."""
        return self.endpoints.get(address)

    def retain(self, addresses: Iterable[str]) -> None:
        """Drop endpoints that are no longer among `addresses`, each when its last connection is gone."""
        self.endpoints.retire(addresses)

    @property
    def idle(self) -> bool:
        return all(endpoint.idle for _, endpoint in self.endpoints.items())


class CredentialMetrics:
    """One credential.

    `version` counts up from 1 with each new value (0: none yet); `expires` and `last_success` are wall seconds;
    `refreshes` counts tries to renew by result; `connections` the open upstream connections by the version they
    logged in with; `ended` those that ended because their version did, by how: at a safe point (`left`) or not (`cut`).
    """

    __slots__ = ("connections", "ended", "expires", "last_success", "leases", "refreshes", "version")

    def __init__(self) -> None:
        self.version = 0
        self.expires: float | None = None
        self.refreshes: dict[str, int] = defaultdict(int)
        self.refreshes[OK] = 0
        self.last_success: float | None = None
        self.connections: dict[int, int] = defaultdict(int)
        self.leases: dict[str, int] = defaultdict(int)
        self.ended: dict[str, int] = {"left": 0, "cut": 0}

    def connected(self, version: int) -> None:
        """An upstream connection logged in with `version`."""
        self.connections[version] += 1

    def disconnected(self, version: int) -> None:
        """A connection counted by `connected` is gone. Versions without connections are forgotten."""
        self.connections[version] -= 1
        if self.connections[version] <= 0:
            del self.connections[version]

    @property
    def idle(self) -> bool:
        return not any(self.connections.values())


class VaultMetrics:
    """One Vault.

    `requests` counts by (operation, result); `seconds` tells how long they took, by operation; `token_expires` is wall
    seconds, None while there is no token, or when it never ends.
    """

    __slots__ = ("requests", "seconds", "token_expires")

    def __init__(self) -> None:
        self.requests: dict[tuple[str, str], int] = defaultdict(int)
        self.seconds: dict[str, Histogram] = defaultdict(lambda: Histogram(FAST))
        self.token_expires: float | None = None

    def asked(self, operation: str, result: str, seconds: float) -> None:
        """A request has ended."""
        self.requests[operation, result] += 1
        self.seconds[operation].observe(seconds)

    @property
    def idle(self) -> bool:
        return True


class Metrics:
    """All counts of one daemon.

    Args:
        scan: which variant of the boundary walk runs (`wire.scan.SCAN`): `compiled` or `pure`.

    Attributes:
        certificates: when each certificate in use expires (wall seconds), by where it is used.
    """

    def __init__(self, *, scan: str = "pure") -> None:
        self.scan = scan
        self.certificates: dict[str, float] = {}
        self.last_reload_ok: bool | None = None
        self.last_reload_success: float | None = None
        self._listeners: Children[str, ListenerMetrics] = Children(ListenerMetrics)
        self._requests: Children[tuple[str, str, str], RequestMetrics] = Children(RequestMetrics)
        self._upstreams: Children[str, UpstreamMetrics] = Children(UpstreamMetrics)
        self._credentials: Children[str, CredentialMetrics] = Children(CredentialMetrics)
        self._vaults: Children[str, VaultMetrics] = Children(VaultMetrics)

    def listener(self, name: str) -> ListenerMetrics:
        """The counts of one listener; hold on to them."""
        return self._listeners.get(name)

    def requests(self, listener: str, upstream: str, kind: str) -> RequestMetrics:
        """The counts of one kind of work between a listener and an upstream; hold on to them."""
        return self._requests.get((listener, upstream, kind))

    def upstream(self, name: str) -> UpstreamMetrics:
        """The counts of one upstream; hold on to them."""
        return self._upstreams.get(name)

    def credential(self, name: str) -> CredentialMetrics:
        """The counts of one credential; hold on to them."""
        return self._credentials.get(name)

    def vault(self, name: str) -> VaultMetrics:
        """The counts of one Vault; hold on to them."""
        return self._vaults.get(name)

    def reload(self, ok: bool, wall: float) -> None:
        """A configuration was applied or refused at `wall` seconds; the first at start counts too."""
        self.last_reload_ok = ok
        if ok:
            self.last_reload_success = wall

    def reconcile(
        self,
        listeners: Iterable[str],
        upstreams: Iterable[str],
        credentials: Iterable[str],
        vaults: Iterable[str] = (),
    ) -> None:
        """Drop what the configuration no longer names, each once its sessions and connections are gone."""
        listeners, upstreams = frozenset(listeners), frozenset(upstreams)
        self._listeners.retire(listeners)
        self._upstreams.retire(upstreams)
        self._credentials.retire(credentials)
        self._vaults.retire(vaults)
        self._requests.retire([key for key, _ in self._requests.items() if key[0] in listeners and key[1] in upstreams])

    def listeners(self) -> Iterator[tuple[str, ListenerMetrics]]:
        """Every listener's counts, by name."""
        return self._listeners.items()

    def all_requests(self) -> Iterator[tuple[tuple[str, str, str], RequestMetrics]]:
        """Every kind of work's counts, by (listener, upstream, kind)."""
        return self._requests.items()

    def upstreams(self) -> Iterator[tuple[str, UpstreamMetrics]]:
        """Every upstream's counts, by name."""
        return self._upstreams.items()

    def credentials(self) -> Iterator[tuple[str, CredentialMetrics]]:
        """Every credential's counts, by name."""
        return self._credentials.items()

    def vaults(self) -> Iterator[tuple[str, VaultMetrics]]:
        """Every Vault's counts, by name."""
        return self._vaults.items()

    def exposition(self, openmetrics: bool) -> tuple[bytes, str]:
        """The metrics page and its content type: text 0.0.4, or OpenMetrics 1.0.0."""
        return expose(self, openmetrics=openmetrics)
