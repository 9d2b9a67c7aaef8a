"""A pytest plug-in: what tests have measured is shown at the end of the run, also where xdist ran them elsewhere."""

from __future__ import annotations

from collections.abc import Callable

import pytest

Figure = Callable[[str], None]

FIGURE = "figure"
FIGURES = pytest.StashKey[list[str]]()


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Figure:
    """Takes a line for the end of the run: what was measured."""

    def note(text: str) -> None:
        # These travel with the report from process to process.
        request.node.user_properties.append((FIGURE, text))

    return note


class Notebook:
    """Takes down what reports bring."""

    def __init__(self, config: pytest.Config) -> None:
        self._lines = config.stash[FIGURES] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """One test's."""
        if report.when == "call":
            name = report.nodeid.rpartition("::")[2]
            self._lines += [f"{name}: {text}" for kind, text in report.user_properties if kind == FIGURE]


def pytest_configure(config: pytest.Config) -> None:
    """Begin with an empty page."""
    config.pluginmanager.register(Notebook(config))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Show what was measured."""
    if lines := config.stash[FIGURES]:
        terminalreporter.section("measured end to end")
        for line in lines:
            terminalreporter.write_line(line)
