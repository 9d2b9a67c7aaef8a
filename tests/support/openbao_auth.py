"""Who may log in to an OpenBao: each method at a mount of its own, so that tests that share a server do not meet."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import trustme

from tests.support.jwts import Signer
from tests.support.openbao_api import Api, minted, seconds
from tests.support.secrets import canary
from tests.support.token_review import TokenReviewer


@dataclass(frozen=True)
class Role:
    """Where one logs in: at `auth/MOUNT/login` as `name`.

    Args:
        server: the namespace it is in.
    """

    server: Api
    mount: str
    name: str


@dataclass(frozen=True)
class AppRole(Role):
    """An application, known by its role id; what it proves itself with are its secret ids."""

    role_id: str

    def secret_id(self, *, wrap_ttl: int | None = None) -> str:
        """A new one; a canary.

        Args:
            wrap_ttl: seconds; then it is a token that brings the secret id, once, within that time.
        """
        made = self.server.api("POST", f"auth/{self.mount}/role/{self.name}/secret-id", {}, wrap_ttl=wrap_ttl)
        return minted(made["data"]["secret_id"] if wrap_ttl is None else made["wrap_info"]["token"])


@dataclass(frozen=True)
class User(Role):
    """A person with a password; logs in at `auth/MOUNT/login/NAME`."""

    password: str

    def set_password(self) -> str:
        """Give it another; a canary."""
        password = canary("password")
        self.server.api("POST", f"auth/{self.mount}/users/{self.name}/password", {"password": password})
        return password


@dataclass(frozen=True)
class JwtRole(Role):
    """Bearers of tokens that a key of ours signed."""

    signer: Signer
    audience: str

    def mint(self, *, ttl: float = 600.0, subject: str = "app") -> str:
        """A token that lets in."""
        return self.signer.mint({"sub": subject, "aud": self.audience}, ttl=ttl)


class AuthMethods(Api):
    """The set-up of a namespace's auth methods. Times are seconds; zero leaves them to the server (32 days).

    A token's `token_ttl` is what it is given and what each renewal gives; it ends at `token_max_ttl` at the latest.
    """

    def approle(
        self,
        *policies: str,
        token_ttl: int = 3600,
        token_max_ttl: int = 0,
        secret_id_ttl: int = 0,
        secret_id_uses: int = 0,
    ) -> AppRole:
        """An application.

        Args:
            secret_id_uses: logins that each secret id is good for; 0 is any number.
        """
        mount = self._mount("approle")
        life = _life(policies, token_ttl, token_max_ttl)
        limits = {"secret_id_ttl": seconds(secret_id_ttl), "secret_id_num_uses": secret_id_uses}
        self.api("POST", f"auth/{mount}/role/app", life | limits)
        role_id = self.api("GET", f"auth/{mount}/role/app/role-id")["data"]["role_id"]
        return AppRole(self, mount, "app", role_id)

    def userpass(self, *policies: str, token_ttl: int = 3600, token_max_ttl: int = 0) -> User:
        """A user. Its password is a canary."""
        mount, password = self._mount("userpass"), canary("password")
        life = _life(policies, token_ttl, token_max_ttl)
        self.api("POST", f"auth/{mount}/users/app", life | {"password": password})
        return User(self, mount, "app", password)

    def jwt(self, *policies: str, token_ttl: int = 3600, token_max_ttl: int = 0, audience: str = "openbao") -> JwtRole:
        """Bearers of tokens for this audience, whoever is their subject."""
        mount, signer = self._mount("jwt"), Signer()
        self.api("POST", f"auth/{mount}/config", {"jwt_validation_pubkeys": [signer.public_key]})
        asked = {"role_type": "jwt", "user_claim": "sub", "bound_audiences": [audience]}
        self.api("POST", f"auth/{mount}/role/app", asked | _life(policies, token_ttl, token_max_ttl))
        return JwtRole(self, mount, "app", signer, audience)

    def kubernetes(
        self,
        reviewer: TokenReviewer,
        *policies: str,
        namespace: str = "shop",
        account: str = "app",
        token_ttl: int = 3600,
        token_max_ttl: int = 0,
    ) -> Role:
        """A service account of the cluster for which the reviewer answers.

        OpenBao shows the reviewer the token itself, as it does when it stands outside the cluster.
        """
        mount = self._mount("kubernetes")
        # It demands some CA, and has no use for it where no TLS is spoken.
        authority = trustme.CA().cert_pem.bytes().decode()
        place = {"kubernetes_host": reviewer.url, "kubernetes_ca_cert": authority, "disable_local_ca_jwt": True}
        self.api("POST", f"auth/{mount}/config", place)
        bound = {"bound_service_account_names": [account], "bound_service_account_namespaces": [namespace]}
        self.api("POST", f"auth/{mount}/role/app", bound | _life(policies, token_ttl, token_max_ttl))
        return Role(self, mount, "app")

    def cert(
        self, authority: Path, *policies: str, common_name: str, token_ttl: int = 3600, token_max_ttl: int = 0
    ) -> Role:
        """Bearers of client certificates that this CA signed for that name; the server must speak TLS."""
        mount = self._mount("cert")
        asked = {"certificate": authority.read_text(), "allowed_common_names": [common_name]}
        self.api("POST", f"auth/{mount}/certs/app", asked | _life(policies, token_ttl, token_max_ttl))
        return Role(self, mount, "app")

    def _mount(self, method: str) -> str:
        mount = f"{method}-{secrets.token_hex(4)}"
        self.api("POST", f"sys/auth/{mount}", {"type": method})
        return mount


def _life(policies: Sequence[str], ttl: int, max_ttl: int) -> dict[str, object]:
    return {"token_policies": policies, "token_ttl": seconds(ttl), "token_max_ttl": seconds(max_ttl)}
