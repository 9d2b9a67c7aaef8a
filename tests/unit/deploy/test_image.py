"""What the image is made of, as far as reading its recipe tells."""

from __future__ import annotations

import hashlib
import re
import runpy
import tomllib
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).parents[3]
STAGES = re.split(r"^FROM ", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)[1:]
ALLOWED = [line.removeprefix("!") for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]


def test_the_last_stage_has_no_root_no_compiler_and_the_command_as_entry_point() -> None:
    last = STAGES[-1]
    assert "USER 65532:65532" in last
    assert 'ENTRYPOINT ["ambassador"]' in last
    assert not {"apt-get", "pip", "gcc", "RUN"} & set(last.split())


def test_both_stages_stand_on_the_same_base() -> None:
    assert [stage.split()[0] for stage in STAGES] == ["${BASE}", "${BASE}"]


def test_everything_the_recipe_copies_is_let_through_and_nothing_else_is() -> None:
    copied = {
        word
        for line in "".join(STAGES).splitlines()
        if line.startswith("COPY ") and "--from" not in line
        for word in line.split()[1:-1]
    }
    for path in copied:
        assert any(fnmatch(name, path) or name.startswith(f"{path}/") for name in ALLOWED), f"{path} is ignored"
    assert (ROOT / ".dockerignore").read_text().splitlines()[1] == "*"
    for pattern in ALLOWED:
        assert list(ROOT.glob(pattern)), f"{pattern} lets nothing through"


def test_the_pip_that_sets_everything_up_is_the_one_whose_checksum_is_known() -> None:
    bootstrap = runpy.run_path(str(ROOT / ".ci" / "bootstrap.py"))
    wheels = list((ROOT / ".ci").glob("*.whl"))
    assert wheels == [bootstrap["PIP"]]
    assert hashlib.sha256(wheels[0].read_bytes()).hexdigest() == bootstrap["PIP_SHA256"]


def test_every_dependency_has_a_pinned_version() -> None:
    pinned = {
        line.partition("==")[0].lower().replace("_", "-")
        for line in (ROOT / ".ci" / "constraints.txt").read_text().splitlines()
        if "==" in line
    }
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    lists = [project["project"]["dependencies"], *project["project"]["optional-dependencies"].values()]
    lists += project["dependency-groups"].values()
    named = {re.split(r"[^A-Za-z0-9_.-]", entry)[0].lower().replace("_", "-") for entries in lists for entry in entries}
    assert "uvloop" in named
    assert not named - pinned
