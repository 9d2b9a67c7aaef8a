"""What a Vault that is none lends: users of a database that is none, and certificates that are real."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import trustme

from tests.support.fake_vault_answers import No, Request, Said, frame
from tests.support.fake_vault_contents import Contents, Handler


def database(ttl: int, max_ttl: int, *, renewable: bool, user: Callable[[], tuple[str, str]]) -> Handler:
    """A dynamic role, which lends users and their passwords."""

    def lend(contents: Contents, request: Request) -> Said:
        username, password = user()
        lease = contents.lend(request.path, ttl, max_ttl, renewable=renewable, owner=request.token)
        about = {"lease_id": lease, "renewable": renewable, "lease_duration": ttl}
        return 200, frame({"username": username, "password": password}) | about

    return lend


def authority(ca: trustme.CA, ttl: int, max_ttl: int) -> Handler:
    """A role of a certificate authority."""

    def sign(_: Contents, request: Request) -> Said:
        name = request.body.get("common_name", "")
        if not name:
            raise No(400, "the common_name field is required, ...")
        now = datetime.now(UTC).replace(microsecond=0)
        begin, end = now - timedelta(seconds=30), now + timedelta(seconds=min(ttl, max_ttl))
        leaf = ca.issue_cert(*_identities(request), common_name=name, not_before=begin, not_after=end)
        root = ca.cert_pem.bytes().decode().strip()
        made = {
            "ca_chain": [root],
            "certificate": leaf.cert_chain_pems[0].bytes().decode().strip(),
            "expiration": int(end.timestamp()),
            "issuing_ca": root,
            "not_before": int(begin.timestamp()),
            "private_key": leaf.private_key_pem.bytes().decode().strip(),
            "private_key_type": "ec",
            "serial_number": secrets.token_hex(20),
        }
        return 200, frame(made)

    return sign


def _identities(request: Request) -> list[str]:
    """The names and addresses that a certificate is for; a common name only if it could be a host's."""
    said = [request.body.get(name, "") for name in ("common_name", "alt_names", "ip_sans")]
    return [name for name in ",".join(said).split(",") if "." in name or name == "localhost"]
