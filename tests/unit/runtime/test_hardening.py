"""What `harden` does is done to a whole process and cannot be undone, so it is done to one of our own."""

from __future__ import annotations

import json
import subprocess
import sys

_PROBE = """
import ctypes, json, resource
from ambassador.runtime.hardening import harden
refused = harden()
dumpable = ctypes.CDLL(None).prctl(3, 0, 0, 0, 0)
status = dict(line.split(":\\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\\t" in line)
print(json.dumps([refused, dumpable, resource.getrlimit(resource.RLIMIT_CORE), status["NoNewPrivs"]]))
"""


def test_core_dumps_ptrace_and_new_privileges_are_off() -> None:
    done = subprocess.run([sys.executable, "-c", _PROBE], capture_output=True, text=True, timeout=20, check=True)
    refused, dumpable, core, no_new_privileges = json.loads(done.stdout)
    assert refused == []
    assert dumpable == 0
    assert core == [0, 0]
    assert no_new_privileges == "1"


_REFUSING = """
import ctypes, json
from ambassador.runtime import hardening
class Libc:
    @staticmethod
    def prctl(*words): return -1
hardening.ctypes.CDLL = lambda *_, **__: Libc
print(json.dumps(hardening.harden()))
"""


def test_what_the_system_refuses_is_named() -> None:
    done = subprocess.run([sys.executable, "-c", _REFUSING], capture_output=True, text=True, timeout=20, check=True)
    assert json.loads(done.stdout) == ["PR_SET_DUMPABLE", "PR_SET_NO_NEW_PRIVS"]
