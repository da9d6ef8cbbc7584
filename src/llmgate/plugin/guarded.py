"""Routes of a surface, and operations that are apps, behind a credential and a decision of the surface's own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from starlette.routing import BaseRoute

from ..errors import Refusal, answer
from .call import Call

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from ..identity.new_keys import Scope as KeyScope


@dataclass(frozen=True, slots=True)
class Guarded:
    """A `route` of Starlette's (`Mount`, `WebSocketRoute`, ...) that is entered with a credential.

    What the rest says it says in `Operation`, too. A WebSocket without a good credential is closed before it opens.
    """

    route: BaseRoute
    credentials: Sequence[str]
    required: bool = True
    roles: Sequence[str] = ()
    access: Callable[[Call], Awaitable[Any]] | None = None
    group: str = ""
    scope: KeyScope | None = "account"
    session: bool = False


class AccessApp:
    """Asks `access` before a request reaches `app`: what it refuses is answered."""

    def __init__(self, app: ASGIApp, *, access: Callable[[Call], Awaitable[Any]]) -> None:
        self.app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] in ("http", "websocket"):
            try:
                await self._access(Call.of(scope, receive))
            except Refusal as refusal:
                await answer(scope, send, refusal)
                return
        await self.app(scope, receive, send)
