"""Another body in the place of a request's, for middleware that reads prompts and changes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import Message, Receive, Scope

ABOUT_BODY = frozenset({b"content-length", b"content-encoding", b"transfer-encoding"})


def with_body(scope: Scope, receive: Receive, body: bytes) -> tuple[Scope, Receive]:
    """The request with `body`, which is not compressed: a scope that says its length, and a `receive` that gives it.

    Who asks for more hears what `receive` says, as that the client leaves; the body that came must have been read.
    """
    headers = [pair for pair in scope["headers"] if pair[0].lower() not in ABOUT_BODY]
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> Message:
        return waiting.pop() if waiting else await receive()

    return {**scope, "headers": [*headers, (b"content-length", b"%d" % len(body))]}, replayed
