"""The plug-in that shows what was measured."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"}
ENVIRONMENT["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"


@pytest.mark.parametrize("way", [(), ("-p", "xdist.plugin", "-n", "1")], ids=["one after another", "shared out"])
def test_what_was_measured_is_shown_at_the_end(tmp_path: Path, way: tuple[str, ...]) -> None:
    (tmp_path / "test_it.py").write_text(
        "import pytest\n"
        "@pytest.mark.parametrize('n', [1, 2])\n"
        "def test_it(figure, n): figure(f'{n} apples')\n"
        "def test_nothing(): pass\n"
    )
    plugins = ["-p", "tests.support.figures", "-p", "no:cacheprovider"]
    words = [sys.executable, "-m", "pytest", *plugins, "-c", "/dev/null", f"--rootdir={tmp_path}", *way, str(tmp_path)]
    done = subprocess.run(words, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=25, check=False)
    assert done.returncode == 0, done.stdout
    page = done.stdout.partition("measured end to end")[2]
    assert ("test_it[1]: 1 apples" in page, "test_it[2]: 2 apples" in page, "test_nothing" in page) == (
        True,
        True,
        False,
    )
