"""An address: it can be had, its sockets send without delay, and it is left in order."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import uvloop
import websockets.asyncio.client as websockets
from servers import PATIENCE, connect
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from llmgate.config import Address
from llmgate.server.limits import ConnectionLimits
from llmgate.server.listener import Listener
from llmgate.server.protocol import HttpProtocol
from llmgate.server.sockets import bind

from .wire import GET, Steps

HERE = Address("127.0.0.1", 0)
REST = b"5\r\nended\r\n0\r\n\r\n"


@asynccontextmanager
async def listening(
    app: ASGIApp, *, grace: float = 30.0, address: Address = HERE
) -> AsyncIterator[tuple[Listener, str]]:
    listener = Listener(address, bind(address))
    await listener.serve(app, ConnectionLimits(), grace=grace)
    try:
        yield listener, f"http://127.0.0.1:{listener.port}"
    finally:
        listener.force_close()


async def nodelay() -> int:
    """What TCP_NODELAY is on an accepted socket."""
    seen: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    class Looks(HttpProtocol):
        __slots__ = ()

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            option = transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            seen.set_result(option)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("llmgate.server.listener.HttpProtocol", Looks)
        async with listening(Steps()) as (listener, url):
            async with connect(url):
                option = await asyncio.wait_for(seen, PATIENCE)
            await listener.stop()
    return option


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_small_piece_is_not_held_back_by_the_kernel(
    new_loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    with asyncio.Runner(loop_factory=new_loop) as runner:
        assert runner.run(nodelay()) != 0


async def test_a_websocket_is_accepted_though_nothing_was_loaded_for_it() -> None:
    async def echo(scope: Scope, receive: Receive, send: Send) -> None:
        websocket = WebSocket(scope, receive, send)
        await websocket.accept()
        await websocket.send_text(await websocket.receive_text())

    async with listening(echo) as (listener, url):
        async with websockets.connect(url.replace("http", "ws"), proxy=None) as client:
            await client.send("hi")
            assert await client.recv() == "hi"
        await listener.stop()


async def test_stopping_closes_what_is_idle_and_answers_what_is_open() -> None:
    app = Steps()
    app.go_on.set()
    async with listening(app) as (listener, url), connect(url) as idle, connect(url) as busy:
        await busy.send(GET)
        await busy.until(b"begun\r\n")
        stopping = asyncio.create_task(listener.stop())
        assert await idle.rest() == b""
        assert not stopping.done()
        app.finish.set()
        assert await busy.rest() == REST
        await stopping


async def test_an_answer_that_begins_during_the_stop_says_that_it_is_the_last() -> None:
    app = Steps()
    async with listening(app) as (listener, url), connect(url) as client, connect(url) as idle:
        await client.send(GET)
        async with asyncio.timeout(PATIENCE):
            while not app.paths:  # noqa: ASYNC110
                await asyncio.sleep(0)
        stopping = asyncio.create_task(listener.stop())
        await idle.rest()
        app.go_on.set()
        app.finish.set()
        assert b"\r\nconnection: close\r\n" in await client.rest()
        await stopping


@pytest.mark.parametrize("hurried", [False, True])
async def test_the_grace_ends_by_itself_or_when_it_is_told_to(hurried: bool) -> None:
    """What an app still writes down is waited for."""
    begun, written = asyncio.Event(), []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            written.append(scope["path"])

    async with (
        listening(app, grace=3600.0 if hurried else 0.0) as (listener, url),
        connect(url) as client,
        connect(url) as idle,
    ):
        await client.send(GET)
        await begun.wait()
        stopping = asyncio.create_task(listener.stop())
        await idle.rest()
        if hurried:
            listener.force_close()
        await asyncio.wait_for(stopping, PATIENCE)
        assert written == ["/"]
        assert await client.rest() == b""


async def test_a_unix_socket_is_served_too(tmp_path: Path) -> None:
    app = Steps()
    app.go_on.set()
    app.finish.set()
    path = tmp_path / "gate.sock"
    async with listening(app, address=Address(path=path)) as (listener, _):
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(GET)
        async with asyncio.timeout(PATIENCE):
            assert (await reader.readuntil(REST)).startswith(b"HTTP/1.1 200 OK\r\n")
        writer.close()
        await listener.stop()
    assert not path.exists()
