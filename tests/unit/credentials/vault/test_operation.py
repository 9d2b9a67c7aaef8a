"""The words by which requests are counted."""

from __future__ import annotations

from ambassador.credentials.vault.operation import Operation


def test_they_are_words_that_a_label_can_have() -> None:
    assert all(word.value.replace("_", "").isalpha() and word.value.islower() for word in Operation)
    assert {Operation.LOGIN, Operation.RENEW_LEASE, Operation.REVOKE_LEASE} <= set(Operation)
