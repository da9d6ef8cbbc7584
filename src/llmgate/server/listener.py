"""One address that the gate listens on: a uvicorn server with our protocol, and an app that can be exchanged."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import Counter
from functools import cached_property
from typing import TYPE_CHECKING

import uvicorn
from uvicorn.config import WS_PROTOCOLS
from uvicorn.importer import import_from_string

from .connections import Connections
from .protocol import HttpProtocol
from .sockets import BACKLOG
from .tls_server import TlsServer

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable

    from starlette.types import ASGIApp, Receive, Scope, Send

    from ..config import Address
    from .limits import ConnectionLimits

log = logging.getLogger("llmgate")


class CurrentApp:
    """An ASGI app that stands for whichever is in force when a request begins."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """ASGI: at once the coroutine of the app itself, so that standing for it costs next to nothing."""
        return self.app(scope, receive, send)


class ServerConfig(uvicorn.Config):
    """uvicorn's settings for a gate: nothing around the app, no log and headers of its own, and our `limits`."""

    def __init__(self, app: ASGIApp, limits: ConnectionLimits) -> None:
        super().__init__(
            app,
            http=HttpProtocol,
            interface="asgi3",
            ws="none",  # see `ws_protocol_class`
            lifespan="off",  # the process opens the gate before it listens
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            backlog=BACKLOG,
        )
        self.limits = limits
        self.load()
        del self.ws_protocol_class  # what `load` made of "none"

    @cached_property
    def ws_protocol_class(self) -> type[asyncio.Protocol] | None:  # type: ignore[override]
        """uvicorn's for WebSockets, if one is installed; loaded when one is first asked for, since it takes 1 MB."""
        found: type[asyncio.Protocol] | None = import_from_string(WS_PROTOCOLS["auto"])
        return found


class _Server(uvicorn.Server):
    """uvicorn's server, with three differences: handshakes are bounded, what it cancels is waited for, and idle
    connections are not told as requests."""

    config: ServerConfig

    def __init__(self, config: ServerConfig) -> None:
        super().__init__(config)
        self.lifespan = config.lifespan_class(config)
        self.servers: list[asyncio.Server | TlsServer] = []  # type: ignore[assignment]
        self.grace = 0.0

    async def listen(self, sock: socket.socket, context: ssl.SSLContext | None) -> None:
        """Accept connections, whatever was accepted by before; `sock` stays open."""
        loop = asyncio.get_running_loop()
        before = self.servers
        own = sock.dup()
        if context is None:
            self.servers = [await loop.create_server(self._protocol, sock=own, backlog=self.config.backlog)]
        else:
            self.servers = [
                TlsServer(own, self._protocol, context, self.server_state, lambda: self.config.limits)
            ]
        self.started = True
        await _close(before)

    def _protocol(self) -> asyncio.Protocol:
        return HttpProtocol(config=self.config, server_state=self.server_state, app_state={})

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's; returns when no app runs any more, since they write down what was used."""
        await _close(self.servers)
        self.servers = []
        await super().shutdown(sockets)
        state = self.server_state
        for task in tuple(state.tasks):
            task.cancel()
        if state.tasks:
            await asyncio.wait(tuple(state.tasks))
        for connection in tuple(state.connections):
            connection.transport.abort()
        while state.connections:  # noqa: ASYNC110 - what was aborted is lost a turn or two later
            await asyncio.sleep(0)

    async def _wait_tasks_to_complete(self) -> None:
        """As uvicorn's, which has no words of its own for a connection that was idle."""
        try:
            async with asyncio.timeout(self.grace):
                await super()._wait_tasks_to_complete()
        except TimeoutError:
            if running := len(self.server_state.tasks):
                log.warning("%d requests were not over after %g s, and are broken off", running, self.grace)

    def force_close(self) -> None:
        """Do not wait for what is open any more."""
        self.force_exit = True
        for connection in tuple(self.server_state.connections):
            connection.transport.abort()


async def _close(servers: list[asyncio.Server | TlsServer]) -> None:
    """Stop accepting. What was accepted a moment ago comes in first: asyncio's server would lose it."""
    if servers:
        await asyncio.sleep(0)
    for server in servers:
        server.close()


class Listener:
    """Listens on `address` by `sock`, and serves once there is an app; `serve` may exchange it.

    With `owned` the file of a Unix socket goes when the listener stops.
    """

    def __init__(self, address: Address, sock: socket.socket, *, owned: bool = True) -> None:
        self.address = address
        self._owned = owned
        self._socket = sock
        self._server: _Server | None = None
        self._app: CurrentApp | None = None
        self._tls: ssl.SSLContext | None = None

    @property
    def port(self) -> int:
        """The port that was bound, also where the address says 0."""
        name = self._socket.getsockname()
        return int(name[1]) if isinstance(name, tuple) else 0

    @property
    def open_connections(self) -> int:
        """How many clients are connected now."""
        return 0 if self._server is None else len(self._server.server_state.connections)

    @property
    def ended(self) -> Counter[str]:
        """How many connections the gate has ended, by reason: see `Connections.ended`."""
        return Counter() if self._server is None else Connections.of(self._server.server_state).ended

    async def serve(
        self, app: ASGIApp, limits: ConnectionLimits, *, grace: float, tls: ssl.SSLContext | None = None
    ) -> None:
        """Give new requests to `app`, hold new connections to `limits`, make them by `tls`.

        Open requests get `grace` seconds when it stops.
        """
        if self._server is None or self._app is None:
            self._app = CurrentApp(app)
            self._server = _Server(ServerConfig(self._app, limits))
            await self._server.listen(self._socket, tls)
        else:
            self._app.app = app
            self._server.config.limits = limits
            if tls is not self._tls:
                await self._server.listen(self._socket, tls)
        self._tls = tls
        self._server.grace = grace

    async def stop(self) -> None:
        """Accept no more, let open requests finish for as long as the grace lasts, then break them off."""
        if self._owned and self.address.path is not None:
            self.address.path.unlink(missing_ok=True)
        self._socket.close()
        if self._server is not None:
            await self._server.shutdown()

    def force_close(self) -> None:
        """End the grace of a `stop` that is under way."""
        if self._server is not None:
            self._server.force_close()
