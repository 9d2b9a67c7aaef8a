from __future__ import annotations

import pytest

from ambassador.admin.negotiate import prefers

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"
PROMETHEUS = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;"
    "q=0.5,text/plain;version=1.0.0;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)


@pytest.mark.parametrize(
    ("accept", "json"),
    [
        ("application/json", True),
        ("Application/JSON", True),
        ("application/json, text/plain;q=0.9", True),
        ("application/json, text/plain, */*", True),
        ("application/*, text/html;q=0.5", True),
        ("text/html;q=0.4, application/json;q=0.5", True),
        ("", False),
        ("*/*", False),
        (BROWSER, False),
        ("text/html, application/json", False),
        ("application/json;q=0", False),
        ("application/json;q=nonsense, text/html;q=0.1", False),
        ("application/json;q=7", False),
        ("application/json;q=nan, text/html;q=0.1", False),
        ("x" * 2000 + ", application/json", False),
        (";;;,,,=", False),
    ],
)
def test_json_is_given_to_who_asks_for_it_and_html_in_doubt(accept: str, json: bool) -> None:
    assert prefers(accept, "application/json", over="text/html") is json


@pytest.mark.parametrize(
    ("accept", "openmetrics"),
    [(PROMETHEUS, True), ("application/openmetrics-text", True), ("", False), ("*/*", False), ("text/plain", False)],
)
def test_openmetrics_is_given_to_who_asks_for_it_and_the_text_format_in_doubt(accept: str, openmetrics: bool) -> None:
    assert prefers(accept, "application/openmetrics-text", over="text/plain") is openmetrics
