"""The stage of every scenario. On leaving a `House` its log, metrics and status are searched for the test's secrets."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from tests.scenario.plan import Plan
from tests.support.certificates import Authority


@pytest.fixture
def plan(tmp_path: Path, authority: Authority) -> Plan:
    """A configuration in the making."""
    return Plan(tmp_path, authority)


@pytest.fixture
def trusting(authority: Authority) -> ssl.SSLContext:
    """What a client needs for TLS: the CA of this run, and PostgreSQL's ALPN."""
    context = ssl.create_default_context(cafile=str(authority.file))
    context.set_alpn_protocols(["postgresql"])
    return context
