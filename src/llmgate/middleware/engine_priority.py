"""vLLM's own `priority` field, from the caller's class (`vllm serve --scheduling-policy priority`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import UNSET

from ..backends.endpoint import Endpoint
from ..exchange import StackLayer, exchange_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Collection, Mapping

    from starlette.types import ASGIApp, Receive, Scope, Send

    from ..backends.dialect import Dialect
    from ..exchange import Exchange

ENDPOINTS = frozenset({Endpoint.CHAT, Endpoint.COMPLETIONS, Endpoint.RESPONSES, Endpoint.EMBEDDINGS})


class EnginePriority(StackLayer):
    """Writes it for those `upstreams` of the route that ask for it; stands only where one does, below `ReadBody`.

    vLLM takes the lowest number first, the gate the highest class. What a caller has written there itself is taken
    out: nobody puts himself first.
    """

    collects_edits = True

    def __init__(self, app: ASGIApp, *, upstreams: Collection[str]) -> None:
        self.app = app
        self._upstreams = frozenset(upstreams)

    def within_stack(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """ASGI."""
        exchange = exchange_of(scope)
        if scope["type"] == "http" and exchange.model_request is not None:
            self._edit(exchange)
        return self.app(scope, receive, send)

    def _edit(self, exchange: Exchange) -> None:
        request, principal = exchange.model_request, exchange.principal
        assert request is not None, "it is read by now"
        ours = 0 if principal is None else -principal.priority
        if request.endpoint not in ENDPOINTS or not (ours or "priority" in request.fields):
            return

        def fields(_: Dialect) -> Mapping[str, object]:
            """For the upstream that is tried now."""
            return {"priority": ours or UNSET} if exchange.upstream in self._upstreams else {}

        exchange.edit(fields)
