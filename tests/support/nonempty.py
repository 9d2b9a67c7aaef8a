"""A pytest plug-in: a run in which no test ran is a failure, whatever the reason (none found, all skipped)."""

from __future__ import annotations

from collections.abc import Generator

import pytest

RAN = pytest.StashKey[int]()


def pytest_configure(config: pytest.Config) -> None:
    """Begin at nothing."""
    config.stash[RAN] = 0


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Count what ran."""
    report = yield
    if report.when == "call" and not report.skipped:
        item.config.stash[RAN] += 1
    return report


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Turn success into failure."""
    if session.config.stash[RAN] == 0 and exitstatus == pytest.ExitCode.OK and not session.config.option.collectonly:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say so."""
    if config.stash[RAN] == 0 and not config.option.collectonly:
        terminalreporter.write_line("no test ran: that is a failure", red=True, bold=True)
