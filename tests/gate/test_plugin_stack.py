"""Operations of a plugin: held to limits and to a budget of memory before their bodies are read."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from shutil import copy
from typing import Any

import httpx
import msgspec
import pytest
from gates import Running, error_of, running
from servers import connect
from starlette.types import ASGIApp, Receive, Scope, Send
from stores import migrated_file

from llmgate.plugin.api import Operation, Surface, exchange_of, read_body

__all__ = ["migrated_file"]

BEARER = ("bearer",)
ASKED = b'{"prompt":"' + b"x" * 70_000 + b'"}'


class Text(msgspec.Struct):
    """The body of the operation `/say`."""

    prompt: str


class Toy:
    """A plugin with a handler, and with an app that reads the body and sends it into the gate's route."""

    settings = msgspec.defstruct("Settings", [])

    def __init__(self) -> None:
        self.entered, self.go_on = asyncio.Event(), asyncio.Event()
        self.bodies = 0

    @asynccontextmanager
    async def open(self, _: object, gate: Any) -> AsyncIterator[Surface]:
        route: ASGIApp = gate.routes["/v1"]

        async def ask(scope: Scope, receive: Receive, send: Send) -> None:
            await exchange_of(scope).read(scope, receive, 100_000)
            self.bodies += 1
            await route({**scope, "path": "/v1/completions"}, exchange_of(scope).receive, send)

        async def upload(scope: Scope, receive: Receive, send: Send) -> None:
            self.bodies += len(await read_body(receive, 1 << 20)) > 0
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body", "body": b""})

        async def say(call: Any) -> None:
            self.entered.set()
            await self.go_on.wait()

        post = {"method": "POST", "credentials": BEARER, "scope": None}
        operations = [
            Operation(path="/ask/completions", app=ask, route="/v1", **post),
            Operation(path="/say", handler=say, body=Text, **post),
            Operation(path="/upload", app=upload, **post),
        ]
        yield Surface("toy", operations=operations)


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> Toy:
    plugin = Toy()
    monkeypatch.setattr("llmgate.gate.build.load_plugin", lambda _: plugin)
    monkeypatch.setattr("llmgate.gate.build.migrations_of", lambda _: [None])
    return plugin


@asynccontextmanager
async def opened(
    folder: Path, store: Path, **tables: Any
) -> AsyncIterator[tuple[Running, httpx.AsyncClient]]:
    async with AsyncExitStack() as stack:
        copied = Path(copy(store, folder / "gate.db"))
        gate = await stack.enter_async_context(running(folder, copied, plugins={"toy": {}}, **tables))
        headers = {"authorization": f"Bearer {gate.key}", "content-type": "application/json"}
        http = httpx.AsyncClient(base_url=gate.url, headers=headers, trust_env=False)
        yield gate, await stack.enter_async_context(http)


async def test_the_limits_of_the_route_behind_an_operation_are_asked_before_its_body_and_once(
    tmp_path: Path, migrated_file: Path, toy: Toy
) -> None:
    """Also by who announces a body and waits to be asked for it: `Expect: 100-continue`."""
    limits = [{"per": "key", "requests": 3, "window": "day"}, {"per": "key", "concurrent": 1}]
    async with opened(tmp_path, migrated_file, limits=limits) as (gate, http):
        body = b'{"model":"small","prompt":"Hi"}'
        told = [await http.post("/ask/completions", content=body) for _ in range(2)]
        assert [answer.status_code for answer in told] == [200, 200]
        assert [answer.headers["x-ratelimit-remaining"] for answer in told] == ["2", "1"]
        assert (await http.post("/v1/completions", content=body)).status_code == 200, "they count together"
        async with connect(gate.url) as client:
            head = gate.request(body, path="/ask/completions", headers="expect: 100-continue\r\n")
            await client.send(head.removesuffix(body))
            status, refused = await client.response()
        assert status.startswith(b"HTTP/1.1 429")
        assert error_of(refused)["code"] == "rate_limit_exceeded"
        assert toy.bodies == 2


async def test_bodies_of_operations_are_within_the_budget(
    tmp_path: Path, migrated_file: Path, toy: Toy
) -> None:
    """Whether a handler gets them or an app reads them for a route; what an app does not keep is its own affair."""
    settings = {"access_log": False, "max_body": 100_000, "body_budget_per_key": 100_000}
    async with opened(tmp_path, migrated_file, gate=settings) as (gate, http):
        first = asyncio.create_task(http.post("/say", content=ASKED))
        await toy.entered.wait()
        assert gate.runtime.bodies.total == len(ASKED)
        for path in ("/say", "/ask/completions", "/v1/completions"):
            refused = await http.post(path, content=ASKED)
            assert (refused.status_code, refused.headers["retry-after"]) == (429, "1"), path
        assert (await http.post("/upload", content=ASKED)).status_code == 204
        toy.go_on.set()
        assert (await first).status_code == 200
        assert gate.runtime.bodies.total == 0
        assert (await http.post("/ask/completions", content=ASKED)).status_code == 200
