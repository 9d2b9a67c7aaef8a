from __future__ import annotations

from base64 import b64decode, b64encode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ambassador.wire.scram import (
    KEY_SIZE,
    MAX_ITERATIONS,
    Challenge,
    Keys,
    ScramClient,
    ScramError,
    ScramServer,
    Verifier,
    derive,
    mock_verifier,
)

PASSWORD = b"pencil"
SALT = b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
KEYS = derive(PASSWORD, SALT, 4096)
FEW = derive(PASSWORD, b"salt", 1)


def verifier(*keys: Keys, salt: bytes = b"salt", iterations: int = 1) -> Verifier:
    return Verifier(salt, iterations, tuple(one.stored for one in keys))


def server(
    keys: tuple[Keys, ...] = (FEW,), *, plus: bool = False, end_point: bytes | None = None, salt: bytes = b"salt"
) -> ScramServer:
    return ScramServer(verifier(*keys, salt=salt), "server-nonce", plus=plus, end_point=end_point)


def converse(one: ScramServer, other: ScramClient, keys: Keys = FEW) -> int:
    """The whole exchange; which candidate matched."""
    other.challenged(one.first(other.first()))
    matched = one.final(other.prove(keys))
    other.verify(one.signature)
    return matched


# RFC 7677 §3

CLIENT_FIRST = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
SERVER_NONCE = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
SERVER_FIRST = b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
CLIENT_FINAL = (
    b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
)
SERVER_FINAL = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


def test_the_server_speaks_as_the_rfc_s_example() -> None:
    one = ScramServer(verifier(KEYS, salt=SALT, iterations=4096), SERVER_NONCE, plus=False, end_point=None)
    assert one.first(CLIENT_FIRST) == SERVER_FIRST
    assert one.final(CLIENT_FINAL) == 0
    assert one.signature == SERVER_FINAL


class NamedClient(ScramClient):
    """A client that says its name, as the RFC's example does and PostgreSQL's clients need not."""

    def __init__(self, name: str, nonce: str) -> None:
        super().__init__(nonce)
        self._bare = f"n={name},r={nonce}".encode()


def test_the_client_speaks_as_the_rfc_s_example() -> None:
    client = NamedClient("user", "rOprNGfwEbeRWgbNEkqO")
    assert client.first() == CLIENT_FIRST
    assert client.challenged(SERVER_FIRST) == Challenge(SALT, 4096)
    assert client.prove(KEYS) == CLIENT_FINAL
    client.verify(SERVER_FINAL)


# Both sides together


@pytest.mark.parametrize("length", range(1, 65))
def test_salts_may_have_any_length(length: int) -> None:
    salt = bytes(range(100, 100 + length))
    keys = derive(PASSWORD, salt, 1)
    one, other = server((keys,), salt=salt), ScramClient("client-nonce")
    assert other.challenged(one.first(other.first())) == Challenge(salt, 1)
    assert one.final(other.prove(keys)) == 0
    other.verify(one.signature)


@pytest.mark.parametrize("length", [1, 18, 1_000, 10_000])
def test_nonces_may_be_long(length: int) -> None:
    one = ScramServer(verifier(FEW), "s" * length, plus=False, end_point=None)
    assert converse(one, ScramClient("c" * length)) == 0


def test_the_exchange_is_bound_to_the_certificate_where_both_can() -> None:
    client = ScramClient("c", flag="p=tls-server-end-point", binding=b"hash of the certificate")
    assert converse(server(plus=True, end_point=b"hash of the certificate"), client) == 0


def test_somebody_in_between_with_another_certificate_is_found_out() -> None:
    client = ScramClient("c", flag="p=tls-server-end-point", binding=b"what the client sees")
    with pytest.raises(ScramError, match="sees another certificate"):
        converse(server(plus=True, end_point=b"what the server has"), client)


def test_a_client_without_channel_binding_may_come_where_it_was_offered() -> None:
    assert converse(server(end_point=b"hash"), ScramClient("c", flag="n")) == 0


def test_a_client_that_could_have_bound_may_come_where_it_was_not_offered() -> None:
    assert converse(server(end_point=None), ScramClient("c", flag="y")) == 0


def test_a_client_whose_offer_was_taken_away_in_between_is_refused() -> None:
    with pytest.raises(ScramError, match="downgrade"):
        server(end_point=b"hash").first(b"y,,n=,r=c")


@pytest.mark.parametrize("place", [0, 1, 2])
def test_each_of_several_passwords_is_good_and_it_is_told_which(place: int) -> None:
    keys = tuple(derive(b"password %d" % n, b"salt", 1) for n in range(3))
    assert converse(server(keys), ScramClient("c"), keys[place]) == place


def test_the_first_of_equal_passwords_is_told() -> None:
    assert converse(server((FEW, FEW)), ScramClient("c")) == 0


def test_a_wrong_password_is_refused() -> None:
    with pytest.raises(ScramError, match="proof is wrong") as caught:
        converse(server(), ScramClient("c"), derive(b"other", b"salt", 1))
    assert caught.value.refused


@given(
    password=st.binary(min_size=1, max_size=1_000), salt=st.binary(min_size=1, max_size=64), rounds=st.integers(1, 5)
)
@settings(deadline=None, max_examples=50)
def test_any_password_proves_itself_and_no_other(password: bytes, salt: bytes, rounds: int) -> None:
    keys = derive(password, salt, rounds)
    one = ScramServer(verifier(keys, salt=salt, iterations=rounds), "s", plus=False, end_point=None)
    other = ScramClient("c")
    assert other.challenged(one.first(other.first())) == Challenge(salt, rounds)
    assert one.final(other.prove(keys)) == 0
    other.verify(one.signature)


# Unknown users


def test_an_unknown_user_meets_the_same_exchange_and_fails_at_its_end() -> None:
    mock = mock_verifier(b"constant", "nobody", 1)
    one, other = ScramServer(mock, "s", plus=False, end_point=None), ScramClient("c")
    challenge = other.challenged(one.first(other.first()))
    assert len(challenge.salt) == 16
    with pytest.raises(ScramError, match="proof is wrong") as caught:
        one.final(other.prove(derive(PASSWORD, challenge.salt, 1)))
    assert caught.value.refused


def test_no_proof_can_be_made_for_an_unknown_user() -> None:
    one, other = ScramServer(mock_verifier(b"constant", "nobody", 1), "s", plus=False, end_point=None), ScramClient("c")
    other.challenged(one.first(other.first()))
    nothing = b"\0" * KEY_SIZE
    with pytest.raises(ScramError, match="proof is wrong"):
        one.final(other.prove(Keys(nothing, nothing, nothing)))


def test_mock_salts_are_the_same_each_time_and_differ_by_name_and_secret() -> None:
    salts = {
        mock_verifier(secret, name).salt for secret in (b"a", b"b") for name in ("x", "y", "\udcff") for _ in range(3)
    }
    assert len(salts) == 6
    assert mock_verifier(b"a", "x") == mock_verifier(b"a", "x")


def test_secrets_do_not_print() -> None:
    for secret in (KEYS, KEYS.stored, verifier(KEYS)):
        assert KEYS.stored_key.hex()[:8] not in repr(secret)
        assert repr(KEYS.stored_key)[2:10] not in repr(secret)


# What a client may send us

BAD_FIRSTS = {
    "empty": (b"", "no GS2 header"),
    "only a flag": (b"n,", "no GS2 header"),
    "a NUL": (b"n,,n=,r=a\0b", "NUL byte"),
    "an authorization identity": (b"n,a=admin,n=,r=c", "authorization identity"),
    "an unknown flag": (b"x,,n=,r=c", "flag does not fit"),
    "bound without -PLUS": (b"p=tls-server-end-point,,n=,r=c", "flag does not fit"),
    "no name": (b"n,,r=c", "attribute n= expected"),
    "no nonce": (b"n,,n=user", "attribute r= is missing"),
    "an empty nonce": (b"n,,n=,r=", "nonce is empty or not printable"),
    "a nonce with a space": (b"n,,n=,r=a b", "nonce is empty or not printable"),
    "a nonce that is not ASCII": (b"n,,n=,r=\xc3\xa9", "nonce is empty or not printable"),
    "a mandatory extension": (b"n,,m=x,n=,r=c", "mandatory extension"),
    "something that is no extension": (b"n,,n=,r=c,nonsense", "not an attribute"),
    "nothing behind a comma": (b"n,,n=,r=c,", "not an attribute"),
}


@pytest.mark.parametrize(("message", "fault"), BAD_FIRSTS.values(), ids=BAD_FIRSTS)
def test_a_malformed_first_message_is_refused(message: bytes, fault: str) -> None:
    with pytest.raises(ScramError, match=fault) as caught:
        server().first(message)
    assert not caught.value.refused


@pytest.mark.parametrize("flag", [b"n", b"y", b"p=tls-unique", b"p=", b""])
def test_plus_needs_the_binding_that_was_offered(flag: bytes) -> None:
    with pytest.raises(ScramError, match="needs the channel binding tls-server-end-point"):
        server(plus=True, end_point=b"hash").first(flag + b",,n=,r=c")


@pytest.mark.parametrize("name", [b"", b"*", b"app", b"a=2Cb=3D", b"\xff"])
def test_the_name_in_the_exchange_is_ignored(name: bytes) -> None:
    assert server().first(b"n,,n=" + name + b",r=c,x=an extension").startswith(b"r=cserver-nonce,s=")


PROOF = b64encode(b"p" * 32)
BAD_FINALS = {
    "empty": (b"", "p= is missing"),
    "no proof": (b"c=biws,r=cserver-nonce", "p= is missing"),
    "only a proof": (b"p=" + PROOF, "p= is missing"),
    "no binding": (b"r=cserver-nonce,p=" + PROOF, "attribute c= expected"),
    "another nonce": (b"c=biws,r=cserver-nonces,p=" + PROOF, "not the one agreed upon"),
    "our half of the nonce left out": (b"c=biws,r=c,p=" + PROOF, "not the one agreed upon"),
    "a proof that is no base64": (b"c=biws,r=cserver-nonce,p=***", "proof is not base64"),
    "a short proof": (b"c=biws,r=cserver-nonce,p=" + b64encode(b"short"), "wrong length"),
    "a long proof": (b"c=biws,r=cserver-nonce,p=" + b64encode(b"l" * 33), "wrong length"),
    "a binding that is no base64": (b"c=?,r=cserver-nonce,p=" + PROOF, "channel binding is not base64"),
    "another flag than before": (b"c=" + b64encode(b"y,,") + b",r=cserver-nonce,p=" + PROOF, "does not match"),
    "a wrong proof": (b"c=biws,r=cserver-nonce,p=" + PROOF, "proof is wrong"),
}


@pytest.mark.parametrize(("message", "fault"), BAD_FINALS.values(), ids=BAD_FINALS)
def test_a_bad_final_message_is_refused(message: bytes, fault: str) -> None:
    one = server()
    one.first(b"n,,n=,r=c")
    with pytest.raises(ScramError, match=fault):
        one.final(message)
    assert one.signature == b""


# What a server may send us

BAD_CHALLENGES = {
    "empty": (b"", "attribute r= expected"),
    "another nonce": (b"r=other,s=c2FsdA==,i=1", "does not continue ours"),
    "only our nonce": (b"r=client,s=c2FsdA==,i=1", "does not continue ours"),
    "an unprintable nonce": (b"r=client\x01,s=c2FsdA==,i=1", "not printable"),
    "no salt": (b"r=clients,i=1", "attribute s= expected"),
    "an empty salt": (b"r=clients,s=,i=1", "salt is empty"),
    "a salt that is no base64": (b"r=clients,s=?,i=1", "salt is not base64"),
    "no count": (b"r=clients,s=c2FsdA==", "attribute i= is missing"),
    "a count of zero": (b"r=clients,s=c2FsdA==,i=0", "not a positive number"),
    "a negative count": (b"r=clients,s=c2FsdA==,i=-1", "not a positive number"),
    "no number": (b"r=clients,s=c2FsdA==,i=many", "not a positive number"),
    "a number in other digits": ("r=clients,s=c2FsdA==,i=٤".encode(), "not a positive number"),
    "an endless number": (b"r=clients,s=c2FsdA==,i=1" + b"0" * 5_000, "not a positive number"),
    "a count for years": (b"r=clients,s=c2FsdA==,i=4294967295", "at most 1000000 are allowed"),
    "a mandatory extension": (b"m=x,r=clients,s=c2FsdA==,i=1", "mandatory extension"),
    "nonsense at the end": (b"r=clients,s=c2FsdA==,i=1,,", "not an attribute"),
}


@pytest.mark.parametrize(("message", "fault"), BAD_CHALLENGES.values(), ids=BAD_CHALLENGES)
def test_a_bad_challenge_is_refused(message: bytes, fault: str) -> None:
    with pytest.raises(ScramError, match=fault):
        ScramClient("client").challenged(message)


def test_the_bound_on_iterations_is_itself_allowed() -> None:
    challenge = ScramClient("client").challenged(b"r=clients,s=c2FsdA==,i=%d,x=an extension" % MAX_ITERATIONS)
    assert challenge == Challenge(b"salt", MAX_ITERATIONS)
    with pytest.raises(ScramError, match="at most 9 are allowed"):
        ScramClient("client", max_iterations=9).challenged(b"r=clients,s=c2FsdA==,i=10")


@pytest.mark.parametrize(
    ("message", "fault"),
    [
        (b"v=" + b64encode(b"w" * 32), "it does not know the password"),
        (b"v=", "it does not know the password"),
        (b"v=?", "server signature is not base64"),
        (b"", "attribute v= expected"),
        (b"e=other-error", "ended the SCRAM exchange with an error"),
    ],
)
def test_a_server_that_does_not_prove_itself_is_not_believed(message: bytes, fault: str) -> None:
    one, other = server(), ScramClient("c")
    other.challenged(one.first(other.first()))
    other.prove(FEW)
    with pytest.raises(ScramError, match=fault) as caught:
        other.verify(message)
    assert caught.value.refused == message.startswith(b"e=")
