"""Sending what the gate itself answers: refusals, JSON, anything whole."""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus
from typing import TYPE_CHECKING

import msgspec

from .shapes import ErrorShape, openai_shape, shape_for

if TYPE_CHECKING:
    from starlette.types import Scope, Send

    from .refusals import Header, Refusal


async def answer(scope: Scope, send: Send, refusal: Refusal) -> None:
    """Send `refusal` in the shape that this request's route speaks, and note its reason for the metrics.

    A WebSocket is closed before it opens, which servers turn into a 403.
    """
    exchange = scope.get("llmgate")
    shape: ErrorShape = openai_shape
    if exchange is not None:
        exchange.refused = refusal.reason
        shape = exchange.error_shape
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008, "reason": refusal.reason})
        return
    status, headers, body = shape_for(shape, scope.get("path", ""))(refusal)
    await send_whole(scope, send, status, headers, body)


async def send_json(
    scope: Scope, send: Send, value: object, *, status: int = 200, headers: Iterable[Header] = ()
) -> None:
    """Send `value` as JSON."""
    headers = [*headers, (b"content-type", b"application/json")]
    await send_whole(scope, send, status, headers, msgspec.json.encode(value))


async def send_whole(scope: Scope, send: Send, status: int, headers: Iterable[Header], body: bytes) -> None:
    """Send an answer whose body is there; to a HEAD, only how long it is. A 204 and a 304 have none, and no length."""
    headers = [*headers]
    if status not in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED):
        headers.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body if scope["method"] != "HEAD" else b""})
