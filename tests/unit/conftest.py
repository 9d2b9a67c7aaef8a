"""What the tests of several rooms share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Any

import orjson
import pytest

from ambassador.telemetry import logs

Logged = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def logged() -> Iterator[Logged]:
    """Returns the log lines so far, from debug on."""
    stream = BytesIO()
    handle = logs.setup("debug", "json", stream)

    def lines() -> list[dict[str, Any]]:
        handle.flush(5.0)
        return [orjson.loads(line) for line in stream.getvalue().splitlines()]

    yield lines
    handle.close()
