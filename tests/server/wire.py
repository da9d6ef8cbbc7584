"""A connection without a socket: bytes in by hand, what is written and done to the transport to be looked at."""

import asyncio
from collections.abc import Iterable
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from llmgate.server.connections import Connections
from llmgate.server.protocol import ConnectionLimits, GateProtocol

LIMITS = ConnectionLimits(max_header=1000, patience=10.0, max_connections=100)
GET = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"


class Wire(asyncio.Transport):
    """The transport of one connection to `app`; `writes` has what was written, call by call."""

    def __init__(self, app: ASGIApp, limits: ConnectionLimits = LIMITS) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.reading = True
        self.closed = ""
        self.connections = Connections(app, limits)
        self.connection: GateProtocol = self.connections.accept()
        self.connection.connection_made(self)

    @property
    def said(self) -> bytes:
        return b"".join(self.writes)

    def feed(self, data: bytes) -> None:
        self.connection.data_received(data)

    async def close_by_peer(self) -> None:
        self.connection.connection_lost(None)
        await self.connections.close(0.0)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"peername": ("192.0.2.1", 4711), "sockname": ("127.0.0.1", 8000)}.get(name, default)

    def write(self, data: Any) -> None:
        self.writes.append(bytes(data))

    def writelines(self, list_of_data: Iterable[Any]) -> None:
        self.writes.append(b"".join(list_of_data))

    def write_eof(self) -> None:
        self.closed = self.closed or "half"

    def is_closing(self) -> bool:
        return self.closed in ("closed", "aborted")

    def close(self) -> None:
        self.closed = "closed"

    def abort(self) -> None:
        self.closed = "aborted"

    def pause_reading(self) -> None:
        assert self.reading
        self.reading = False

    def resume_reading(self) -> None:
        assert not self.reading
        self.reading = True


async def turns(count: int = 5) -> None:
    """Let the loop turn."""
    for _ in range(count):
        await asyncio.sleep(0)


class Steps:
    """An app that stands still before its answer, and before its end, until it is let go."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.go_on = asyncio.Event()
        self.finish = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.paths.append(scope["path"])
        await self.go_on.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"begun", "more_body": True})
        await self.finish.wait()
        await send({"type": "http.response.body", "body": b"ended"})
