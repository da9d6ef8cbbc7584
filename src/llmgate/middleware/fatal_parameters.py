"""Parameters by which one request can end an engine that serves LoRA adapters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import BadRequest, Refusal, answer
from ..exchange import StackLayer, exchange_of

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from starlette.types import ASGIApp, Receive, Scope, Send

    from ..backends.request import ModelRequest

REMEDY = "this model's engine serves adapters, which does not go together: leave it out"


class FatalParameters(StackLayer):
    """Refuses `prompt_logprobs`, and `echo` with `logprobs`.

    Two such requests at once end a vLLM with --enable-lora (0.32; vllm issues 16668, 29955, 51594). For routes to
    an upstream with `lora = true`.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.collects_edits = getattr(app, "collects_edits", False)

    def within_stack(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """ASGI; at once what the app itself returns. The body is read by a layer above."""
        model_request = exchange_of(scope).model_request if scope["type"] == "http" else None
        try:
            if model_request is not None:
                _refuse_fatal(model_request)
        except Refusal as refusal:
            return answer(scope, send, refusal)
        return self.app(scope, receive, send)


def _refuse_fatal(model_request: ModelRequest) -> None:
    if _is_given(model_request, "prompt_logprobs"):
        raise BadRequest(f"body.prompt_logprobs: {REMEDY}", param="prompt_logprobs")
    if _is_given(model_request, "echo") and _is_given(model_request, "logprobs"):
        raise BadRequest(f"body.echo: with logprobs, {REMEDY}", param="echo")


def _is_given(model_request: ModelRequest, name: str) -> bool:
    return bytes(model_request.fields.get(name, b"null")).strip() not in (b"null", b"false")
