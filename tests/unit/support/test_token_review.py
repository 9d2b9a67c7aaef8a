"""The reviewer vouches for the tokens that it minted, and for no others."""

from __future__ import annotations

import http.client
import json
from typing import Any

from tests.support.token_review import AUDIENCE, TokenReviewer

REVIEW = {"kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1"}


def review(reviewer: TokenReviewer, *tokens: str, audience: str = AUDIENCE) -> list[dict[str, Any]]:
    """What it says of these, on one connection."""
    connection = http.client.HTTPConnection("127.0.0.1", reviewer.port, timeout=5)
    found = []
    try:
        for token in tokens:
            path = "/apis/authentication.k8s.io/v1/tokenreviews"
            connection.request("POST", path, json.dumps(REVIEW | {"spec": {"token": token, "audiences": [audience]}}))
            answer = connection.getresponse()
            assert answer.status == 201
            said = json.loads(answer.read())
            assert said["kind"] == "TokenReview"
            found.append(said["status"])
        return found
    finally:
        connection.close()


def test_it_says_whose_token_it_is() -> None:
    with TokenReviewer() as reviewer:
        token = reviewer.service_account("shop", "app")
        (status, other) = review(reviewer, token, "other")
        assert reviewer.reviews == [token, "other"]
    assert status["authenticated"] is True
    assert status["audiences"] == [AUDIENCE]
    assert status["user"]["username"] == "system:serviceaccount:shop:app"
    assert (other["authenticated"], other["error"]) == (False, "invalid bearer token")


def test_it_no_longer_vouches_for_what_was_refused() -> None:
    with TokenReviewer() as reviewer:
        first, second = reviewer.service_account("shop", "app"), reviewer.service_account("shop", "app")
        reviewer.refused.add(first)
        assert [status["authenticated"] for status in review(reviewer, first, second)] == [False, True]
        assert review(reviewer, second, audience="elsewhere")[0]["authenticated"] is False
