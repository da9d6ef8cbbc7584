"""Our protocol under a uvicorn that is not ours: made as its server makes it, and by its command line."""

import asyncio
import logging
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import uvicorn
import websockets.asyncio.client as websockets
from servers import PATIENCE, connect
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from llmgate.server import HttpProtocol

from .wire import GET


async def hello(request: Request) -> PlainTextResponse:
    state = getattr(request.state, "from_lifespan", "")
    return PlainTextResponse(f"hello {request.url.path} {request.scope['root_path']} {state}")


async def echo(websocket: WebSocket) -> None:
    await websocket.accept()
    async for text in websocket.iter_text():
        await websocket.send_text(f"you said {text}")


@asynccontextmanager
async def lifespan(_: Starlette) -> AsyncIterator[dict[str, str]]:
    yield {"from_lifespan": "ready"}


app = Starlette(routes=[Route("/hello", hello), WebSocketRoute("/echo", echo)], lifespan=lifespan)


@asynccontextmanager
async def running(**options: object) -> AsyncIterator[str]:
    """`app` under uvicorn's own server, without its signals; yields the base URL."""
    settings = {"port": 0, "log_config": None, "http": HttpProtocol, **options}
    server = uvicorn.Server(uvicorn.Config(app, **settings))  # type: ignore[arg-type]
    server.config.load()
    server.lifespan = server.config.lifespan_class(server.config)
    await server.startup()
    await server.on_tick(0)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        await server.shutdown()


async def get(url: str) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False) as http:
        return await http.get(url)


async def test_its_server_makes_it_and_its_options_hold() -> None:
    async with running(root_path="/below", headers=[("x-own", "1")]) as url:
        answer = await get(f"{url}/hello")
    assert answer.text == "hello /below/hello /below ready"
    assert answer.headers["x-own"] == "1"
    assert answer.headers["server"] == "uvicorn"
    assert "date" in answer.headers


async def test_an_idle_connection_is_kept_as_long_as_uvicorn_is_told() -> None:
    async with running(timeout_keep_alive=0) as url, connect(url) as client:
        await client.send(GET)
        await client.response()
        assert await client.rest() == b""


async def test_too_many_connections_are_503() -> None:
    async with running(limit_concurrency=0) as url:
        assert (await get(f"{url}/hello")).status_code == 503


async def test_requests_are_in_its_access_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "uvicorn.access")
    async with running() as url:
        await get(f"{url}/hello?x=1")
    [record] = [record for record in caplog.records if record.name == "uvicorn.access"]
    assert re.fullmatch(r'127\.0\.0\.1:\d+ - "GET /hello\?x=1 HTTP/1\.1" 200', record.getMessage())


async def test_websockets_are_handed_to_its_protocol_for_them() -> None:
    async with running() as url:
        async with websockets.connect(f"{url}/echo".replace("http", "ws"), proxy=None) as client:
            await client.send("hi")
            assert await client.recv() == "you said hi"
        assert (await get(f"{url}/hello")).status_code == 200


async def test_without_a_library_for_websockets_the_offer_is_ignored() -> None:
    async with running(ws="none") as url, connect(url) as client:
        upgrade = b"connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-key: x\r\n\r\n"
        await client.send(GET.replace(b"GET / ", b"GET /hello ").removesuffix(b"\r\n") + upgrade)
        assert (await client.response())[1].startswith(b"hello ")


async def test_its_command_line_takes_it() -> None:
    command = [sys.executable, "-m", "uvicorn", "--port", "0", "--http", "llmgate.server:HttpProtocol"]
    process = await asyncio.create_subprocess_exec(
        *command,
        "server.test_uvicorn:app",
        cwd=Path(__file__).parent.parent,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    try:
        async with asyncio.timeout(6 * PATIENCE):
            while not (found := re.search(rb"running on (http://\S+)", await process.stderr.readline())):
                pass
        assert (await get(f"{found[1].decode()}/hello")).text == "hello /hello  ready"
    finally:
        process.terminate()
        await process.communicate()
    assert process.returncode in (0, -signal.SIGTERM)
