"""The whole gate inside another server: around any ASGI app, with no proxy in between.

    LLMGATE_CONFIG=gate.toml vllm serve MODEL --middleware llmgate.gate.embed.Gate

    app = Gate(app, "gate.toml")                    # or around an app of one's own

In gate.toml the app is an upstream: `urls = ["app:"]`. Every process of the server has a gate of its own;
they share the store as the workers of `llmgate serve` do.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from ..errors import GateError, Unavailable, answer
from .hosted import open_hosted

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = logging.getLogger("llmgate")


class Gate:
    """Put around `app` by `app.add_middleware(Gate)`, `Gate(app)`, or a server's option for middleware.

    `config` is the path of gate.toml; without it, `LLMGATE_CONFIG` names it. The gate is opened when the
    server starts the app, or with the first request where the server knows no lifespan, and closed when the
    server stops it. A gate that cannot be opened keeps the app from starting, or answers 503 to everything.
    """

    def __init__(self, app: ASGIApp, config: str | Path | None = None) -> None:
        self.app = app
        self._path = config
        self._stay: _Stay | None = None
        self._gate: ASGIApp | None = None
        self._context: Scope = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "lifespan":
            await self._live(scope, receive, send)
            return
        if (opened := self._gate) is None:
            try:
                opened = await self._enter(scope)
            except GateError as error:
                log.error("the gate cannot be opened: %s", error)  # noqa: TRY400 - it says where and what to do
                await answer(scope, send, Unavailable("The gate cannot be opened. Its log says why."))
                return
        await opened(scope, receive, send)

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Open before the app starts up; close after it has shut down, but before the server hears of that."""

        async def closing(message: Message) -> None:
            if message["type"] in ("lifespan.shutdown.complete", "lifespan.shutdown.failed"):
                await self._leave()
            await send(message)

        try:
            await self._enter(scope)
        except Exception as error:
            # Servers take an exception here for an app that knows no lifespan, and would serve it.
            if not isinstance(error, GateError):
                log.exception("the gate cannot be opened")
            await receive()
            await send({"type": "lifespan.startup.failed", "message": f"llmgate: {error}"})
            return
        try:
            await self.app(scope, receive, closing)
        finally:
            await self._leave()

    async def _enter(self, scope: Scope) -> ASGIApp:
        if self._stay is None:
            # What the app finds in every scope of its server, the gate's own questions have to bring along.
            self._context = {name: scope[name] for name in ("app", "state") if name in scope}
            self._stay = _Stay(open_hosted(self._path, inner=self._inner))
        stay = self._stay
        try:
            self._gate = await asyncio.shield(stay.opened)
        except Exception:
            if self._stay is stay:
                self._stay = None
            raise
        return self._gate

    async def _leave(self) -> None:
        stay, self._stay, self._gate = self._stay, None, None
        if stay is not None:
            await stay.end()

    async def _inner(self, scope: Scope, receive: Receive, send: Send) -> None:
        own = {name: value for name, value in scope.items() if name != "app"}  # that is the gate's by now
        await self.app({**self._context, **own}, receive, send)


class _Stay:
    """An open gate, held by a task of its own: the request that opens it may be cancelled, the gate is not."""

    def __init__(self, gate: AbstractAsyncContextManager[ASGIApp]) -> None:
        loop = asyncio.get_running_loop()
        self.opened: asyncio.Future[ASGIApp] = loop.create_future()
        self._over = asyncio.Event()
        self._task = loop.create_task(self._hold(gate), name="llmgate-embedded")

    async def _hold(self, gate: AbstractAsyncContextManager[ASGIApp]) -> None:
        try:
            async with gate as opened:
                self.opened.set_result(opened)
                await self._over.wait()
        except Exception as error:
            if self.opened.done():
                raise
            self.opened.set_exception(error)

    async def end(self) -> None:
        """Let go of the gate, and return once it is closed."""
        self._over.set()
        await self._task
