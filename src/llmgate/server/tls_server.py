"""Accepts connections with TLS: counted, bounded and given up like any others from the moment they are accepted.

asyncio's own server tells of a connection after the handshake. Who connects and says nothing is counted nowhere, then,
and a few thousand of them take all file descriptors.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from math import inf
from typing import TYPE_CHECKING, cast

from .connections import Connections
from .wire import address_of

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Callable

    from uvicorn.server import ServerState

    from .limits import ConnectionLimits

RETRY_S = 0.1
"""After accepting has failed, for want of descriptors say."""


class TlsServer:
    """Accepts by the listening `sock`, which it owns, until it is closed; `make` makes the protocols.

    A client has the time for a head to agree on TLS by `context`, and may be evicted meanwhile. One too many is closed
    without a word: an answer would cost a handshake.
    """

    def __init__(
        self,
        sock: socket.socket,
        make: Callable[[], asyncio.Protocol],
        context: ssl.SSLContext,
        server_state: ServerState,
        limits: Callable[[], ConnectionLimits],
    ) -> None:
        self._sock = sock
        self._make = make
        self._context = context
        self._server_state = server_state
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self._accepting = self._loop.create_task(self._accept())

    def close(self) -> None:
        """Accept no more. What has been accepted goes on."""
        self._accepting.cancel()
        self._accepting.add_done_callback(lambda _: self._sock.close())

    async def _accept(self) -> None:
        while True:
            try:
                sock, _ = await self._loop.sock_accept(self._sock)
            except OSError:
                await asyncio.sleep(RETRY_S)
                continue
            TlsHandshake(sock, self._make, self._context, self._server_state, self._limits())


class TlsHandshake:
    """A connection until both sides have agreed on TLS; `Connections` watches it."""

    def __init__(
        self,
        sock: socket.socket,
        make: Callable[[], asyncio.Protocol],
        context: ssl.SSLContext,
        server_state: ServerState,
        limits: ConnectionLimits,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.transport = cast("asyncio.Transport", self)
        self.counted_as: str | None = None
        self.read_deadline = self.loop.time() + limits.header_timeout
        self.write_deadline = inf
        self._sock = sock
        self._is_ours = True  # and not that of a transport
        self._make = make
        self._server_state = server_state
        self._connections = Connections.of(server_state)
        try:
            client = address_of(sock.getpeername())
        except OSError:  # it has gone already
            client = None
        if client is not None:
            self.counted_as = limits.bounded(client[0])
        server_state.connections.add(self)  # type: ignore[arg-type]
        if self._connections.opened(self, limits):
            self._task = self.loop.create_task(self._agree(context, limits.header_timeout))
            self._task.add_done_callback(self._ended)
        else:
            self._leave()
            sock.close()

    def read_timed_out(self, now: float) -> None:
        """Its client has not agreed in time."""
        self._connections.ended["timed_out"] += 1
        self.abort()

    def write_timed_out(self, now: float) -> None:
        """Nothing was written that has a deadline."""

    def evict(self) -> None:
        """Another connection needs the place."""
        self.abort()

    def abort(self) -> None:
        """End it, as a transport's `abort` does."""
        self.read_deadline = inf
        self._task.cancel()

    def shutdown(self) -> None:
        """uvicorn stops: nothing has been asked yet."""
        self.abort()

    async def _agree(self, context: ssl.SSLContext, seconds: float) -> None:
        """asyncio's own deadline comes after that of `Connections`, which is in `seconds`."""
        self._is_ours = False
        with suppress(OSError):  # no TLS, no good certificate, or gone: its client has been told
            await self.loop.connect_accepted_socket(
                self._agreed, self._sock, ssl=context, ssl_handshake_timeout=2 * seconds
            )

    def _ended(self, _: asyncio.Task[None]) -> None:
        self._leave()
        if self._is_ours:  # it was aborted before anything of it ran
            self._sock.close()

    def _agreed(self) -> asyncio.Protocol:
        return _Agreed(self._make, self._leave)

    def _leave(self) -> None:
        self._server_state.connections.discard(self)
        self._connections.closed(self)


class _Agreed(asyncio.Protocol):
    """Makes room for the protocol of what is said, once there is a transport for it."""

    def __init__(self, make: Callable[[], asyncio.Protocol], leave: Callable[[], None]) -> None:
        self._make = make
        self._leave = leave

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._leave()
        protocol = self._make()
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
