"""Judges coverage room by room: every branch of `wire`, at least nine tenths of each other room.

What only a child process runs (the daemon of an end-to-end test) is not counted: the unit tests must stand alone.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path

WHOLE = {"wire": 100.0}
REST = 90.0


def main(report: str) -> int:
    """Print a line for each room; returns the exit code."""
    covered: dict[str, int] = defaultdict(int)
    wanted: dict[str, int] = defaultdict(int)
    for name, entry in json.loads(Path(report).read_text())["files"].items():
        parts = Path(name).parts[1:]
        room = parts[0] if len(parts) > 1 else "(top)"
        found = entry["summary"]
        covered[room] += found["covered_lines"] + found.get("covered_branches", 0)
        wanted[room] += found["num_statements"] + found.get("num_branches", 0)
    poor = 0
    for room in sorted(wanted):
        share = 100.0 * covered[room] / wanted[room] if wanted[room] else 100.0
        enough = share >= WHOLE.get(room, REST)
        poor += not enough
        print(f"{room:12} {share:6.2f} %{'' if enough else f'   less than {WHOLE.get(room, REST):g} %'}")
    if not wanted:
        print("nothing was measured")
    return 1 if poor or not wanted else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
