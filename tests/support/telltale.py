"""A pytest plug-in: a test fails when a secret it made up appears in what it, or anything it ran, printed or logged.

`Daemon` looks in the same list at what a daemon logs, shows and exposes.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

from tests.support import secrets


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Forget the last test's canaries; those of fixtures that live longer stay."""
    secrets.MINTED.clear()
    secrets.MINTED.update(secrets.LASTING)


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[Any]) -> Generator[None, Any, Any]:
    """Keep the canaries of a fixture that outlives the test."""
    before = set(secrets.MINTED)
    value = yield
    if fixturedef.scope != "function":
        secrets.LASTING.update(secrets.MINTED - before)
    return value


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Search what was captured so far."""
    report = yield
    told = {where for where, text in report.sections for canary in secrets.MINTED if canary in text}
    if told and report.passed:
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} told a secret in: {', '.join(sorted(told))}"
    return report
