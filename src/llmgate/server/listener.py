"""One address that the gate listens on: a socket, its connections, and the app behind it, which can change."""

from __future__ import annotations

import asyncio
import errno
import socket
from dataclasses import replace
from typing import TYPE_CHECKING

from ..errors import ConfigError
from .connections import Connections
from .protocol import ConnectionLimits

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from ..config import Address, Gate

BACKLOG = 2048


class Listener:
    """Listens on one address from the start, and serves once there is an app; `serve` may exchange it.

    A listening socket that was `inherited` from a supervisor stays the supervisor's. Raises `ConfigError`
    if the address cannot be had.
    """

    def __init__(self, address: Address, inherited: socket.socket | None = None) -> None:
        self.address = address
        self._bound_here = inherited is None
        self._socket = inherited or bind(address)
        self._connections: Connections | None = None
        self._accepting: asyncio.Task[asyncio.Server] | None = None
        self._grace = 0.0

    @property
    def port(self) -> int:
        """The port that was bound, also where the address says 0."""
        name = self._socket.getsockname()
        return int(name[1]) if isinstance(name, tuple) else 0

    def serve(self, app: ASGIApp, settings: Gate) -> None:
        """Give new requests to `app`, and hold new connections to `settings`."""
        limits = ConnectionLimits(settings.max_header, settings.header_timeout, settings.max_connections)
        self._grace = settings.shutdown_grace
        if self._connections is None:
            self._connections = Connections(app, limits)
            accepting = self._accept(self._connections)
            self._accepting = asyncio.create_task(accepting, name=f"llmgate-{self.address}")
        self._connections.app = app
        self._connections.limits = limits

    async def _accept(self, connections: Connections) -> asyncio.Server:
        loop = asyncio.get_running_loop()
        create = loop.create_unix_server if self._socket.family == socket.AF_UNIX else loop.create_server
        return await create(connections.accept, sock=self._socket, backlog=BACKLOG)

    async def stop(self) -> None:
        """Accept no more, let open requests finish for as long as the grace lasts, then break them off."""
        if self._bound_here and self.address.path is not None:
            self.address.path.unlink(missing_ok=True)
        if self._connections is not None and self._accepting is not None:
            server = await self._accepting
            await asyncio.sleep(0)  # what was accepted a moment ago comes in: asyncio's server would lose it
            server.close()
            await self._connections.close(self._grace)
        self._socket.close()

    def hurry(self) -> None:
        """End the grace of a `stop` that is under way."""
        if self._connections is not None:
            self._connections.hurry()


def bind(address: Address) -> socket.socket:
    """A listening socket. Raises `ConfigError` if the address cannot be had."""
    try:
        sock = _bind_unix(address) if address.path is not None else _bind_tcp(address)
    except OSError as error:
        raise _not_to_be_had(address, error) from error
    return _listening(sock)


def bind_for(address: Address, workers: int) -> list[socket.socket]:
    """A listening socket for each of several workers, among which the kernel spreads new connections.

    Sockets that share a port (SO_REUSEPORT) have queues of their own: no worker takes all of a burst, and
    what waits for a worker that died is answered by the one that takes its place. A Unix socket has one
    queue for all. Raises `ConfigError` if the address cannot be had.
    """
    if address.path is not None:
        one = bind(address)
        return [one, *(one.dup() for _ in range(workers - 1))]
    bind(address).close()  # sharing the port would succeed beside another gate, too
    sockets: list[socket.socket] = []
    try:
        for _ in range(workers):
            port = sockets[0].getsockname()[1] if sockets else address.port
            sockets.append(_bind_tcp(replace(address, port=port), shared=True))
    except OSError as error:
        for sock in sockets:
            sock.close()
        raise _not_to_be_had(address, error) from error
    return [_listening(sock) for sock in sockets]


def _listening(sock: socket.socket) -> socket.socket:
    sock.listen(BACKLOG)
    sock.setblocking(False)
    return sock


def _not_to_be_had(address: Address, error: OSError) -> ConfigError:
    return ConfigError([f"gate.listen: {address}: {error.strerror}; stop what uses it or choose another"])


def _bind_tcp(address: Address, *, shared: bool = False) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    # Named, because asyncio sets TCP_NODELAY only on sockets that say what they speak.
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind((address.host, address.port))
    except OSError:
        sock.close()
        raise
    return sock


def _bind_unix(address: Address) -> socket.socket:
    """A socket file that nobody listens on any more is left over from a process that was killed."""
    assert address.path is not None
    if address.path.is_socket():
        with socket.socket(socket.AF_UNIX) as probe:
            answered = probe.connect_ex(str(address.path)) == 0
        if answered:
            raise OSError(errno.EADDRINUSE, "another process listens there")
        address.path.unlink()
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.bind(str(address.path))
    except OSError:
        sock.close()
        raise
    return sock
