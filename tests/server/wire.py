"""A connection without a socket: bytes in by hand, what is written and done to the transport to be looked at."""

import asyncio
from collections.abc import Iterable
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.server import ServerState

from llmgate.server.connections import Connections
from llmgate.server.limits import ConnectionLimits
from llmgate.server.listener import ServerConfig
from llmgate.server.protocol import HttpProtocol

LIMITS = ConnectionLimits(max_header=1000, header_timeout=10.0, max_connections=100)
GET = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"


class Wire(asyncio.Transport):
    """The transport of one connection to `app`; `writes` has what was written, call by call."""

    def __init__(
        self,
        app: ASGIApp,
        limits: ConnectionLimits = LIMITS,
        *,
        state: ServerState | None = None,
        client: str = "192.0.2.1",
    ) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.reading = True
        self.closed = ""
        self.unsent = 0
        self.client = client
        self.state = state or ServerState()
        self.connections = Connections.of(self.state)
        self.connection = HttpProtocol(
            config=ServerConfig(app, limits), server_state=self.state, app_state={}, _loop=None
        )
        self.connection.connection_made(self)

    @property
    def said(self) -> bytes:
        return b"".join(self.writes)

    def feed(self, data: bytes) -> None:
        self.connection.data_received(data)

    async def close_by_peer(self) -> None:
        self.connection.connection_lost(None)
        await asyncio.wait(tuple(self.state.tasks))

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"peername": (self.client, 4711), "sockname": ("127.0.0.1", 8000)}.get(name, default)

    def write(self, data: Any) -> None:
        self.writes.append(bytes(data))

    def writelines(self, list_of_data: Iterable[Any]) -> None:
        self.writes.append(b"".join(list_of_data))

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def can_write_eof(self) -> bool:
        return True

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

    @staticmethod
    async def answer_at_once(scope: Scope, receive: Receive, send: Send) -> None:
        """The same answer, from an app that waits for nobody."""
        app = Steps()
        app.go_on.set()
        app.finish.set()
        await app(scope, receive, send)
