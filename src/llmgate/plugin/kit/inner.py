"""A request of a surface's own, sent through the layers of a route: limits, quotas, accounting, relay.

body = {"model": "m", "prompt": "Hi"}
answer = await post(gate.routes["chat"], "/v1/completions", body, call.exchange, call.receive)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from ..api import Answer, Exchange, Refusal, UpstreamFailed
from .bodies import with_body

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.types import ASGIApp, Message, Receive, Scope


@dataclass(frozen=True, slots=True)
class Whole:
    """What an upstream has answered."""

    status: int
    body: bytes

    def json(self) -> Any:
        """The body as JSON. Raises `UpstreamFailed` for anything else."""
        try:
            return msgspec.json.decode(self.body)
        except msgspec.DecodeError as error:
            raise UpstreamFailed("The model's server did not answer with JSON.") from error


class _Answer:
    """`send` of the layers below: an answer comes up whole."""

    def __init__(self) -> None:
        self.status = 0
        self.pieces: list[bytes] = []
        self.complete = False
        self.refusal: Refusal | None = None

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        elif message["type"] == "http.response.body":
            self.pieces.append(message.get("body", b""))
            self.complete = not message.get("more_body", False)

    def refuse(self, refusal: Refusal) -> Answer:
        """As an error shape: what a layer refuses is for the caller to put into words."""
        self.refusal = refusal
        return refusal.answer_status, [], b""


async def post(
    app: ASGIApp, path: str, body: Mapping[str, Any], exchange: Exchange, receive: Receive
) -> Whole:
    """What the route `app` answers to `body` at `path`; `receive` tells when the client leaves.

    Raises the `Refusal` of whichever layer refuses it, and `UpstreamFailed` for an answer that breaks off.
    """
    sending = _Answer()
    scope: Scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [(b"content-type", b"application/json")],
        "client": None,
        "server": None,
        "state": {},
        "llmgate": exchange,
    }
    shape, exchange.error_shape = exchange.error_shape, sending.refuse
    try:
        await app(*with_body(scope, receive, msgspec.json.encode(body)), sending.send)
    finally:
        exchange.error_shape = shape
    if sending.refusal is not None:
        raise sending.refusal
    if not sending.complete:
        raise UpstreamFailed("The model's answer broke off.")
    return Whole(sending.status, b"".join(sending.pieces))
