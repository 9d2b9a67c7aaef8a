"""A program that starts another one and tries to look into it, as any process of the same user may try.

    python intruder.py SOCKET PROGRAM ARGUMENT...

Waits until the program listens at the unix socket. Prints as JSON what came of each way to look into it, and of the
same ways with a program that does nothing to hide itself.
"""

from __future__ import annotations

import ctypes
import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

PTRACE_ATTACH, PTRACE_DETACH = 16, 17


def memory(pid: int) -> None:
    """Read a piece of its stack."""
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    start = int(next(line for line in lines if "[stack]" in line).partition("-")[0], 16)
    with Path(f"/proc/{pid}/mem").open("rb") as file:
        file.seek(start)
        if len(file.read(16)) != 16:
            raise OSError("nothing to read")


def attach(pid: int) -> None:
    """Become its debugger."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    libc.ptrace.restype = ctypes.c_long
    if libc.ptrace(PTRACE_ATTACH, pid, None, None) != 0:
        raise OSError(ctypes.get_errno(), "ptrace")
    while "(tracing stop)" not in Path(f"/proc/{pid}/status").read_text():
        time.sleep(0.01)
    libc.ptrace(PTRACE_DETACH, pid, None, None)


WAYS: dict[str, Callable[[int], object]] = {
    "mem": memory,
    "environ": lambda pid: Path(f"/proc/{pid}/environ").read_bytes(),
    "fd": lambda pid: Path(f"/proc/{pid}/fd/0").readlink(),
    "ptrace": attach,
}


def look_into(pid: int) -> dict[str, str]:
    """What comes of each way."""
    found = {}
    for name, way in WAYS.items():
        try:
            way(pid)
        except OSError as error:
            found[name] = "denied" if isinstance(error, PermissionError) else str(error)
        else:
            found[name] = "read"
    return found


def wait_for(path: str, program: subprocess.Popen[bytes]) -> None:
    """Wait until somebody listens there."""
    while program.poll() is None:
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(path)
            except OSError:
                time.sleep(0.05)
            else:
                return
    raise SystemExit(f"it ended with {program.returncode}")


def main(path: str, *words: str) -> None:
    """Do it."""
    with (
        subprocess.Popen(["sleep", "60"]) as victim,
        subprocess.Popen(words, stdout=subprocess.DEVNULL) as program,
    ):
        try:
            wait_for(path, program)
            found: dict[str, object] = {"victim": look_into(victim.pid), "daemon": look_into(program.pid)}
        finally:
            victim.kill()
            program.terminate()
        found["code"] = program.wait(10)
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
