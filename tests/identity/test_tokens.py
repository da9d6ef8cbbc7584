"""Session tokens as they are written."""

import jwt
import pytest

from llmgate.identity.signing import _GENERATE, SigningKey
from llmgate.identity.tokens import BAD, jwk, key_id, signed, verified

GATE = "https://gate.example"
CLAIMS = {"sub": "u", "sid": "s", "exp": 2, "iat": 1, "iss": GATE, "aud": GATE}


def made(algorithm: str) -> SigningKey:
    private, public = _GENERATE[algorithm]()
    return SigningKey("k1", algorithm, private, public, None)  # type: ignore[arg-type]


@pytest.fixture(scope="module", params=["HS256", "RS256"])
def key(request: pytest.FixtureRequest) -> SigningKey:
    return made(request.param)


def test_a_token_says_by_which_key_and_gives_its_claims_back(key: SigningKey) -> None:
    """Whether its time is over is the store's business, not the token's: it ended in 1970."""
    token = signed(CLAIMS, key)
    assert key_id(token) == "k1"
    assert verified(token, key, issuer=GATE) == CLAIMS


@pytest.mark.parametrize("claim", CLAIMS)
def test_every_claim_has_to_be_there(key: SigningKey, claim: str) -> None:
    token = signed({name: value for name, value in CLAIMS.items() if name != claim}, key)
    with pytest.raises(BAD):
        verified(token, key, issuer=GATE)


def test_a_token_of_another_gate_or_key_is_bad(key: SigningKey) -> None:
    token = signed(CLAIMS, key)
    with pytest.raises(BAD):
        verified(token, key, issuer="https://other.example")
    with pytest.raises(BAD):
        verified(token, made(key.algorithm), issuer=GATE)


def test_the_keys_algorithm_decides_not_the_tokens_header() -> None:
    """A public key is no shared secret (the classic attack on JWT)."""
    rsa, other = made("RS256"), made("HS256")
    with pytest.raises(BAD):
        verified(signed(CLAIMS, other), rsa, issuer=GATE)
    unsigned = jwt.encode(CLAIMS, None, algorithm="none", headers={"kid": "k1"})  # type: ignore[arg-type]
    with pytest.raises(BAD):
        verified(unsigned, rsa, issuer=GATE)


@pytest.mark.parametrize("kid", [None, 7, ["k1"]])
def test_a_key_id_that_is_no_text_is_none(kid: object) -> None:
    header = {} if kid is None else {"kid": kid}
    try:
        token = jwt.encode(CLAIMS, "x" * 32, algorithm="HS256", headers=header)
        assert key_id(token) is None
    except BAD:
        assert kid is not None


@pytest.mark.parametrize("token", ["", "a.b.c", "....", "é", "a" * 5000])
def test_what_is_no_token_is_bad(token: str) -> None:
    with pytest.raises(BAD):
        key_id(token)


def test_the_public_half_is_published_and_verifies_elsewhere() -> None:
    key = made("RS256")
    published = jwk(key)
    assert {"kid": "k1", "alg": "RS256", "use": "sig", "kty": "RSA"}.items() <= published.items()
    assert not {"d", "p", "q", "dp", "dq", "qi"} & published.keys()
    elsewhere = jwt.PyJWK(published).key
    checks = {"verify_exp": False}
    claims = jwt.decode(signed(CLAIMS, key), elsewhere, algorithms=["RS256"], audience=GATE, options=checks)
    assert claims == CLAIMS
