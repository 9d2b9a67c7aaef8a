"""What the Vault that is none lends."""

from __future__ import annotations

from itertools import count

import trustme
from cryptography import x509

from tests.support.fake_vault_answers import Request
from tests.support.fake_vault_contents import Contents
from tests.support.fake_vault_lenders import authority, database


def test_a_role_lends_another_user_each_time() -> None:
    contents, numbers = Contents(), count()
    role = database(10, 20, renewable=False, user=lambda: (f"u{next(numbers)}", "p"))
    request = Request("GET", "database/creds/app", "token", "")
    answers = [role(contents, request)[1] or {} for _ in range(2)]
    assert [answer["data"]["username"] for answer in answers] == ["u0", "u1"]
    assert (answers[0]["renewable"], answers[0]["lease_duration"]) == (False, 10)
    assert list(contents.leases) == [answer["lease_id"] for answer in answers]


def test_a_certificate_is_signed_for_the_names_that_were_asked_for() -> None:
    ca = trustme.CA()
    body = {"common_name": "app user", "alt_names": "a.example,b.example", "ip_sans": "127.0.0.1"}
    status, said = authority(ca, 20, 30)(Contents(), Request("POST", "pki/issue/app", "", "", "", body))
    assert (status, said is None) == (200, False)
    made = (said or {})["data"]
    leaf = x509.load_pem_x509_certificate(made["certificate"].encode())
    leaf.verify_directly_issued_by(x509.load_pem_x509_certificate(made["issuing_ca"].encode()))
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["a.example", "b.example"]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]
    assert leaf.not_valid_after_utc.timestamp() == made["expiration"]
    assert (leaf.not_valid_after_utc - leaf.not_valid_before_utc).total_seconds() == 50
