"""One address that the gate listens on: a socket, a uvicorn server, and the app behind it, which can change."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING

import uvicorn

from ..errors import ConfigError
from .protocol import protocol_with

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from ..config import Address, Gate

BACKLOG = 2048
KEEP_ALIVE = 75
"""Seconds that an idle connection is kept: as long as nginx keeps it, longer than clients keep theirs."""


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: signals are for the whole process, see `run`."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Listener:
    """Serves `app`, which may be exchanged at any time, on one address."""

    def __init__(self, address: Address, settings: Gate, app: ASGIApp) -> None:
        self.address = address
        self.app = app
        self._socket = bind(address)
        protocol = protocol_with(max_header=settings.max_header, patience=settings.header_timeout)
        self._server = _Server(
            uvicorn.Config(
                self._serve,
                http=protocol,  # type: ignore[arg-type]
                ws="none",
                lifespan="off",
                interface="asgi3",
                log_config=None,
                access_log=False,
                server_header=False,
                date_header=False,
                limit_concurrency=settings.max_connections,
                timeout_keep_alive=KEEP_ALIVE,
                timeout_graceful_shutdown=max(1, round(settings.shutdown_grace)),
            )
        )
        self._task: asyncio.Task[None] | None = None

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)

    @property
    def port(self) -> int:
        """The port that was bound, also where the address says 0."""
        name = self._socket.getsockname()
        return int(name[1]) if isinstance(name, tuple) else 0

    def start(self) -> None:
        """Begin to accept connections."""
        self._task = asyncio.create_task(self._server.serve([self._socket]), name=f"llmgate-{self.address}")

    async def stop(self, *, force: bool = False) -> None:
        """Accept no more, let open requests finish for as long as the grace lasts (not at all with `force`)."""
        self._server.should_exit = True
        self._server.force_exit = force
        if self._task is not None:
            await self._task
        if self.address.path is not None:
            self.address.path.unlink(missing_ok=True)


def bind(address: Address) -> socket.socket:
    """A listening socket. Raises `ConfigError` if the address cannot be had."""
    try:
        if address.path is not None:
            return _bind_unix(address)
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        sock = socket.socket(family)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((address.host, address.port))
            sock.listen(BACKLOG)
        except OSError:
            sock.close()
            raise
    except OSError as error:
        raise ConfigError(
            [f"gate.listen: {address}: {error.strerror}; stop what uses it or choose another"]
        ) from error
    sock.setblocking(False)
    return sock


def _bind_unix(address: Address) -> socket.socket:
    assert address.path is not None
    if address.path.is_socket():
        with (
            socket.socket(socket.AF_UNIX) as probe,
            contextlib.suppress(ConnectionRefusedError, FileNotFoundError),
        ):
            probe.connect(str(address.path))
            raise OSError(98, "another process listens there")
        address.path.unlink()
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(address.path))
    sock.listen(BACKLOG)
    sock.setblocking(False)
    return sock
