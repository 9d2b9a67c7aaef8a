"""What is asked of a Vault, in one word."""

from __future__ import annotations

from enum import StrEnum, unique


@unique
class Operation(StrEnum):
    """What is asked of a Vault; the label `operation` of the metrics. A closed list."""

    LOGIN = "login"
    RENEW_TOKEN = "renew_token"  # noqa: S105 - a word, no password
    REVOKE_TOKEN = "revoke_token"  # noqa: S105 - a word, no password
    READ_SECRET = "read_secret"  # noqa: S105 - a word, no password
    READ_DATABASE = "read_database"
    ISSUE_CERTIFICATE = "issue_certificate"
    RENEW_LEASE = "renew_lease"
    REVOKE_LEASE = "revoke_lease"
