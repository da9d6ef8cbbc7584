"""The one record of a request on its way through the gate, kept in `scope["llmgate"]`.

Each layer adds what it knows and reads what the layers above it added; no layer asks another. A layer
that is used alone, around a foreign app, gets a fresh one from `exchange_of`.
"""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .errors import ErrorShape, PayloadTooLarge, openai_shape

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import Message, Receive, Scope

    from .usage.ask import Ask
    from .usage.model import Reading


class ClientGone(Exception):  # noqa: N818 - an event, not a mistake
    """The client went away before its request was whole."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Who makes a request, as proven by a credential.

    `key_id` or `session_id` says by which; `organisation_id` is the organisation that the key belongs to
    or that the session acts for, if any.
    """

    user_id: int
    username: str
    roles: frozenset[str] = frozenset()
    key_id: int | None = None
    session_id: str | None = None
    organisation_id: int | None = None


@dataclass(slots=True)
class Exchange:
    """What is known of one request so far. Times are seconds of the monotonic clock."""

    id: str
    started: float
    route: str = "-"
    error_shape: ErrorShape = openai_shape
    principal: Principal | None = None
    ask: Ask | None = None
    upstream: str | None = None
    reading: Reading | None = None
    refused: str | None = None
    status: int = 0
    first_byte: float | None = None
    _body: bytes | None = field(default=None, repr=False)

    async def body(self, receive: Receive, limit: int) -> bytes:
        """The whole request body, read once however many layers ask for it.

        Raises `PayloadTooLarge` over `limit` bytes and `ClientGone` if the client leaves before the end.
        """
        if self._body is None:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            body: bytes = message.get("body", b"")
            if message.get("more_body", False):
                body = await _rest_of_body(body, receive, limit)
            if len(body) > limit:
                raise too_large(limit)
            self._body = body
        return self._body

    def replay(self, receive: Receive, body: bytes) -> Receive:
        """A `receive` for the layers below: `body` in one message, then whatever the server says next."""
        pending: Message | None = {"type": "http.request", "body": body, "more_body": False}

        async def replayed() -> Message:
            nonlocal pending
            if pending is not None:
                message, pending = pending, None
                return message
            return await receive()

        return replayed


async def _rest_of_body(first: bytes, receive: Receive, limit: int) -> bytes:
    pieces, size, more = [first], len(first), True
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
    return b"".join(pieces)


def too_large(limit: int) -> PayloadTooLarge:
    """The refusal of a body over `limit` bytes."""
    return PayloadTooLarge(f"The request body is over the limit of {limit} bytes.")


def exchange_of(
    scope: Scope,
    *,
    clock: Callable[[], float] = time.monotonic,
    new_id: Callable[[], object] = uuid.uuid4,
) -> Exchange:
    """The exchange of this request, made now if no layer above has made one."""
    exchange: Exchange | None = scope.get("llmgate")
    if exchange is None:
        exchange = scope["llmgate"] = Exchange(id=str(new_id()), started=clock())
    return exchange
