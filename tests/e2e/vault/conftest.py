"""A configuration of each test's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.vault.plan import Plan


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """An empty one."""
    return Plan(tmp_path)
