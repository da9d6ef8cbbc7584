"""Which headers pass through the gate (RFC 9110 7.6): pure functions over raw header lists.

Order, duplicates and values are kept byte for byte. Framing (Content-Length, Transfer-Encoding) and Host belong
to whoever writes the message, so `Connection: content-length` or the like cannot take them away; what the gate
adds is added after the client's `Connection` was obeyed, so that it cannot take that away either.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import BadRequest
from ..exchange.body import PLAIN_ANSWERS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from ..errors import Header

HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
CREDENTIALS = frozenset({b"authorization", b"x-api-key", b"api-key"})
CREDENTIAL_COOKIE = b"access_token"
OTHER_METHODS = frozenset({b"x-http-method-override", b"x-http-method", b"x-method-override"})
"""By which some frameworks take a GET for a POST."""
NOT_FORWARDED = HOP_BY_HOP | CREDENTIALS | OTHER_METHODS | {b"host", b"content-length", b"expect"}
"""Host and Content-Length are the engine's to write; Expect was answered by the gate's own server."""

LOOKED_AT = frozenset({b"accept-encoding", b"connection", b"cookie", b"x-request-id", b"via"})
NOT_AS_IT_IS = NOT_FORWARDED | LOOKED_AT
DROPPED = NOT_FORWARDED - LOOKED_AT
"""Request headers of which it is enough to know the name; and so it is for all that are not `LOOKED_AT`."""

PERSISTENCE = frozenset({b"keep-alive", b"close"})
WITHOUT_LENGTH = frozenset({204, 304})


def request_headers(  # noqa: PLR0912 - one pass over the headers, a branch for each kind
    headers: Iterable[Header],
    *,
    request_id: str,
    credential: Header | None = None,
    put: Sequence[Header] = (),
    via: bytes = b"",
    plain: bool = False,
) -> list[Header]:
    """The headers to send upstream for a request with these ASGI `headers` (lower-case names).

    The caller's credentials are left out and `credential` put in; `x-request-id` is added where none is.
    The headers in `put` replace those of the same names. `via`, the pseudonym of this gate, is appended to Via
    (RFC 9110 7.6.3). With `plain` the answer is asked for as it is, not compressed. Raises `BadRequest` (508) if the
    gate stands in Via already: the request has come back.
    """
    kept: list[Header] = []
    passed: list[bytes] = []  # the gateways that it came through
    options: Collection[bytes] = ()
    has_id = False
    for pair in headers:
        name = pair[0]
        if name not in NOT_AS_IT_IS:
            kept.append(pair)
        elif name in DROPPED:
            continue
        elif name == b"x-request-id":
            has_id = True
            kept.append(pair)
        elif name == b"accept-encoding":
            if not plain:
                kept.append(pair)
        elif name == b"via":
            passed.append(pair[1])
            kept.append(pair)
        elif name == b"cookie":
            if cookies := _without_credential(pair[1]):
                kept.append((name, cookies))
        elif pair[1] not in PERSISTENCE:  # Connection
            options = {*options, *_options(pair[1])}
    if options:
        kept = [pair for pair in kept if pair[0] not in options]
        has_id = has_id and b"x-request-id" not in options
    if not has_id:
        kept.append((b"x-request-id", request_id.encode("ascii")))
    if plain:
        kept.append(PLAIN_ANSWERS)
    if credential is not None:
        kept.append(credential)
    if via:
        if passed and any(via in value for value in passed):
            raise _loop()
        kept.append((b"via", b"1.1 " + via))
    if put:
        names = {name for name, _ in put}
        kept = [pair for pair in kept if pair[0] not in names]
        kept += put
    return kept


def response_headers(headers: Collection[Header], status: int) -> list[Header]:
    """The headers to send to the client for an upstream's answer, whose names are in lower case.

    Content-Length is kept, except where there is no body that servers could check it against (204, 304).
    """
    kept = [pair for pair in headers if pair[0] not in HOP_BY_HOP]
    options: Collection[bytes] = ()
    if len(kept) < len(headers):
        named = [_options(value) for name, value in headers if name == b"connection"]
        options = frozenset().union(*named) - {b"content-length"}
    if status in WITHOUT_LENGTH:
        options = {*options, b"content-length"}
    if options:
        kept = [pair for pair in kept if pair[0] not in options]
    return kept


def forwarded_headers(headers: Iterable[Header], *, client: str | None, scheme: str) -> list[Header]:
    """X-Forwarded-For (the client's address appended to what came), -Proto and -Host of a request."""
    seen = [value for name, value in headers if name == b"x-forwarded-for"]
    if client is not None:
        seen.append(client.encode("ascii"))
    added = [(b"x-forwarded-proto", scheme.encode("ascii"))]
    added += [(b"x-forwarded-host", value) for name, value in headers if name == b"host"]
    return [(b"x-forwarded-for", b", ".join(seen)), *added] if seen else added


def _loop() -> BadRequest:
    message = "This request has been here before: an upstream of this gate leads back to it."
    return BadRequest(message, status=508, code="loop_detected")


def _options(value: bytes) -> frozenset[bytes]:
    """The header names in a Connection header."""
    return frozenset(token.strip().lower() for token in value.split(b",")) - PERSISTENCE


def _without_credential(cookies: bytes) -> bytes:
    if CREDENTIAL_COOKIE not in cookies:
        return cookies
    pairs = [pair for pair in cookies.split(b";") if pair.partition(b"=")[0].strip() != CREDENTIAL_COOKIE]
    return b";".join(pairs).strip()
