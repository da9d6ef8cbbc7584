"""Routes that ask for a credential, over a whole gate and real sockets."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import copy
from typing import Any

import httpx
import msgspec
import pytest
import websockets.asyncio.client as websockets
from gates import Running, running
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket
from stores import migrated_file
from websockets.exceptions import InvalidStatus

from llmgate.plugin.api import Call, Forbidden, Guarded, Operation, Reply, Surface, exchange_of, send_reply

__all__ = ["migrated_file"]

BOTH = ("bearer", "x-api-key")


async def who(request: Request) -> PlainTextResponse:
    principal = exchange_of(request.scope).principal
    return PlainTextResponse("nobody" if principal is None else principal.username)


async def greet(websocket: WebSocket) -> None:
    principal = exchange_of(websocket.scope).principal
    await websocket.accept()
    await websocket.send_text(f"hello {principal.username if principal else 'nobody'}")
    await websocket.close()


async def only_blue(call: Call) -> str:
    """Needs to say blue."""
    if call.header("x-colour") != "blue":
        raise Forbidden("This is for the blue ones.")
    return "blue"


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    await send_reply(scope, send, Reply({"in": True}, 200))


class Toy:
    """A plugin with routes of each kind, behind credentials and decisions."""

    settings = msgspec.defstruct("Settings", [])

    @asynccontextmanager
    async def open(self, _: object, gate: Any) -> AsyncIterator[Surface]:
        inner = Starlette(routes=[Route("/who", who)])
        yield Surface(
            "toy",
            operations=[Operation(method="GET", path="/blue", app=app, access=only_blue)],
            routes=[
                Route("/open", who),
                Guarded(Mount("/app", inner), BOTH, group="apps"),
                Guarded(Route("/optional", who), BOTH, required=False),
                Guarded(Route("/admins", who), BOTH, roles=["admin"]),
                Guarded(Route("/sessions", who), BOTH, session=True),
                Guarded(Route("/colour", who), BOTH, access=only_blue),
                Guarded(WebSocketRoute("/greet", greet), BOTH),
            ],
        )


@dataclass
class Opened:
    """The gate, and clients of it without and with a key."""

    gate: Running
    stranger: httpx.AsyncClient
    ann: httpx.AsyncClient

    async def both(self, path: str, **headers: str) -> tuple[int, int]:
        """What a stranger and Ann are answered."""
        asked = [await each.get(path, headers=headers) for each in (self.stranger, self.ann)]
        return asked[0].status_code, asked[1].status_code


@asynccontextmanager
async def opened(folder: Path, store: Path, **tables: Any) -> AsyncIterator[Opened]:
    async with AsyncExitStack() as stack:
        file = Path(copy(store, folder / "gate.db"))
        gate = await stack.enter_async_context(running(folder, file, plugins={"toy": {}}, **tables))
        clients = [
            await stack.enter_async_context(
                httpx.AsyncClient(base_url=gate.url, headers=headers, trust_env=False)
            )
            for headers in ({}, {"authorization": f"Bearer {gate.key}"})
        ]
        yield Opened(gate, *clients)


@pytest.fixture(autouse=True)
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmgate.gate.build.load_plugin", lambda _: Toy())
    monkeypatch.setattr("llmgate.gate.build.migrations_of", lambda _: [None])


async def test_a_route_is_entered_with_a_credential(tmp_path: Path, migrated_file: Path) -> None:
    """And knows whose it was, whole applications included; one that asks for none stays open."""
    async with opened(tmp_path, migrated_file) as gate:
        assert await gate.both("/open") == (200, 200)
        assert await gate.both("/app/who") == (401, 200)
        assert (await gate.ann.get("/app/who")).text == "ann"
        assert await gate.both("/optional") == (200, 200)
        assert (await gate.stranger.get("/optional")).text == "nobody"
        assert (await gate.stranger.get("/app/who")).json()["error"]["code"] == "missing_api_key"


async def test_a_route_may_ask_for_more(tmp_path: Path, migrated_file: Path) -> None:
    """A role, a session, or what the surface decides itself."""
    async with opened(tmp_path, migrated_file) as gate:
        assert await gate.both("/admins") == (401, 403)
        assert await gate.both("/sessions") == (401, 403)
        assert await gate.both("/colour") == (401, 403)
        assert await gate.both("/colour", **{"x-colour": "blue"}) == (401, 200)


async def test_an_operation_that_is_an_app_is_behind_its_decision_too(
    tmp_path: Path, migrated_file: Path
) -> None:
    """It is asked before the app is, not only where there is a handler."""
    async with opened(tmp_path, migrated_file) as gate:
        refused = await gate.stranger.get("/blue")
        assert (refused.status_code, refused.json()["error"]["message"]) == (
            403,
            "This is for the blue ones.",
        )
        assert (await gate.stranger.get("/blue", headers={"x-colour": "blue"})).json() == {"in": True}


async def test_limits_name_routes_by_their_group(tmp_path: Path, migrated_file: Path) -> None:
    """As they do operations."""
    limits = [{"per": "key", "requests": 1, "window": "day", "routes": ["toy.apps"]}]
    async with opened(tmp_path, migrated_file, limits=limits) as gate:
        assert [(await gate.ann.get("/app/who")).status_code for _ in range(2)] == [200, 429]
        assert (await gate.ann.get("/optional")).status_code == 200


async def test_a_websocket_opens_with_a_credential_and_not_for_other_pages(
    tmp_path: Path, migrated_file: Path
) -> None:
    """A browser sends its cookies along with those, and asks nobody."""
    async with opened(tmp_path, migrated_file) as gate:
        url = gate.gate.url.replace("http://", "ws://") + "/greet"
        headers = {"authorization": f"Bearer {gate.gate.key}"}
        async with websockets.connect(url, additional_headers=headers, proxy=None) as websocket:
            assert await websocket.recv() == "hello ann"
        for refused in ({}, {**headers, "origin": "https://evil.example"}):
            with pytest.raises(InvalidStatus) as status:
                async with websockets.connect(url, additional_headers=refused, proxy=None):
                    pass
            assert status.value.response.status_code == 403
