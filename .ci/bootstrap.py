"""Sets up `.venv` for a purpose: `demo`, `test`, `lint` or `bench`. The Makefile calls it; the second time it is quick.

It needs a Python with its standard library and nothing else: Debian's python3 comes without pip and without ensurepip,
so pip lies beside this file, and its checksum stands below. What pip fetches has the versions of constraints.txt.
Two of these may run at once: one waits for the other. `lock` renews constraints.txt from what `.venv` now holds.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tomllib
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
VENV = ROOT / ".venv"
PYTHON = str(VENV / "bin" / "python")
CONSTRAINTS = HERE / "constraints.txt"
NODE = ROOT / "tests" / "e2e" / "node"

PIP = HERE / "pip-26.3-py3-none-any.whl"
PIP_SHA256 = "f3b60b20ffaadd4415ed7957212a38ac63fa4c5fa375bd0f4a797777940fad13"

# Dependency groups of pyproject.toml for each purpose, besides the package itself with its `demo` extra.
GROUPS = {
    "demo": ("build",),
    "test": ("build", "test"),
    "lint": ("build", "test", "lint"),
    "bench": ("build", "test", "bench"),
}

PROJECT = ROOT / "pyproject.toml"


def main(purpose: str) -> None:
    """Make `.venv` fit for `purpose`."""
    with alone():
        if purpose == "lock":
            lock()
            return
        stamp = VENV / f".ready-{purpose}"
        wanted = fingerprint(purpose)
        if not (works() and stamp.exists() and stamp.read_text() == wanted):
            make_environment()
            install(purpose)
            stamp.write_text(wanted)
        if purpose == "test":
            install_node_clients()


@contextmanager
def alone() -> Iterator[None]:
    """Hold the one lock of this checkout: the lock is on its directory, so that no file is left."""
    descriptor = os.open(ROOT, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def fingerprint(purpose: str) -> str:
    """Changes when what is installed would have to."""
    digest = hashlib.sha256(repr((purpose, sys.version_info[:2], str(ROOT), GROUPS[purpose])).encode())
    for path in (PROJECT, CONSTRAINTS, *compiled()):
        digest.update(path.read_bytes() if path.exists() else b"absent")
    return digest.hexdigest()


def compiled() -> list[Path]:
    """The sources of the compiled modules: the package is built again when one of them changes."""
    modules = tomllib.loads(PROJECT.read_text())["tool"]["setuptools"]["ext-modules"]
    return [ROOT / name for module in modules for name in (*module["sources"], *module["depends"])]


def works() -> bool:
    """Whether the environment is whole: its Python is there (an upgrade of the system may take it), and has pip.

    One that was moved is not: its programs begin with the path of the Python they had.
    """
    notes = VENV / "pyvenv.cfg"
    if not notes.exists() or not Path(PYTHON).exists():
        return False
    moved = not any(line.startswith("command") and line.endswith(f" {VENV}") for line in notes.read_text().splitlines())
    return not moved and any((VENV / "lib").glob("python*/site-packages/pip/__init__.py"))


def make_environment() -> None:
    """An environment with pip in it."""
    if works():
        return
    say(f"making {VENV} with Python {sys.version.split()[0]}")
    venv.EnvBuilder(with_pip=False, clear=True, symlinks=True).create(VENV)
    if hashlib.sha256(PIP.read_bytes()).hexdigest() != PIP_SHA256:
        raise SystemExit(f"{PIP} is not the file it should be: its checksum differs")
    run(PYTHON, f"{PIP}/pip", "install", "--quiet", "--no-index", str(PIP))


def install(purpose: str) -> None:
    """The packages for `purpose`, then this one, editable, built with what is already there."""
    pip = [PYTHON, "-m", "pip", "install", "-qq", "--disable-pip-version-check", "--constraint", str(CONSTRAINTS)]
    groups = [word for group in GROUPS[purpose] for word in ("--group", f"{PROJECT}:{group}")]
    say(f"installing what `make {purpose}` needs; a minute or two the first time")
    run(*pip, *groups)
    # Without isolation the build needs no network once the packages are there; without a compiler it still succeeds.
    run(*pip, "--no-build-isolation", "--editable", f"{ROOT}[demo]")


def install_node_clients() -> None:
    """The clients that come from npm, where there is npm; their tests are skipped otherwise."""
    lockfile, stamp = NODE / "package-lock.json", NODE / "node_modules" / ".ready"
    npm = shutil.which("npm")
    if npm is None or not lockfile.exists():
        return
    wanted = hashlib.sha256(lockfile.read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return
    say("installing Node.js clients")
    # Without a network it shall give up soon: only some tests depend on it.
    quiet = [
        "--ignore-scripts",
        "--no-audit",
        "--no-fund",
        "--loglevel=error",
        "--fetch-retries=1",
        "--fetch-timeout=20000",
    ]
    done = subprocess.run([npm, "ci", "--prefix", str(NODE), *quiet], stdin=subprocess.DEVNULL)
    if done.returncode:
        say("npm failed: the tests with Node.js clients will be skipped")
    else:
        stamp.write_text(wanted)


def lock() -> None:
    """Write down the versions of everything in `.venv` but this package."""
    freeze = [PYTHON, "-m", "pip", "freeze", "--all", "--exclude-editable", "--exclude", "pip"]
    frozen = subprocess.run(freeze, capture_output=True, text=True, check=True).stdout
    head = "# The versions that `make` installs and the image holds; renewed with `python3 .ci/bootstrap.py lock`.\n"
    CONSTRAINTS.write_text(head + frozen)


def run(*words: str) -> None:
    """Run a command; its failure ends this program, after what it had to say itself."""
    # As root pip would warn of what this environment prevents.
    environment = os.environ | {"PIP_ROOT_USER_ACTION": "ignore"}
    done = subprocess.run(words, env=environment, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise SystemExit(f"failed: {' '.join(words)}")


def say(text: str) -> None:
    """Tell a person what takes time; stdout belongs to what comes after."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in (*GROUPS, "lock"):
        raise SystemExit(f"usage: bootstrap.py {' | '.join(GROUPS)} | lock")
    main(sys.argv[1])
