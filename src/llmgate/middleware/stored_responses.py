"""Responses that a backend has stored belong to whoever made them, which the gate does not know."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..backends.endpoint import Endpoint
from ..backends.request import endpoint_of
from ..errors import BadRequest, NotFound, Refusal, answer
from ..exchange import exchange_of

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from starlette.types import ASGIApp, Receive, Scope, Send

    from ..backends.request import ModelRequest

REFERENCES: Final = ("previous_response_id", "conversation")
"""Fields that go on with something stored."""
REMEDY: Final = (
    "stored responses are not told apart by caller here; send the conversation itself. Where all callers may "
    "read each other's, the gate's operator names `GET /responses/{id}` in `allow` of the route."
)


class StoredResponses:
    """Refuses to read, or to go on with, what the backend has stored: it may be another caller's.

    The backend knows one caller, the gate. For routes whose operator has not named an operation on
    `/responses/{id}` in `allow`.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.collects_edits = getattr(app, "collects_edits", False)

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """ASGI; at once what the app itself returns. The body is read by a layer above."""
        if scope["type"] == "http" and "/responses" in scope["path"].lower():
            try:
                _refuse_stored(scope)
            except Refusal as refusal:
                return answer(scope, send, refusal)
        return self.app(scope, receive, send)


def _refuse_stored(scope: Scope) -> None:
    if endpoint_of(scope["method"], scope["path"]) is not Endpoint.RESPONSES:
        raise NotFound(f"{scope['method']} {scope['path']}: {REMEDY}")
    if (model_request := exchange_of(scope).model_request) is not None:
        refuse_references(model_request)


def refuse_references(model_request: ModelRequest) -> None:
    """Raise `BadRequest` where a request refers to something that the backend has stored."""
    for name in REFERENCES:
        if bytes(model_request.fields.get(name, b"null")) not in (b"null", b'""'):
            raise BadRequest(f"body.{name}: {REMEDY}", param=name)
    if b"item_reference" in bytes(model_request.fields.get("input", b"")):
        raise BadRequest(f"body.input: an item_reference: {REMEDY}", param="input")
