"""From a file to an exit code; whole runs of the installed command are in tests/e2e."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ambassador.config.load import ConfigFaults
from ambassador.runtime.main import check_file, run_data, run_file
from tests.support.processes import Child, wait_until

WHOLE = """
admin: {{listen: "unix:{0}/admin"}}
drain: {{delay: 0s}}
upstreams: {{u: {{endpoints: ["127.0.0.1:1"]}}}}
listeners: {{l: {{listen: "unix:{0}/l", tcp: {{upstream: u}}}}}}
"""

RUN = """
import json, sys
from pathlib import Path
from ambassador.runtime import main
sys.exit(main.run_file(Path(sys.argv[1])) if len(sys.argv) == 2 else main.run_data(json.loads(sys.argv[2])))
"""


def written(directory: Path, text: str = WHOLE) -> Path:
    file = directory / "ambassador.yaml"
    file.write_text(text.format(directory))
    return file


def test_a_file_with_faults_is_not_run(tmp_path: Path) -> None:
    with pytest.raises(ConfigFaults, match="nonsense"):
        run_file(written(tmp_path, "nonsense: 1\n"))


def test_data_with_faults_is_not_run() -> None:
    with pytest.raises(ConfigFaults, match="nonsense"):
        run_data({"nonsense": 1})


def test_a_daemon_told_to_leave_ends_with_zero(tmp_path: Path) -> None:
    file = written(tmp_path)
    with Child([sys.executable, "-c", RUN, str(file)], directory=tmp_path, env=dict(os.environ)) as child:
        wait_until("the listener", (tmp_path / "l").exists)
        wait_until("readiness", lambda: '"phase":"ready"' in child.out)
        child.signal(signal.SIGTERM)
        assert child.wait(10) == 0
        assert '"phase":"stopped"' in child.out


def test_a_daemon_that_cannot_start_fails_and_says_why(tmp_path: Path) -> None:
    file = written(tmp_path, WHOLE.replace("{0}/l", "{0}/missing/l"))
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(file)], capture_output=True, text=True, timeout=20, check=False
    )
    assert done.returncode == 1
    assert "cannot start" in done.stdout
    assert "missing/l" in done.stdout


def test_a_file_without_faults_is_said_to_have_none(tmp_path: Path) -> None:
    file = written(tmp_path)
    assert [str(finding) for finding in check_file(file, connect=False)] == [f"ok   {file}: no faults"]


def test_checking_with_connect_tries_what_is_named(tmp_path: Path) -> None:
    findings = check_file(written(tmp_path), connect=True)
    assert [finding.good for finding in findings] == [True, False]


def test_checking_a_file_with_faults_raises_them(tmp_path: Path) -> None:
    with pytest.raises(ConfigFaults):
        check_file(written(tmp_path, "nonsense: 1\n"), connect=True)
