"""Session tokens as they are written: JWT (RFC 7519) and JWK (RFC 7517), by PyJWT.

Whoever imports this loads PyJWT and cryptography: 9 MB and some 50 ms. `sessions` does so when the first
token is issued or shown, so that a gate whose callers all have API keys never does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jwt
from jwt.algorithms import RSAAlgorithm

if TYPE_CHECKING:
    from jwt.types import Options

    from .signing import SigningKey

BAD = (jwt.PyJWTError, ValueError, RecursionError)
"""What reading a bad token raises; the last two come from what its JSON is made of."""

_CLAIMS = ["sub", "sid", "exp", "iat", "iss", "aud"]
# Time is the store's business: its clock is the injected one, and its row the one that can be revoked.
_CHECKS: Options = {"require": _CLAIMS, "verify_exp": False, "verify_iat": False, "verify_nbf": False}


def signed(claims: dict[str, Any], key: SigningKey) -> str:
    """A token with `claims`, signed by `key`."""
    return jwt.encode(claims, key.private, algorithm=key.algorithm, headers={"kid": key.kid})


def key_id(token: str) -> str | None:
    """Which key `token` says it is signed by, if it says so. Raises one of `BAD`."""
    kid = jwt.get_unverified_header(token).get("kid")
    return kid if isinstance(kid, str) else None


def verified(token: str, key: SigningKey, *, issuer: str) -> dict[str, Any]:
    """The claims of `token`, which `key` has signed for `issuer`. Raises one of `BAD`."""
    # Each key verifies one algorithm, so that the token's header has no say in it.
    claims: dict[str, Any] = jwt.decode(
        token,
        key.verifying,
        algorithms=[key.algorithm],
        issuer=issuer,
        audience=issuer,
        options=_CHECKS,
    )
    return claims


def jwk(key: SigningKey) -> dict[str, Any]:
    """The public half of an RS256 key as a JSON Web Key."""
    numbers = RSAAlgorithm.to_jwk(RSAAlgorithm(RSAAlgorithm.SHA256).prepare_key(key.verifying), as_dict=True)
    return {**numbers, "kid": key.kid, "alg": key.algorithm, "use": "sig"}
