"""Which model a request means: fills in the default, resolves aliases, holds to the route's list."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from ..backends.endpoint import Endpoint
from ..backends.request import endpoint_of
from ..errors import BadRequest, ClientGone, NotFound, Refusal, answer
from ..exchange import exchange_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from starlette.types import ASGIApp, Receive, Scope, Send

    from ..backends.request import ModelRequest


class Models:
    """Puts `default` where a request names no model and the real name where it names an alias.

    With `allowed`, any other name is refused with OpenAI's 404 `model_not_found`. The names in `allowed`
    are those that clients use.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        default: str | None = None,
        aliases: Mapping[str, str] = MappingProxyType({}),
        allowed: Collection[str] | None = None,
        max_body: int = 16 * 1024 * 1024,
    ) -> None:
        self.app = app
        self._default = default
        self._aliases = dict(aliases)
        self._allowed = None if allowed is None else frozenset(allowed)
        self._max_body = max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http" or endpoint_of(scope["method"], scope["path"]) is Endpoint.OTHER:
            await self.app(scope, receive, send)
            return
        exchange = exchange_of(scope)
        try:
            model_request = exchange.model_request or await exchange.read(scope, receive, self._max_body)
            model = self._resolve(model_request)
        except Refusal as refusal:
            await answer(scope, send, refusal)
            return
        except ClientGone:
            return
        if model is not None and model != model_request.model:
            scope = exchange.edit(scope, {"model": model})
        exchange.model = model or ""
        await self.app(scope, exchange.receive, send)

    def _resolve(self, model_request: ModelRequest) -> str | None:
        name = model_request.model or self._default
        if self._allowed is not None and name is None:
            raise BadRequest("body.model: name the model", param="model")
        if self._allowed is not None and name not in self._allowed:
            raise NotFound(f"The model `{name}` does not exist.", code="model_not_found", param="model")
        return name if name is None else self._aliases.get(name, name)
