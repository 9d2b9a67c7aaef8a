"""The token of our service account, which Kubernetes projects into the pod and replaces within the hour."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar

from hvac.api.auth_methods import Kubernetes
from pydantic import Field

from ambassador.config.marks import Shown
from ambassador.config.model import Model
from ambassador.config.vault import VaultPath
from ambassador.credentials.vault.http import Http
from ambassador.credentials.vault.logins.base import VaultLogin, secret_in, shown


class KubernetesOptions(Model):
    """`kubernetes:` of a Vault."""

    role: Annotated[str, Field(min_length=1), Shown()]
    """The role of Vault's auth method."""

    mount: VaultPath = "kubernetes"
    """Where the auth method is mounted."""

    token_file: Path = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
    """The projected token, read anew at every login. Best is one of its own with Vault's audience."""


class KubernetesLogin(VaultLogin):
    """Shows the service account's token."""

    Options: ClassVar[type[Model]] = KubernetesOptions
    options: KubernetesOptions

    def log_in(self, http: Http) -> Any:
        jwt = shown(secret_in(self.options.token_file))
        login = Kubernetes(http.adapter(None)).login
        return login(role=self.options.role, jwt=jwt, use_token=False, mount_point=self.options.mount)

    def describe(self) -> str:
        return f"kubernetes role {self.options.role}"
