"""The whole gate inside another server: around any ASGI app, with no proxy in between.

    LLMGATE_CONFIG=gate.toml vllm serve MODEL --middleware llmgate.gate.embed.Gate

    app = Gate(app, "gate.toml")                    # or around an app of one's own

In gate.toml the app is an upstream: `urls = ["app:"]`. Every process of the server has a gate of its own;
they share the store as the workers of `llmgate serve` do.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ..config import ASGI_APP, load
from ..errors import ConfigError, GateError, Unavailable, answer
from ..plugin.loader import migrations_of
from ..store import migrate
from .build import open_gate
from .runtime import open_runtime

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from ..config import Config

log = logging.getLogger("llmgate")

CONFIG = "LLMGATE_CONFIG"
"""The environment variable that names gate.toml where nobody can hand it over."""
COUNTERS = "PROMETHEUS_MULTIPROC_DIR"
"""The environment variable by which servers of several processes name the folder that they count in."""


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
        self._entrance: ASGIApp | None = None
        self._context: Scope = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "lifespan":
            await self._live(scope, receive, send)
            return
        if (entrance := self._entrance) is None:
            try:
                entrance = await self._enter(scope)
            except GateError as error:
                log.error("the gate cannot be opened: %s", error)  # noqa: TRY400 - it says where and what to do
                await answer(scope, send, Unavailable("The gate cannot be opened. Its log says why."))
                return
        await entrance(scope, receive, send)

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
            self._stay = _Stay(self._open())
        stay = self._stay
        try:
            self._entrance = await asyncio.shield(stay.entrance)
        except Exception:
            if self._stay is stay:
                self._stay = None
            raise
        return self._entrance

    async def _leave(self) -> None:
        stay, self._stay, self._entrance = self._stay, None, None
        if stay is not None:
            await stay.end()

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[ASGIApp]:
        config = load(_named(self._path))
        _fits(config)
        await migrate(config.store.url.reveal(), sets=migrations_of(config))
        folder = os.environ.get(COUNTERS)
        counters = None if folder is None else Path(folder)
        async with (
            open_runtime(config, inner=self._inner, counters=counters) as runtime,
            open_gate(config, runtime) as gate,
        ):
            yield gate.apps[config.gate.listen[0]]
            await gate.drained()

    async def _inner(self, scope: Scope, receive: Receive, send: Send) -> None:
        own = {name: value for name, value in scope.items() if name != "app"}  # that is the gate's by now
        await self.app({**self._context, **own}, receive, send)


class _Stay:
    """An open gate, held by a task of its own: the request that opens it may be cancelled, the gate is not."""

    def __init__(self, gate: AbstractAsyncContextManager[ASGIApp]) -> None:
        loop = asyncio.get_running_loop()
        self.entrance: asyncio.Future[ASGIApp] = loop.create_future()
        self._over = asyncio.Event()
        self._task = loop.create_task(self._hold(gate), name="llmgate-embedded")

    async def _hold(self, gate: AbstractAsyncContextManager[ASGIApp]) -> None:
        try:
            async with gate as entrance:
                self.entrance.set_result(entrance)
                await self._over.wait()
        except Exception as error:
            if self.entrance.done():
                raise
            self.entrance.set_exception(error)

    async def end(self) -> None:
        """Let go of the gate, and return once it is closed."""
        self._over.set()
        await self._task


def _named(path: str | Path | None) -> Path:
    named = path or os.environ.get(CONFIG)
    if not named:
        raise ConfigError([f"{CONFIG}: not set: name the gate.toml of this gate there"])
    return Path(named)


def _fits(config: Config) -> None:
    """Inside another server there is one address, which is not the gate's; and the app has to be somewhere."""
    problems = []
    if not any(upstream.is_asgi_app for upstream in config.upstreams.values()):
        problems.append(f'upstreams: nothing leads to the app: write urls = ["{ASGI_APP}"] for one of them')
    addresses = {f"routes[{index}]": route.listen for index, route in enumerate(config.routes)}
    addresses |= {f"plugins.{name}": plugin.listen for name, plugin in config.plugins.items()}
    addresses["metrics"] = config.metrics.listen
    problems += [
        f"{place}.listen: {address}: inside another server there is only its address: leave it out"
        for place, address in addresses.items()
        if address is not None
    ]
    if problems:
        raise ConfigError(problems)
