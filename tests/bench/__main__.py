"""python -m tests.bench [postgres | redis | all] [--seconds N] [--rounds N] ...: measures, and prints tables."""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
from pathlib import Path

from ambassador.wire.scan import SCAN
from tests.bench import postgres, redis

OPEN_FILES = 65536


def main() -> int:
    """Run what was asked for; exit code 0."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench")
    parser.add_argument("what", nargs="?", choices=("postgres", "redis", "all"), default="all")
    parser.add_argument("--seconds", type=int, help="of each run; 5 for PostgreSQL, 2 for Redis")
    parser.add_argument("--rounds", type=int, default=3, help="of each row; the median counts")
    parser.add_argument("--short", action="store_true", help="Redis: only the rows that have a target")
    parser.add_argument("--server", choices=("redis7", "valkey9"), default="redis7", help="Redis: valkey9 has no TLS")
    words = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(OPEN_FILES, resource.getrlimit(resource.RLIMIT_NOFILE)[1]),) * 2)
    print(f"scan: {SCAN}")
    with tempfile.TemporaryDirectory(prefix="bench-", dir="/tmp") as name:
        directory = Path(name)
        directory.chmod(0o755)
        if words.what != "redis":
            postgres.measure(directory, seconds=words.seconds or 5, rounds=words.rounds)
        if words.what != "postgres":
            rows = redis.SHORT if words.short else redis.ROWS
            redis.measure(directory, words.server, rows, seconds=words.seconds or 2, rounds=words.rounds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
