"""What is said of a request's body in its head, and the body itself, read whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import BadRequest, ClientGone, PayloadTooLarge

if TYPE_CHECKING:
    from starlette.types import Receive, Scope

LONGEST_NAME = 256
PLAIN_ANSWERS = (b"accept-encoding", b"identity")
"""Asks for an answer that is not compressed; without such a header anything goes (RFC 9110 12.5.3)."""
_ABOUT_BODY = frozenset({b"content-type", b"content-encoding"})
_OF_BODY = frozenset({b"content-length", b"transfer-encoding", b"content-encoding"})


def about_body(scope: Scope) -> tuple[bytes, bytes]:
    """The request's Content-Type and Content-Encoding, which say how its body is read.

    Raises `BadRequest` where one is given twice: readers differ in which of the two they believe.
    """
    found: dict[bytes, bytes] = {}
    for name, value in scope["headers"]:
        if name in _ABOUT_BODY:
            if name in found:
                raise BadRequest(f"{name.decode().title()}: given more than once")
            found[name] = value
    return found.get(b"content-type", b""), found.get(b"content-encoding", b"")


def replace_body_headers(scope: Scope, length: int) -> None:
    """What the scope says of its body once that is another one of `length` bytes, not compressed."""
    headers = [pair for pair in scope["headers"] if pair[0] not in _OF_BODY]
    headers.append((b"content-length", b"%d" % length))
    scope["headers"] = headers


def name_of(model: str | None) -> str:
    """The name goes into records and logs: it is held to what gate.toml takes for one."""
    if model and not (len(model) <= LONGEST_NAME and model.isprintable()):
        raise BadRequest(f"body.model: expected at most {LONGEST_NAME} printable characters", param="model")
    return model or ""


async def read_body(receive: Receive, limit: int) -> bytes:
    """The whole body of a request. Raises `PayloadTooLarge` over `limit` bytes, `ClientGone` on a cut one."""
    pieces: list[bytes] = []
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        piece = message.get("body", b"")
        size += len(piece)
        if size > limit:
            raise too_large(limit)
        pieces.append(piece)
        more = message.get("more_body", False)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def too_large(limit: int) -> PayloadTooLarge:
    """The refusal of a body over `limit` bytes."""
    return PayloadTooLarge(f"The request body is over the limit of {limit} bytes.")
