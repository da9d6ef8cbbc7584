"""All connections of one address: the app that they lead to, their deadlines, and their end."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from .protocol import ConnectionLimits, GateProtocol

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from .cycle import Cycle

SWEEP = 1.0
"""Seconds, at most, between two looks at the deadlines; a client's time is over at most that much late."""


class Connections:
    """New requests go to `app`, new connections are held to `limits`; both may be exchanged."""

    def __init__(self, app: ASGIApp, limits: ConnectionLimits) -> None:
        self.app = app
        self.limits = limits
        self._open: set[GateProtocol] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._sweeper: asyncio.TimerHandle | None = None
        self._closing = False
        self._over = asyncio.Event()

    def accept(self) -> GateProtocol:
        """The protocol of a connection that has come in; called by the loop's server."""
        return GateProtocol(self, asyncio.get_running_loop())

    async def close(self, grace: float) -> None:
        """Answer what is open within `grace` seconds, close what is idle; then cancel, and wait for the apps.

        No connection may come in any more.
        """
        self._closing = True
        for connection in tuple(self._open):
            connection.finish()
        self._see_whether_over()
        with suppress(TimeoutError):
            async with asyncio.timeout(grace):
                await self._over.wait()
        for task in self._tasks:
            task.cancel()
        if self._tasks:  # they still write down what was used
            await asyncio.wait(tuple(self._tasks))
        for connection in tuple(self._open):
            connection.transport.abort()
        self._over.clear()
        self._see_whether_over()
        await self._over.wait()

    def hurry(self) -> None:
        """End the grace of a `close` that is under way."""
        self._over.set()

    # What the connections tell.

    def opened(self, connection: GateProtocol) -> int:
        """It stands; from now on its deadline is watched. Returns how many there are with it."""
        self._open.add(connection)
        if self._sweeper is None:
            self._sweep(connection.loop)
        if self._closing:
            connection.finish()
        return len(self._open)

    def closed(self, connection: GateProtocol) -> None:
        """Its socket is gone."""
        self._open.discard(connection)
        self._see_whether_over()

    def start(self, cycle: Cycle, loop: asyncio.AbstractEventLoop) -> None:
        """Give a request to the app."""
        scope, cycle.scope = cycle.scope, None
        assert scope is not None, "a request is started once"
        # An ASGI app is a coroutine function, though its type only says awaitable.
        task: asyncio.Task[None] = loop.create_task(self.app(scope, cycle.receive, cycle.send))  # type: ignore[arg-type]
        self._tasks.add(task)
        task.add_done_callback(cycle.ended)

    def ended(self, task: asyncio.Task[None]) -> None:
        """The app is done with a request."""
        self._tasks.discard(task)
        self._see_whether_over()

    def _see_whether_over(self) -> None:
        if self._closing and not self._open and not self._tasks:
            self._over.set()

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for connection in tuple(self._open):
            if connection.deadline <= now:
                connection.look(now)
        pause = min(SWEEP, self.limits.patience / 4)
        self._sweeper = loop.call_later(pause, self._sweep, loop) if self._open else None
