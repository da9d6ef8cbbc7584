"""Servers for tests, on real sockets in the test's own loop: an ASGI app under uvicorn's protocol, and an upstream
that does exactly what its script says."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Self

import uvicorn
from uvicorn.lifespan.on import LifespanOn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from starlette.types import ASGIApp

PATIENCE = 5.0
"""Seconds after which a test that waits for something has failed."""


@asynccontextmanager
async def serve(
    app: ASGIApp, protocol: Callable[..., asyncio.Protocol] = HttpToolsProtocol
) -> AsyncIterator[str]:
    """`app` under uvicorn's HTTP protocol (httptools), or one made of it, on a free port; yields its base URL.

    This is uvicorn without its `Server`, whose ticks and signal handlers would cost each test 0.2 s.
    """
    config = uvicorn.Config(
        app,
        http="httptools",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
    )
    config.load()
    state = ServerState()
    lifespan = LifespanOn(config)
    await lifespan.startup()
    assert not lifespan.should_exit, "the app's lifespan failed to start"
    server = await asyncio.get_running_loop().create_server(
        lambda: protocol(config=config, server_state=state, app_state=lifespan.state), "127.0.0.1", 0
    )
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in list(state.tasks):
            task.cancel()
        await asyncio.gather(*state.tasks, return_exceptions=True)
        for connection in list(state.connections):
            connection.transport.abort()
        await server.wait_closed()
        await lifespan.shutdown()


class Peer:
    """The upstream's side of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def head(self) -> bytes:
        """The next request's head, with the empty line; raises `EOFError` if there is none."""
        return await self.reader.readuntil(b"\r\n\r\n")

    async def request(self) -> tuple[bytes, bytes]:
        """The next request: head, and body with its chunking taken off."""
        head = await self.head()
        if b"\r\ntransfer-encoding: chunked\r\n" in head:
            pieces = []
            while size := int(await self.reader.readline(), 16):
                pieces.append(await self.reader.readexactly(size))
                await self.reader.readexactly(2)
            await self.reader.readexactly(2)
            return head, b"".join(pieces)
        length = next(
            (line[16:] for line in head.split(b"\r\n") if line.startswith(b"content-length: ")), b"0"
        )
        return head, await self.reader.readexactly(int(length))

    async def send(self, data: bytes) -> None:
        """Write exactly `data` and wait until the other side has made room for it."""
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self, body: bytes = b"", *, status: bytes = b"200 OK", headers: bytes = b"") -> None:
        """A plain answer with Content-Length."""
        await self.send(b"HTTP/1.1 %b\r\n%bcontent-length: %d\r\n\r\n%b" % (status, headers, len(body), body))

    async def chunk(self, data: bytes) -> None:
        """One chunk of a chunked body; b"" is the last."""
        await self.send(b"%x\r\n%b\r\n" % (len(data), data))

    async def gone(self) -> None:
        """Returns when the gate has closed the connection."""
        with contextlib.suppress(ConnectionError):
            while await self.reader.read(65536):
                pass

    def close(self) -> None:
        """FIN."""
        self.writer.close()

    def reset(self) -> None:
        """Drop the connection without a goodbye. One that has closed in order stays as it is."""
        transport = self.writer.transport
        if not transport.is_closing() or transport.get_write_buffer_size():
            transport.abort()


class ScriptedUpstream:
    """A raw TCP server that runs `script(peer)` for each connection; its errors come out at the end of the block.

    A connection is closed when its script returns. A script that meets the end of its connection while it waits
    for a request has ended in order.
    """

    def __init__(self, script: Callable[[Peer], Awaitable[None]], *, port: int = 0) -> None:
        self._script = script
        self._tasks: list[asyncio.Task[None]] = []
        self._peers: list[Peer] = []
        self.port = port
        self.url = ""

    @property
    def connections(self) -> int:
        """How many were accepted."""
        return len(self._tasks)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        ends = await asyncio.gather(*self._tasks, return_exceptions=True)
        for peer in self._peers:  # a script that was cancelled before its first step has closed nothing
            peer.reset()
        if kind is None:
            for end in ends:
                if isinstance(end, Exception):
                    raise end

    def stop(self) -> None:
        """Take no more connections; those that are there stay."""
        self._server.close()

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(reader, writer)
        self._peers.append(peer)
        self._tasks.append(asyncio.get_running_loop().create_task(self._serve(peer)))

    async def _serve(self, peer: Peer) -> None:
        try:
            with contextlib.suppress(EOFError, ConnectionError):
                await self._script(peer)
        finally:
            peer.close()
            with contextlib.suppress(ConnectionError):
                await peer.writer.wait_closed()


async def until(true: Callable[[], object]) -> None:
    """Let the loop turn until `true()`; for states that no event tells of."""
    async with asyncio.timeout(PATIENCE):
        while not true():  # noqa: ASYNC110
            await asyncio.sleep(0)


async def settled(value: Callable[[], object]) -> None:
    """Let the loop turn until `value()` is something and has not changed for 200 turns: all sides wait."""
    calm, last = 0, None

    def unchanged() -> bool:
        nonlocal calm, last
        now = value()
        calm, last = (calm + 1 if now == last and now else 0), now
        return calm >= 200

    await until(unchanged)


async def refused_url() -> str:
    """A URL on which nobody listens."""
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    return f"http://127.0.0.1:{port}"


class Client:
    """A raw client connection, for what no HTTP library would send."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        """Write exactly `data`."""
        self.writer.write(data)
        await self.writer.drain()

    async def until(self, mark: bytes) -> bytes:
        """Everything up to and with `mark`."""
        async with asyncio.timeout(PATIENCE):
            return await self.reader.readuntil(mark)

    async def rest(self) -> bytes:
        """Everything until the server closes."""
        async with asyncio.timeout(PATIENCE):
            return await self.reader.read()

    async def response(self) -> tuple[bytes, bytes]:
        """The next response with Content-Length: head and body."""
        head = await self.until(b"\r\n\r\n")
        length = next(line[16:] for line in head.split(b"\r\n") if line.startswith(b"content-length: "))
        async with asyncio.timeout(PATIENCE):
            return head, await self.reader.readexactly(int(length))

    def half_close(self) -> None:
        """FIN in one direction: still able to read."""
        self.writer.write_eof()

    def close(self) -> None:
        """FIN."""
        self.writer.close()

    def reset(self) -> None:
        """RST."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


@asynccontextmanager
async def connect(url: str) -> AsyncIterator[Client]:
    """A raw connection to the server at `url`."""
    host, _, port = url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield Client(reader, writer)
    finally:
        writer.transport.abort()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
