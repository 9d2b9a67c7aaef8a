"""What an OpenBao lends: each secrets engine at a mount of its own, so that tests that share a server do not meet."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ambassador.demo.sql import literal
from tests.support.openbao_api import Api, Refused, minted, seconds
from tests.support.postgres import PostgresServer, new_role
from tests.support.processes import wait_until
from tests.support.valkey import EVERYTHING, ValkeyServer, new_account

POSTGRES_ROLE = """CREATE ROLE "{{name}}" LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'"""

WEEK = 7 * 24 * 3600


@dataclass(frozen=True)
class Engine:
    """A mount. Requests go to paths below `mount`.

    Args:
        server: the namespace it is in.
    """

    server: Api
    mount: str

    def reading(self, *paths: str) -> str:
        """The rules of a policy that may read below these paths of the mount; below all of it if there are none."""
        rules = (f'path "{self.mount}/{path}" {{ capabilities = ["create", "update", "read"] }}' for path in paths)
        return "\n".join(rules) if paths else self.reading("*")


@dataclass(frozen=True)
class KeyValue(Engine):
    """Secrets that somebody wrote down.

    Args:
        version: 2 remembers what was there before.
    """

    version: Literal[1, 2]

    def path(self, name: str) -> str:
        """Where a secret is read: `MOUNT/NAME` or `MOUNT/data/NAME`."""
        return f"{self.mount}/{name}" if self.version == 1 else f"{self.mount}/data/{name}"

    def put(self, name: str, fields: Mapping[str, Any]) -> int:
        """Write all fields of a secret; returns its version, 0 where there are none."""
        if self.version == 1:
            self.server.api("PUT", self.path(name), dict(fields))
            return 0
        made = self.server.api("POST", self.path(name), {"data": dict(fields)})
        return int(made["data"]["version"])

    def read(self, name: str, version: int = 0) -> dict[str, Any]:
        """A secret's fields.

        Args:
            version: 0 is the newest.

        Raises:
            Refused: 404; there is none, or this version was deleted.
        """
        which = f"?version={version}" if version else ""
        data: dict[str, Any] = self.server.api("GET", self.path(name) + which)["data"]
        return data if self.version == 1 else data["data"]

    def delete(self, name: str, *versions: int) -> None:
        """Hide versions of a secret, which then can come back: the newest if none is named. Of version 1: all of it."""
        if versions:
            self.server.api("POST", f"{self.mount}/delete/{name}", {"versions": versions})
        else:
            self.server.api("DELETE", self.path(name))

    def undelete(self, name: str, *versions: int) -> None:
        """Show hidden versions again."""
        self.server.api("POST", f"{self.mount}/undelete/{name}", {"versions": versions})

    def destroy(self, name: str, *versions: int) -> None:
        """Take the content out of versions for good; the secret itself if none is named."""
        if versions:
            self.server.api("PUT", f"{self.mount}/destroy/{name}", {"versions": versions})
        else:
            self.server.api("DELETE", f"{self.mount}/metadata/{name}")


@dataclass(frozen=True)
class Database(Engine):
    """A database whose users OpenBao makes (`MOUNT/creds/ROLE`), or whose passwords it changes
    (`MOUNT/static-creds/ROLE`).

    Args:
        role: the dynamic role that it has from the start.
    """

    role: str

    def set_role(self, name: str, statements: Sequence[str], *, default_ttl: int, max_ttl: int) -> None:
        """Make a dynamic role, or make one over for the leases to come; times are seconds."""
        asked = {"db_name": "database", "creation_statements": statements}
        life = {"default_ttl": seconds(default_ttl), "max_ttl": seconds(max_ttl)}
        self.server.api("POST", f"{self.mount}/roles/{name}", asked | life)

    def set_static_role(self, name: str, username: str, *, rotation_period: int = WEEK) -> None:
        """Have OpenBao change the password of a user that exists, at once and then every so many seconds (5 or more).

        Args:
            name: not that of a dynamic role. The same again with another period changes that.
        """
        asked = {"db_name": "database", "username": username, "rotation_period": seconds(rotation_period)}
        self.server.api("POST", f"{self.mount}/static-roles/{name}", asked)

    def rotate(self, name: str) -> None:
        """Change a static role's password now; the user has it when this returns."""
        self.server.api("POST", f"{self.mount}/rotate-role/{name}", {})

    def credentials(self, role: str | None = None, *, token: str | None = None) -> dict[str, Any]:
        """The whole answer for a dynamic role: `lease_id`, `lease_duration`, `data`; the password is a canary."""
        made: dict[str, Any] = self.server.api("GET", f"{self.mount}/creds/{role or self.role}", token=token)
        minted(made["data"]["password"])
        return made

    def static_credentials(self, role: str) -> dict[str, Any]:
        """What is known of a static role: `username`, `password` (a canary), `ttl`, `last_vault_rotation`, ..."""
        known: dict[str, Any] = self.server.api("GET", f"{self.mount}/static-creds/{role}")["data"]
        minted(known["password"])
        return known

    def leases(self, role: str | None = None) -> list[str]:
        """The ids of a dynamic role's leases."""
        return self.server.leases(f"{self.mount}/creds/{role or self.role}")


@dataclass(frozen=True)
class PostgresDatabase(Database):
    """A PostgreSQL server behind OpenBao's database engine.

    Args:
        prefix: what the names of all roles that it made begin with.
    """

    postgres: PostgresServer
    prefix: str

    def live_roles(self) -> list[str]:
        """Roles that OpenBao made and has not dropped."""
        made = f"SELECT rolname FROM pg_roles WHERE starts_with(rolname, {literal(self.prefix)}) ORDER BY 1"
        return self.postgres.psql(made).splitlines()


@dataclass(frozen=True)
class ValkeyDatabase(Database):
    """A Valkey server behind OpenBao's database engine."""

    valkey: ValkeyServer

    def live_users(self) -> list[str]:
        """Users that OpenBao made for its role and has not deleted."""
        users = self.valkey.ask("ACL", "USERS")
        assert isinstance(users, list)
        # V_, who asked, the role, something random, the time: all in capitals.
        return [name for name in map(str, users) if f"_{self.role.upper()}_" in name]


@dataclass(frozen=True)
class Authority(Engine):
    """A certificate authority: `MOUNT/issue/app` signs for any name.

    Args:
        ca: its own certificate, PEM.
    """

    ca: str

    def issue(self, common_name: str, **more: Any) -> dict[str, Any]:
        """`certificate`, `private_key` (a canary), `ca_chain`, `issuing_ca`, `expiration`, `serial_number`."""
        asked = {"common_name": common_name} | more
        made: dict[str, Any] = self.server.api("POST", f"{self.mount}/issue/app", asked)["data"]
        minted(made["private_key"])
        return made


class SecretEngines(Api):
    """The set-up of a namespace's secrets engines. Times are seconds."""

    def key_value(self, version: Literal[1, 2] = 2) -> KeyValue:
        """An empty place for secrets."""
        engine = KeyValue(self, self._mount_engine("kv", {"version": str(version)}), version)
        if version == 2:
            wait_until("the engine to be ready for versions", lambda: self._answers(f"{engine.mount}/config"))
        return engine

    def postgres_database(
        self,
        server: PostgresServer,
        *,
        default_ttl: int = 3600,
        max_ttl: int = 86400,
        statements: Sequence[str] = (POSTGRES_ROLE,),
    ) -> PostgresDatabase:
        """A PostgreSQL whose roles OpenBao makes, as a superuser of its own.

        Args:
            default_ttl, max_ttl: of leases of its role `app`.
            statements: SQL that makes a role, with `{{name}}`, `{{password}}` and `{{expiration}}`.
        """
        prefix = f"lent_{secrets.token_hex(4)}_"
        engine = PostgresDatabase(self, self._mount_engine("database"), "app", server, prefix)
        admin = new_role(server, more="SUPERUSER")
        place = f"{{{{username}}}}:{{{{password}}}}@{server.host}:{server.port}/postgres?sslmode=disable"
        how = {"plugin_name": "postgresql-database-plugin", "connection_url": f"postgresql://{place}"}
        template = {"username_template": f"{prefix}{{{{random 12}}}}"}
        self._connect(engine, how | template | {"username": admin.name, "password": admin.password})
        engine.set_role(engine.role, statements, default_ttl=default_ttl, max_ttl=max_ttl)
        return engine

    def valkey_database(
        self, server: ValkeyServer, *, default_ttl: int = 3600, max_ttl: int = 86400, rules: str = EVERYTHING
    ) -> ValkeyDatabase:
        """A Valkey without TLS whose users OpenBao makes, as a user of its own.

        It takes no template for their names, so that its role has a name by which to know them; not more than eight
        letters of it get there.

        Args:
            default_ttl, max_ttl: of leases of its role.
            rules: words of `ACL SETUSER`, parted by spaces.
        """
        engine = ValkeyDatabase(self, self._mount_engine("database"), secrets.token_hex(4), server)
        admin = new_account(server)
        how = {"plugin_name": "valkey-database-plugin", "host": server.host, "port": server.port, "tls": False}
        self._connect(engine, how | {"username": admin.name, "password": admin.password})
        # It takes one statement, whose text is a list.
        words = ", ".join(f'"{word}"' for word in rules.split())
        engine.set_role(engine.role, [f"[{words}]"], default_ttl=default_ttl, max_ttl=max_ttl)
        return engine

    def authority(self, *, ttl: int = 3600, max_ttl: int = 86400, lease: bool = False, **more: Any) -> Authority:
        """A certificate authority of its own.

        Args:
            ttl, max_ttl: of what it signs. It begins 30 s before it is signed.
            lease: whether each certificate comes with a lease; it cannot be renewed.
            more: of the role `app`: `require_cn`, `not_before_duration`, `key_type`, ...
        """
        mount = self._mount_engine("pki")
        self.api("POST", f"sys/mounts/{mount}/tune", {"max_lease_ttl": seconds(10 * WEEK)})
        asked = {"common_name": f"authority {mount}", "ttl": seconds(9 * WEEK), "key_type": "ec"}
        made = self.api("POST", f"{mount}/root/generate/internal", asked)
        life = {"ttl": seconds(ttl), "max_ttl": seconds(max_ttl), "generate_lease": lease}
        self.api("POST", f"{mount}/roles/app", {"allow_any_name": True, "key_type": "ec"} | life | more)
        return Authority(self, mount, made["data"]["certificate"])

    def _connect(self, engine: Database, how: Mapping[str, object]) -> None:
        self.api("POST", f"{engine.mount}/config/database", {"allowed_roles": ["*"]} | dict(how))

    def _mount_engine(self, kind: str, options: Mapping[str, str] | None = None) -> str:
        mount = f"{kind}-{secrets.token_hex(4)}"
        self.api("POST", f"sys/mounts/{mount}", {"type": kind, "options": options})
        return mount

    def _answers(self, path: str) -> bool:
        try:
            self.api("GET", path)
        except Refused as error:
            if error.status == 400:  # "Upgrading from non-versioned to versioned data"
                return False
            raise
        return True
