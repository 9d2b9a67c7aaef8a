"""By whatever way we log in at a Vault, and whatever goes wrong there: nobody gets to see a secret."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from tests.e2e.drivers.psycopg3 import connect, value
from tests.e2e.vault.plan import GIVING_BACK, Plan
from tests.e2e.where import Where
from tests.support import secrets
from tests.support.certificates import Authority, Pair
from tests.support.daemon import COMMAND, Daemon
from tests.support.openbao import Certificates, OpenBao
from tests.support.openbao_engines import KeyValue, PostgresDatabase
from tests.support.postgres import PostgresServer, new_role
from tests.support.processes import wait_until
from tests.support.secrets import canary
from tests.support.token_review import TokenReviewer

METHODS = ("token", "token_file", "approle", "wrapped", "userpass", "jwt", "kubernetes", "cert")


@dataclass
class Keys:
    """What lies in files for the logins, by whom it is written anew when it is wrong."""

    home: Path
    spoiled: dict[Path, str]

    def file(self, name: str, content: str) -> str:
        """A file with a secret; its path."""
        path = self.home / f"{name}.secret"
        path.write_text(content)
        self.spoiled[path] = content
        return str(path)

    def spoil(self) -> None:
        """Write something else that must not be told into each."""
        for path in self.spoiled:
            path.write_text(canary("wrong"))

    def mend(self) -> None:
        """As it was."""
        for path, content in self.spoiled.items():
            path.write_text(content)


class Everything:
    """A Vault for each way to log in, and a credential of it: users of a database, but for a few other kinds."""

    def __init__(self, bao: OpenBao, reviewer: TokenReviewer, postgres: PostgresServer, plan: Plan, ca: Path) -> None:
        self.bao, self.reviewer, self.postgres, self.plan, self._ca = bao, reviewer, postgres, plan, ca
        self.keys = Keys(plan.home, {})
        self.database: PostgresDatabase = bao.postgres_database(postgres, default_ttl=3600)
        self.store: KeyValue = bao.key_value()
        self.issuer = bao.authority(ttl=3600)
        rules = [one.reading() for one in (self.database, self.store, self.issuer)]
        self.rules = "\n".join([*rules, GIVING_BACK])
        self.policy = bao.policy("everything", self.rules)
        self.token = bao.token(self.policy)
        self.where: dict[str, Where] = {}

    def fill(self, pair: Pair) -> None:
        """All sections of the configuration."""
        for method in METHODS:
            kind = "approle" if method == "wrapped" else method
            tls = {"ca": str(self._ca)} | ({"cert": str(pair.cert), "key": str(pair.key)} if method == "cert" else {})
            options = getattr(self, f"_{method}")()
            self.plan.login(self.bao, kind, options=options, name=method, tls=tls)
            lent = {"mount": self.database.mount, "role": self.database.role}
            self.plan.lent(method, "vault_database", vault=method, settings={"refused_wait": "500ms"}, **lent)
            self.where[method] = self.plan.postgres(method, self.postgres, reveal_errors=True)
        for kind in ("written", "changed"):
            role = new_role(self.postgres)
            if kind == "written":
                self.store.put(kind, {"username": role.name, "password": role.password})
                self.plan.lent(kind, "vault_kv", vault="approle", mount=self.store.mount, path=kind)
            else:
                self.database.set_static_role(kind, role.name)
                mount = self.database.mount
                self.plan.lent(kind, "vault_database", vault="userpass", mount=mount, static_role=kind)
            self.where[kind] = self.plan.postgres(kind, self.postgres)
        self.plan.lent("issued", "vault_pki", vault="jwt", mount=self.issuer.mount, role="app", common_name="localhost")
        self.plan.listeners["changed"]["tls"] = {"credential": "issued", "mode": "allow"}

    def _token(self) -> dict[str, object]:
        return {"env": "OUR_TOKEN"}

    def _token_file(self) -> dict[str, object]:
        return {"path": self.keys.file("token", self.bao.token(self.policy))}

    def _approle(self) -> dict[str, object]:
        role = self.bao.approle(self.policy)
        file = self.keys.file("approle", role.secret_id())
        return {"role_id": role.role_id, "secret_id_file": file, "mount": role.mount}

    def _wrapped(self) -> dict[str, object]:
        role = self.bao.approle(self.policy)
        file = self.keys.file("wrapped", role.secret_id(wrap_ttl=300))
        return {"role_id": role.role_id, "secret_id_file": file, "mount": role.mount, "wrapped": True}

    def _userpass(self) -> dict[str, object]:
        user = self.bao.userpass(self.policy)
        file = self.keys.file("userpass", user.password)
        return {"username": user.name, "password_file": file, "mount": user.mount}

    def _jwt(self) -> dict[str, object]:
        role = self.bao.jwt(self.policy)
        return {"role": role.name, "token_file": self.keys.file("jwt", self._secret(role.mint())), "mount": role.mount}

    def _kubernetes(self) -> dict[str, object]:
        role = self.bao.kubernetes(self.reviewer, self.policy)
        token = self._secret(self.reviewer.service_account("shop", "app"))
        return {"role": role.name, "token_file": self.keys.file("kubernetes", token), "mount": role.mount}

    def _cert(self) -> dict[str, object]:
        role = self.bao.cert(self._ca, self.policy, common_name="ambassador")
        return {"role": role.name, "mount": role.mount}

    @staticmethod
    def _secret(token: str) -> str:
        secrets.MINTED.add(token)
        return token

    def revoke_tokens(self) -> None:
        """All but root's."""
        for accessor in self.bao.listed("auth/token/accessors"):
            with suppress(KeyError):
                found = self.bao.ask("POST", "auth/token/lookup-accessor", {"accessor": accessor}).body["data"]
                if found["path"] != "auth/token/root":
                    self.bao.api("POST", "auth/token/revoke-accessor", {"accessor": accessor})


@pytest.fixture
def everything(authority: Authority, postgres17: PostgresServer, plan: Plan) -> Iterator[Everything]:
    """At a Vault that takes client certificates."""
    pair = authority.server("127.0.0.1")
    certificates = Certificates(pair.cert, pair.key, client_ca=authority.file)
    with OpenBao(certificates=certificates) as bao, TokenReviewer() as reviewer:
        found = Everything(bao, reviewer, postgres17, plan, authority.file)
        found.fill(authority.client("ambassador"))
        yield found


def checked(daemon: Daemon, everything: Everything) -> str:
    """What somebody is told who tries the configuration from a terminal."""
    words = [str(COMMAND), "check", "-c", str(daemon.file), "--connect"]
    env = {"PATH": "/usr/bin:/bin", "OUR_TOKEN": everything.token}
    done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=40, check=False)
    said = done.stdout + done.stderr
    assert done.returncode != 0
    assert not [secret for secret in secrets.MINTED if secret in said]
    return said


def knock(where: Where) -> None:
    """Try to come in."""
    with suppress(psycopg.OperationalError):
        connect(where).close()


@pytest.mark.timeout(60)
def test_nothing_that_is_said_anywhere_holds_a_secret(everything: Everything, figure: Callable[[str], None]) -> None:
    bao, keys = everything.bao, everything.keys
    text = everything.plan.text(log={"level": "debug"})
    with Daemon(text, env={"OUR_TOKEN": everything.token}) as daemon:
        for where in everything.where.values():
            with connect(where) as connection:
                assert value(connection.execute("SELECT 42")) == 42
        daemon.look()

        def failing(what: str, **fields: str) -> None:
            before = daemon.metric("ambassador_vault_requests_total", **fields)
            with ThreadPoolExecutor(len(everything.where)) as threads:
                list(threads.map(knock, everything.where.values()))
            wait_until(what, lambda: daemon.metric("ambassador_vault_requests_total", **fields) > before, 15)
            daemon.look()

        # Logins with something wrong, and all tokens gone.
        keys.spoil()
        everything.revoke_tokens()
        assert "refused the login" in checked(daemon, everything)
        failing("a login to be refused", operation="login", result="rejected")
        keys.mend()
        bao.seal()
        failing("a sealed vault", result="sealed")
        bao.unseal()
        # A reload with something in the wrong place.
        daemon.rewrite(text + f"\ntoken: {canary('misplaced')}\n")
        assert daemon.ask("POST", "/reload").code >= 400
        daemon.rewrite(text)
        told = bao.secrets_told()
        assert len(told) > 2 * len(METHODS)
        # Libraries quote at debug what they send, so nobody hears them, whatever our level is.
        assert {line["logger"].partition(".")[0] for line in daemon.log_lines()} == {"ambassador"}
        assert not daemon.logged("task failed")
    figure(f"{len(told)} secrets of {len(METHODS)} ways to log in, none told")
