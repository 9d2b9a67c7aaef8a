"""A value that does not print."""

from __future__ import annotations

import copy
import json
import logging
import pickle
import traceback
from collections.abc import Callable
from typing import Any

import pytest

from ambassador.credentials.secret import Secret
from ambassador.telemetry.redaction import reveal_nothing
from tests.support.secrets import canary


def test_only_reveal_shows_the_bytes() -> None:
    assert Secret(b"\xff\x00raw").reveal() == b"\xff\x00raw"
    assert Secret("p\u00e4ss").reveal() == b"p\xc3\xa4ss"


def test_it_prints_as_stars_wherever_it_is_held() -> None:
    secret = Secret(canary())
    assert repr(secret) == "***"
    assert repr([secret]) == "[***]"
    assert f"{secret!r}" == "***"
    assert f"{secret!r:>5}" == "  ***"


@pytest.mark.parametrize(
    "leak",
    [
        str,
        bytes,
        "{}".format,
        "%s".__mod__,
        lambda secret: f"{secret}",
        lambda secret: f"{secret:>10}",
        "".join,
        pickle.dumps,
        copy.copy,
        copy.deepcopy,
        json.dumps,
        hash,
        vars,
        list,
        len,
        lambda secret: secret.__getstate__(),
        lambda secret: secret.__reduce__(),
        lambda secret: secret.__reduce_ex__(4),
        lambda secret: {secret},
    ],
)
def test_every_way_to_copy_or_show_it_raises(leak: Callable[[Any], object]) -> None:
    text = canary()
    with pytest.raises(TypeError) as caught:
        leak(Secret(text))
    assert text not in "".join(traceback.format_exception(caught.value))


def test_it_has_no_attribute_to_assign_and_no_dictionary() -> None:
    secret = Secret("hunter22")
    with pytest.raises(AttributeError):
        secret.note = "x"  # type: ignore[attr-defined]  # that is the point
    assert not hasattr(secret, "__dict__")


def test_equal_secrets_are_equal_and_nothing_else_is() -> None:
    assert Secret(b"same") == Secret("same")
    assert Secret(b"same") != Secret(b"other")
    assert Secret(b"same") != b"same"


def test_comparison_takes_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []

    def spy(left: bytes, right: bytes) -> bool:
        compared.append((left, right))
        return True

    monkeypatch.setattr("ambassador.credentials.secret.hmac.compare_digest", spy)
    assert Secret(b"a") == Secret(b"b")
    assert compared == [(b"a", b"b")]


def test_a_log_line_masks_it_unless_it_is_public() -> None:
    hidden, public = canary(), canary()
    Secret(hidden)
    Secret(public, concealed=False)
    assert reveal_nothing(f"<{hidden}> <{public}>") == f"<***> <{public}>"


def test_the_standard_logging_module_cannot_format_it() -> None:
    text = canary()
    record = logging.LogRecord("x", logging.INFO, "", 0, "value %s", (Secret(text),), None)
    with pytest.raises(TypeError):
        record.getMessage()
    assert text not in repr(record.__dict__)
