"""Completions: one path for prompts and chats, in front of a route of the gate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

from msgspec import Meta, Struct

from llmgate.plugin.api import BadRequest, ClientGone, Endpoint, Refusal, answer, exchange_of

if TYPE_CHECKING:
    from msgspec import Raw
    from starlette.types import ASGIApp, Receive, Scope, Send


class Completion(Struct, frozen=True):
    """Body of `POST /chat/completions`: either `prompt` or `messages`. Whatever else it has goes to the model, too."""

    prompt: str | list[str] | None = None
    messages: list[dict[str, Any]] | None = None
    model: str | None = None
    max_tokens: Annotated[int, Meta(ge=1)] | None = None
    temperature: float | None = None
    stream: bool = False


class Completions:
    """Sends a body with `prompt` to `completions` below `path`, one with `messages` to `chat/completions`.

    `route` is the gate's route at `path`, which limits, counts and relays; the body is read here, up to
    `max_body` bytes, and not parsed again there.
    """

    def __init__(self, route: ASGIApp, *, path: str, max_body: int) -> None:
        self._route = route
        base = path.rstrip("/")
        self._paths = {
            Endpoint.CHAT: f"{base}/chat/completions",
            Endpoint.COMPLETIONS: f"{base}/completions",
        }
        self._max_body = max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        exchange = exchange_of(scope)
        try:
            model_request = await exchange.read(scope, receive, self._max_body, endpoint=_endpoint)
        except Refusal as refusal:
            await answer(scope, send, refusal)
            return
        except ClientGone:
            return
        path = self._paths[model_request.endpoint]
        inner = {**scope, "path": path, "raw_path": path.encode()}
        await self._route(inner, exchange.receive, send)


def _endpoint(fields: Mapping[str, Raw]) -> Endpoint:
    match _given(fields, "prompt"), _given(fields, "messages"):
        case True, False:
            return Endpoint.COMPLETIONS
        case False, True:
            return Endpoint.CHAT
        case _:
            raise BadRequest("body: expected either `prompt` or `messages`")


def _given(fields: Mapping[str, Raw], name: str) -> bool:
    """Whether the body has the field; null counts as absent, as it does for the backends.

    Raises `BadRequest` for what no backend could take: neither text nor a list.
    """
    value = bytes(fields[name]) if name in fields else b"null"
    if value != b"null" and value[:1] not in (b'"', b"["):
        raise BadRequest(f"body.{name}: expected text or a list")
    return value != b"null"
