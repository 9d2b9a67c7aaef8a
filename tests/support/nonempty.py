"""A pytest plug-in: a run in which no test ran is a failure, whatever the reason (none found, all skipped)."""

from __future__ import annotations

import pytest

RAN = pytest.StashKey[int]()


class Counter:
    """Counts what ran; reports reach this process also from where xdist runs the tests."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        config.stash[RAN] = 0

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count one."""
        if report.when == "call" and not report.skipped:
            self._config.stash[RAN] += 1


def pytest_configure(config: pytest.Config) -> None:
    """Begin at nothing."""
    config.pluginmanager.register(Counter(config))


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Turn success into failure."""
    if session.config.stash[RAN] == 0 and exitstatus == pytest.ExitCode.OK and not session.config.option.collectonly:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say so."""
    if config.stash[RAN] == 0 and not config.option.collectonly:
        terminalreporter.write_line("no test ran: that is a failure", red=True, bold=True)
