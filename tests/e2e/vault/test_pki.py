"""Certificates that live for seconds, shown to clients and to a server, and not one handshake that fails."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from cryptography import x509

from ambassador.credentials.term import care_after
from tests.e2e.load import Bench
from tests.e2e.vault.plan import Plan
from tests.e2e.where import Where
from tests.support.certificates import Authority
from tests.support.daemon import Daemon
from tests.support.openbao import OpenBao
from tests.support.openbao_engines import Authority as Issuer
from tests.support.postgres import Certificates, PostgresServer, Role, distribution, new_role
from tests.support.secrets import SecretDir

HBA = ("hostssl all all 127.0.0.1/32 scram-sha-256 clientcert=verify-full",)

EXPIRY = "ambassador_tls_certificate_expiry_timestamp_seconds"


class Issued:
    """A listener whose certificate comes from a Vault, before a server that wants one from there, too."""

    def __init__(self, bao: OpenBao, plan: Plan, authority: Authority, ttl: int) -> None:
        self.issuer: Issuer = bao.authority(ttl=ttl, max_ttl=ttl, enforce_hostnames=False)
        self.ca = plan.home / "issuer.pem"
        self.ca.write_text(self.issuer.ca)
        pair = authority.server("localhost", "127.0.0.1")
        certificates = Certificates(pair.cert, pair.key, client_ca=self.ca)
        self.server = PostgresServer(distribution(17), hba=HBA, certificates=certificates)
        self._authority, self._bao, self.plan = authority, bao, plan

    def write(self) -> Where:
        """The configuration; the server runs."""
        app: Role = new_role(self.server)
        SecretDir(self.plan.home / "app", {"username": app.name, "password": app.password})
        self.plan.vault(self._bao, self.issuer.reading("issue/*"))
        self.plan.credentials["app"] = {"file": {"path": str(self.plan.home / "app")}}
        issued = {"mount": self.issuer.mount, "role": "app"}
        # The server goes by the certificate's name.
        self.plan.lent("client", "vault_pki", common_name=app.name, **issued)
        self.plan.lent("front", "vault_pki", common_name="localhost", ip_sans=["127.0.0.1"], **issued)
        where = self.plan.postgres(
            "db",
            self.server,
            "app",
            tls={"ca": str(self._authority.file), "credential": "client"},
            listener={"tls": {"credential": "front"}},
        )
        return replace(where, ca=self.ca)


@pytest.fixture
def ttl(long: bool) -> int:
    """Seconds that a certificate lives."""
    return 20 if long else 8


@pytest.fixture
def issued(openbao: OpenBao, plan: Plan, authority: Authority, ttl: int) -> Iterator[Issued]:
    """With a server of its own."""
    found = Issued(openbao, plan, authority, ttl)
    with found.server:
        yield found


@pytest.mark.slow
@pytest.mark.timeout(150)
def test_no_handshake_fails_while_certificates_come_and_go(
    issued: Issued, ttl: int, long: bool, figure: Callable[[str], None]
) -> None:
    seconds = 60 if long else 8
    where, shown = issued.write(), set()

    def look(_: int) -> None:
        certificate = shown_at(where)
        shown.add(certificate.serial_number)
        # At least a quarter of its life is left, whenever one looks.
        assert certificate.not_valid_after_utc.timestamp() - time.time() > ttl / 4

    with Daemon(issued.plan.text()) as daemon:
        pgbench = issued.server.tool("pgbench")
        with Bench(pgbench, where, issued.plan.home, seconds=seconds, reconnect=True, clients=10) as bench:
            bench.during(look, every=0.5)
            done = bench.finished()
        for place in ("listener db", "upstream db"):
            replaced = len(daemon.logged("certificate replaced", where=place))
            assert seconds / ttl <= replaced <= seconds / care_after(ttl, 0.9) + 2
            assert daemon.metric(EXPIRY, where=place) > time.time()
        assert len(shown) >= seconds / ttl
        assert daemon.metric("ambassador_downstream_connections_total", result="tls_failed") == 0
        asked = len(issued.issuer.server.listed(f"{issued.issuer.mount}/certs"))
    figure(f"{done} connections in {seconds} s, none failed; {asked} certificates of {ttl} s")


def shown_at(where: Where) -> x509.Certificate:
    """The certificate that a client gets to see, verified."""
    context = ssl.create_default_context(cafile=str(where.ca))
    context.set_alpn_protocols(["postgresql"])
    with socket.create_connection((where.host, where.port), timeout=5) as plain:
        plain.sendall(b"\0\0\0\x08\x04\xd2\x16\x2f")  # SSLRequest
        assert plain.recv(1) == b"S"
        with context.wrap_socket(plain, server_hostname=where.host) as secured:
            der = secured.getpeercert(binary_form=True)
    assert der is not None
    return x509.load_der_x509_certificate(der)
