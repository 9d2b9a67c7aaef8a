"""`python -m ambassador` is the command."""

from __future__ import annotations

import subprocess
import sys

from ambassador import __version__


def test_the_module_runs_as_the_command_does() -> None:
    words = [sys.executable, "-m", "ambassador", "--version"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=20, check=True)
    assert done.stdout == f"ambassador {__version__}\n"
