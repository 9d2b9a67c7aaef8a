"""The plug-in that hears secrets: in a pytest of its own, whatever the way a test lets one out."""

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

HEAD = """
import logging, sys, pytest
from tests.support.secrets import LASTING, MINTED, canary

@pytest.fixture(scope="module")
def lasting():
    return canary("lasting")

"""


def run(directory: Path, test: str) -> subprocess.CompletedProcess[str]:
    """Run one test file in a pytest of its own."""
    (directory / "test_it.py").write_text(HEAD + test)
    plugins = ["-p", "tests.support.telltale", "-p", "no:cacheprovider"]
    words = [sys.executable, "-m", "pytest", *plugins, "-c", "/dev/null", f"--rootdir={directory}", str(directory)]
    return subprocess.run(words, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=25, check=False)


@pytest.mark.parametrize(
    "leak",
    [
        "print(secret)",
        "print(secret, file=sys.stderr)",
        "logging.getLogger('x').warning('it is %s', secret)",
        "import os; os.write(1, secret.encode())",
    ],
    ids=["stdout", "stderr", "logging", "descriptor"],
)
def test_a_secret_that_is_let_out_fails_the_test(tmp_path: Path, leak: str) -> None:
    done = run(tmp_path, f"def test_it():\n    secret = canary()\n    {leak}\n")
    assert done.returncode == 1
    assert "told a secret in: Captured" in done.stdout


def test_a_secret_that_is_kept_fails_nothing(tmp_path: Path) -> None:
    assert run(tmp_path, "def test_it():\n    canary()\n    print('nothing')\n").returncode == 0


def test_a_secret_of_an_earlier_test_is_forgotten(tmp_path: Path) -> None:
    test = (
        "kept = []\ndef test_a():\n    kept.append(canary())\ndef test_b():\n    print(kept)\n    assert not MINTED\n"
    )
    assert run(tmp_path, test).returncode == 0


def test_a_secret_of_a_longer_lived_fixture_is_not(tmp_path: Path) -> None:
    test = "def test_a(lasting):\n    pass\ndef test_b(lasting):\n    print(lasting)\n"
    done = run(tmp_path, test)
    assert done.returncode == 1
    assert "test_b told a secret" in done.stdout
    assert "test_a told" not in done.stdout
