"""The README's recipe for a Vault, Kubernetes and PostgreSQL, run as it is printed."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from ambassador.demo.servers import free_port
from tests.e2e.drivers.psycopg3 import connect, value
from tests.e2e.where import Where
from tests.support.certificates import Authority
from tests.support.daemon import Daemon
from tests.support.openbao import OpenBao
from tests.support.postgres import Certificates, PostgresServer, distribution
from tests.support.token_review import TokenReviewer

README = Path(__file__).parents[3] / "README.md"
SECTION = README.read_text().partition("\n### Vault in Kubernetes\n")[2].partition("\n### ")[0]

ORDERS = ("hostssl all all 127.0.0.1/32 scram-sha-256",)


def block(language: str) -> str:
    """The section's one fenced block of a language."""
    found = re.findall(rf"^```{language}\n(.*?)^```$", SECTION, flags=re.MULTILINE | re.DOTALL)
    assert len(found) == 1, language
    return str(found[0])


def commands() -> str:
    """What is typed at the prompts."""
    lines = block("console").splitlines()
    assert all(line.startswith(("$ ", "    ")) for line in lines)
    return "\n".join(line.removeprefix("$ ") for line in lines)


class Cluster:
    """Everything the recipe speaks of, and where it is here.

    Attributes:
        places: what stands in its place, by what is printed: addresses and paths, and nothing else.
    """

    def __init__(self, bao: OpenBao, reviewer: TokenReviewer, server: PostgresServer, home: Path, ca: Path) -> None:
        self.bao, self.server, self.home, self.ca = bao, server, home, ca
        self.port = free_port()
        token = home / "token"
        token.write_text(reviewer.service_account("shop", "orders"))
        for name in ("vault-ca.crt", "orders-db-ca.crt"):
            (home / "tls").mkdir(exist_ok=True)
            (home / "tls" / name).write_text(ca.read_text())
        # It speaks cleartext here, so that any will do.
        (home / "kubernetes-ca.crt").write_text(ca.read_text())
        self.places: Mapping[str, str] = {
            "https://vault.example.com:8200": bao.url,
            "orders.db.example.com:5432": f"localhost:{server.port}",
            "https://kubernetes.example.com:6443": reviewer.url,
            "127.0.0.1:5432": f"127.0.0.1:{self.port}",
            "/etc/ambassador": str(home),
            "/etc/openbao": str(home / "tls"),
            "/var/run/secrets/kubernetes.io/serviceaccount/token": str(token),
        }

    def here(self, text: str) -> str:
        """What is printed, with the places of this machine."""
        for printed, place in self.places.items():
            text = text.replace(printed, place)
        return text

    def run(self) -> None:
        """Type it all."""
        self.server.psql("CREATE DATABASE orders")
        self.server.psql(block("sql"), database="orders")
        self.server.psql("GRANT CREATE ON SCHEMA public TO orders", database="orders")
        (self.home / "ambassador-orders.hcl").write_text(block("hcl"))
        env = {
            "PATH": f"{self.bao.program.parent}{os.pathsep}/usr/bin:/bin",
            "HOME": str(self.home),
            "BAO_ADDR": self.bao.url,
            "BAO_TOKEN": self.bao.root,
            "BAO_CACERT": str(self.ca),
        }
        words = ["bash", "-eu", "-c", self.here(commands())]
        done = subprocess.run(
            words,
            cwd=self.home,
            env=env,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def cluster(authority: Authority, tmp_path: Path) -> Iterator[Cluster]:
    """With a Vault and a database of its own, both behind TLS."""
    pair = authority.server("localhost", "127.0.0.1")
    certificates = Certificates(pair.cert, pair.key)
    with (
        OpenBao(certificates=certificates) as bao,
        PostgresServer(distribution(17), hba=ORDERS, certificates=certificates) as server,
        TokenReviewer() as reviewer,
    ):
        yield Cluster(bao, reviewer, server, tmp_path, authority.file)


@pytest.mark.timeout(60)
def test_the_recipe_in_the_readme_works_as_it_is_printed(cluster: Cluster) -> None:
    cluster.run()

    def roles() -> list[str]:
        made = "SELECT rolname FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.member"
        return cluster.server.psql(f"{made} WHERE roleid = 'orders'::regrole AND rolname <> 'vault'").splitlines()

    with Daemon(cluster.here(block("yaml"))) as daemon:
        with connect(Where(cluster.port, "anybody", "orders")) as connection:
            assert value(connection.execute("SELECT current_database()")) == "orders"
            assert [value(connection.execute("SELECT session_user"))] == roles()
            # What it makes must not keep it from being dropped.
            connection.execute("CREATE TABLE mine (n int)")
            assert value(connection.execute("SELECT current_user")) == "orders"
        assert daemon.metric("ambassador_credential_leases_total", credential="orders-db", event="issued") == 1
        daemon.sigterm()
        assert daemon.wait() == 0
        assert daemon.logged("lease revoked", credential="orders-db")
        assert not daemon.logged("lease not revoked")
    assert roles() == []
    assert cluster.bao.leases("database/creds/orders") == []
