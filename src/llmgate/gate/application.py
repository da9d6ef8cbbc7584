"""The Starlette application of one address."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from starlette.applications import Starlette

from ..middleware import BeginExchange, Errors
from .router import Router, entry_of, not_found
from .stack import wrap

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from starlette.middleware import Middleware
    from starlette.routing import BaseRoute
    from starlette.types import ASGIApp, Lifespan, Receive, Scope, Send


class Application(Starlette):
    """Starlette with the router of this package; `in_flight` counts the requests that are inside.

    `middleware` stands around everything, `default` answers what no route takes. Starlette's own two layers
    for errors stay out: every stack has `Errors`, which knows of answers that have begun and of a route's way
    to say what went wrong.
    """

    def __init__(
        self,
        routes: Iterable[BaseRoute],
        *,
        default: ASGIApp | None = None,
        middleware: Sequence[Middleware] = (),
        lifespan: Lifespan[Application] | None = None,
    ) -> None:
        super().__init__(middleware=middleware, lifespan=lifespan)
        lifespan_context = self.router.lifespan_context
        self.router = self._router = Router(routes, default=default or BeginExchange(Errors(not_found)))
        self.router.lifespan_context = lifespan_context
        self.in_flight = 0
        self._last_out: asyncio.Event | None = None

    def build_middleware_stack(self) -> ASGIApp:
        """See Starlette."""
        return entry_of(wrap(self._router.dispatch, self.user_middleware))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        scope["app"] = self
        if scope["type"] == "lifespan":
            await self.router.lifespan(scope, receive, send)
            return
        if self.middleware_stack is None:
            self.middleware_stack = self.build_middleware_stack()
        self.in_flight += 1
        try:
            await self.middleware_stack(scope, receive, send)
        finally:
            self.in_flight -= 1
            if self._last_out is not None and not self.in_flight:
                self._last_out.set()

    async def drained(self) -> None:
        """Returns once nobody is inside; for an application that lets nobody in any more."""
        if self.in_flight:
            self._last_out = asyncio.Event()
            await self._last_out.wait()
