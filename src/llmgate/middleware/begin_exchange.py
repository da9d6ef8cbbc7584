"""Begins the one record that the layers of a request share, and says in it which route the request is on."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ..errors import openai_shape
from ..exchange import Exchange, StackLayer, request_ids

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.types import ASGIApp, Receive, Scope, Send

    from ..errors import ErrorShape


class BeginExchange(StackLayer):
    """Puts a new `Exchange` into `scope["llmgate"]`: the outermost layer of every stack.

    `route` and `surface` are names for metrics and records, `error_shape` is how errors are told on this route.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        route: str = "-",
        surface: str = "",
        error_shape: ErrorShape = openai_shape,
        timer: Callable[[], float] = time.monotonic,
        new_id: Callable[[], str] | None = None,
    ) -> None:
        self.app = app
        self._route = route
        self._surface = surface
        self._error_shape = error_shape
        self._timer = timer
        self._new_id = new_id or request_ids().__next__

    def within_stack(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """ASGI. Not a coroutine of its own: every request passes here."""
        if scope["type"] != "lifespan":
            scope["llmgate"] = Exchange(
                self._new_id(), self._timer(), self._route, self._surface, self._error_shape
            )
        return self.app(scope, receive, send)
