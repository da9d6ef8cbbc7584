"""Small things as they look on the wire and in ASGI: addresses, refusals, a line of uvicorn's access log."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import quote

from ..errors import Refusal, openai_shape

if TYPE_CHECKING:
    from starlette.types import Scope


def address_of(name: object) -> tuple[str, int | None] | None:
    """A socket's name as ASGI has addresses; a path for a Unix socket that has one."""
    if isinstance(name, tuple):
        return name[0], name[1]
    return (name, None) if isinstance(name, str) and name else None


def refusal_bytes(refusal: Refusal) -> bytes:
    """The whole answer, after which the connection closes."""
    status, headers, body = openai_shape(refusal)
    lines = [b"HTTP/1.1 %d %b" % (status, HTTPStatus(status).phrase.encode())]
    lines += [name + b": " + value for name, value in headers]
    lines += [b"content-length: %d" % len(body), b"connection: close", b"", body]
    return b"\r\n".join(lines)


def access_line(scope: Scope, status: int) -> tuple[str, str, str, str, str, int]:
    """What `uvicorn.access` is given to log, for its formatter to take apart."""
    client = scope["client"]
    query = scope["query_string"].decode("ascii")
    return (
        '%s - "%s %s HTTP/%s" %d',
        f"{client[0]}:{client[1]}" if client else "",
        scope["method"],
        quote(scope["path"]) + (f"?{query}" if query else ""),
        scope["http_version"],
        status,
    )
