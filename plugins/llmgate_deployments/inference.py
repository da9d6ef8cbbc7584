"""Chats in the guide's words, sent through the layers of the deployment's route: limits, quotas, accounting."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta, Struct

from llmgate.plugin.api import AnswerCut, UpstreamFailed, read_body, read_json
from llmgate.plugin.kit.bodies import with_body
from llmgate.plugin.kit.formats import Line
from llmgate.plugin.kit.shapes import filled

from .proxied import ProxiedRequest, Streamed, Whole
from .registry import API

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from llmgate.plugin.api import Call, Clock

    from .fleet import Fleet

PATH = f"{API}/chat/completions"


class Message(Struct, frozen=True):
    """One turn of a chat."""

    role: Annotated[str, Meta(min_length=1, max_length=64)]
    content: str

    def __repr__(self) -> str:
        return f"Message({self.role!r}, ...)"


class Chat(Struct, frozen=True):
    """Body of every chat. Without `deployment_id`, the first deployment that has the model."""

    messages: Annotated[list[Message], Meta(min_length=1)]
    model: Line
    deployment_id: int | None = None
    temperature: Annotated[float, Meta(ge=0, le=10)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    max_tokens: Annotated[int, Meta(ge=1, le=2**31)] | None = None


class AvailableModels(Struct, frozen=True):
    """The names of models."""

    models: list[str]


class OfDeployment(Struct, frozen=True):
    """Query of `GET /inference/models`."""

    deployment_id: int | None = None


class _Asked(Struct, frozen=True, omit_defaults=True):
    """A chat as OpenAI's API takes it."""

    model: str
    messages: list[Message]
    stream: bool = False
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None


class ChatApp:
    """Answers a chat; with `streams`, as it comes. Bodies have at most `max_body` bytes."""

    def __init__(self, fleet: Fleet, clock: Clock, *, streams: bool, max_body: int) -> None:
        self._fleet = fleet
        self._clock = clock
        self._streams = streams
        self._max_body = max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI. Raises `Refusal` and `AnswerCut`."""
        wanted: Chat = read_json(await read_body(receive, self._max_body), Chat)
        serving = await self._fleet.having(wanted.model, wanted.deployment_id)
        body = msgspec.json.encode(filled(_Asked, wanted, stream=self._streams))
        passage: ProxiedRequest
        if self._streams:
            passage = Streamed(scope, send)
        else:
            passage = Whole(scope, send, wanted.model, serving.deployment_id, self._clock)
        try:
            await serving.app(*_inner(scope, receive, body), passage.send)
        except AnswerCut as error:
            if passage.begun:
                raise
            raise UpstreamFailed("The deployment's answer broke off.") from error


class Models:
    """The models that can be asked."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    async def list(self, call: Call[None, OfDeployment]) -> AvailableModels:
        """Those of one deployment, or of all that answer. Raises `NotFound`, `UpstreamFailed`."""
        wanted = call.query
        if wanted.deployment_id is not None:
            return AvailableModels(await (await self._fleet.one(wanted.deployment_id)).models())
        return AvailableModels(await self._fleet.models())


def _inner(scope: Scope, receive: Receive, body: bytes) -> tuple[Scope, Receive]:
    """The request as the deployment gets it: nothing of what came with the client's goes along."""
    headers = [(b"content-type", b"application/json")]
    inner = {**scope, "path": PATH, "raw_path": PATH.encode(), "query_string": b"", "headers": headers}
    return with_body(inner, receive, body)
