"""Fields of vLLM's own that the gate writes into a request: the caller's priority, and a wish for its times."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import UNSET

from ..backends.endpoint import Endpoint
from ..exchange import exchange_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from starlette.types import ASGIApp, Receive, Scope, Send

    from ..backends.dialect import Dialect

WITH_PRIORITY = frozenset({Endpoint.CHAT, Endpoint.COMPLETIONS, Endpoint.RESPONSES, Endpoint.EMBEDDINGS})
WITH_METRICS = frozenset({Endpoint.CHAT, Endpoint.COMPLETIONS})


class EngineFields:
    """Stands only where an upstream of the route asks for it; below whatever reads the body.

    `priority` and `metrics` name the upstreams that get each. vLLM takes the lowest number first, the gate the highest
    class; what a caller has written there itself is taken out, as nobody may put himself first.
    """

    collects_edits = True

    def __init__(
        self, app: ASGIApp, *, priority: Collection[str] = (), metrics: Collection[str] = ()
    ) -> None:
        self.app = app
        self._priority = frozenset(priority)
        self._metrics = frozenset(metrics)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        exchange = exchange_of(scope)
        request = exchange.model_request
        if scope["type"] == "http" and request is not None and request.form is None:
            principal = exchange.principal
            ours = 0 if principal is None else -principal.priority
            endpoint, written = request.endpoint, "priority" in request.fields

            def fields(_: Dialect) -> Mapping[str, object]:
                """For the upstream that is tried now."""
                changes: dict[str, object] = {}
                if exchange.upstream in self._priority and endpoint in WITH_PRIORITY and (ours or written):
                    changes["priority"] = ours or UNSET
                if exchange.upstream in self._metrics and endpoint in WITH_METRICS:
                    changes["include_metrics"] = True
                return changes

            exchange.edit(fields)
        await self.app(scope, receive, send)
