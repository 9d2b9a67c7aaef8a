"""The plug-in that refuses to call a run without tests a success."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
# What the run around these is told on the side (coverage, say) is not for them, and other plug-ins take seconds each.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"}
ENVIRONMENT["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"


def run(directory: Path, test: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run one test file in a pytest of its own."""
    (directory / "test_it.py").write_text(test)
    plugins = ["-p", "tests.support.nonempty", "-p", "no:cacheprovider"]
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            *plugins,
            "-c",
            "/dev/null",
            f"--rootdir={directory}",
            *options,
            str(directory),
        ],
        cwd=ROOT,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=25,
        check=False,
    )


ONE_AFTER_ANOTHER: tuple[str, ...] = ()
SHARED_OUT = ("-p", "xdist.plugin", "-n", "1")
WAYS = pytest.mark.parametrize("way", [ONE_AFTER_ANOTHER, SHARED_OUT], ids=["one after another", "shared out"])


@WAYS
def test_one_passing_test_is_a_success(tmp_path: Path, way: tuple[str, ...]) -> None:
    assert run(tmp_path, "def test_it(): pass", *way).returncode == 0


@WAYS
@pytest.mark.parametrize(
    "test",
    [
        "",
        "import pytest\n@pytest.mark.skip\ndef test_it(): pass",
        "import pytest\ndef test_it(): pytest.skip('no reason')",
    ],
    ids=["none", "marked", "skipped within"],
)
def test_a_run_in_which_nothing_ran_fails_and_says_so(tmp_path: Path, test: str, way: tuple[str, ...]) -> None:
    done = run(tmp_path, test, *way)
    assert done.returncode != 0
    assert "no test ran" in done.stdout


@WAYS
def test_a_failing_test_fails_for_its_own_reason(tmp_path: Path, way: tuple[str, ...]) -> None:
    done = run(tmp_path, "def test_it(): assert False", *way)
    assert done.returncode == 1
    assert "no test ran" not in done.stdout


def test_looking_at_the_list_of_tests_is_allowed(tmp_path: Path) -> None:
    assert run(tmp_path, "def test_it(): pass", "--collect-only").returncode == 0
