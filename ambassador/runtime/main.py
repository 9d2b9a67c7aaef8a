"""From a file to an exit code: what the commands `run`, `proxy` and `check` do."""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any, TypeVar

import uvloop

from ambassador import __version__
from ambassador.config.load import Loaded, load, load_data
from ambassador.errors import ConfigError
from ambassador.kit.clock import SYSTEM
from ambassador.runtime.check import Finding, connect_all
from ambassador.runtime.daemon import ENDING, Daemon
from ambassador.runtime.hardening import harden
from ambassador.telemetry import logs

T = TypeVar("T")

DONE = 0
FAILED = 1


def run_file(file: Path) -> int:
    """Run the daemon by a file's configuration; returns the exit code.

    Raises:
        ConfigFaults: the file has faults.
    """
    return _run(load(file), file)


def run_data(data: Mapping[str, Any]) -> int:
    """Run the daemon by a configuration that is not in a file; returns the exit code.

    Raises:
        ConfigFaults: the configuration has faults.
    """
    return _run(load_data(data), None)


def check_file(file: Path, *, connect: bool) -> list[Finding]:
    """What there is to say of a file without faults, and with `connect` of what it names.

    Raises:
        ConfigFaults: the file has faults.
    """
    loaded = load(file)
    sound = Finding(str(file), True, "no faults")
    return [sound, *_loop_run(connect_all(loaded.config, SYSTEM))] if connect else [sound]


def _run(loaded: Loaded, file: Path | None) -> int:
    refused = harden()
    output = logs.setup(loaded.config.log.level, loaded.config.log.format)
    log = logs.logger(__name__)
    for measure in refused:
        log.warning("not hardened", error=f"the system refused {measure}")
    try:
        return _loop_run(_serve(loaded, file, log))
    finally:
        output.close()


async def _serve(loaded: Loaded, file: Path | None, log: logs.Log) -> int:
    daemon = Daemon(loaded, file, SYSTEM)
    log.info("starting", release=__version__, file=loaded.file)
    try:
        await daemon.start()
    except ConfigError as error:
        log.error("cannot start", error=str(error))  # noqa: TRY400 - the operator's words are at fault; a trace tells nothing
        return FAILED
    # What start-up made stays for good: the collector need not walk through it again and again.
    gc.collect()
    gc.freeze()
    await daemon.serve()
    _end_anyhow()
    return DONE


def _end_anyhow() -> None:
    """From here on we end by ourselves: a signal that still comes must not make another exit code of it."""
    loop = asyncio.get_running_loop()
    for ending in ENDING:
        loop.remove_signal_handler(ending)
        signal.signal(ending, signal.SIG_IGN)


def _loop_run(work: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)
