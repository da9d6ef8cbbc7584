"""The gate's own kinds of routes, in its own router and in Starlette's."""

from pathlib import Path

import pytest
from playbook import Answers, Told, play, scope_of
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Host, Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message
from starlette.websockets import WebSocket

from llmgate.config import Operation as Allowed
from llmgate.config import Route as RouteSettings
from llmgate.errors import detail_shape
from llmgate.gate.application import Application
from llmgate.gate.mounts import GateRoute, PluginRoute, ProxyMount
from llmgate.gate.router import Router
from llmgate.middleware import BeginExchange, Errors
from llmgate.plugin.call import Call
from llmgate.plugin.operation import Operation

FRONT = [Middleware(BeginExchange, route="outer", error_shape=detail_shape), Middleware(Errors)]
ALLOW = (Allowed("POST", "/chat/completions"), Allowed("GET", "/models/{id:path}"))


def proxied(app: ASGIApp, allow: tuple[Allowed, ...] = ALLOW, path: str = "/v1") -> ProxyMount:
    settings = RouteSettings(path=path, upstream="vllm", allow=allow)
    return ProxyMount(settings, app, owner="routes[0]", front=FRONT, middleware=[])


@pytest.mark.parametrize("kind", [Application, Starlette])
async def test_a_proxied_route_takes_what_it_allows_and_nothing_else(kind: type[Starlette]) -> None:
    """In Starlette's own router as well, though that one says less about what is wrong."""
    app = Answers()
    gate = kind(routes=[proxied(app)])
    for method, path, status in [
        ("POST", "/v1/chat/completions", 200),
        ("GET", "/v1/models/Qwen/Qwen3-0.6B", 200),
        ("HEAD", "/v1/models/a", 200),
        ("GET", "/v1/chat/completions", 405),
        ("POST", "/v1/embeddings", 404),
        ("POST", "/v1", 404),
    ]:
        assert (await play(gate, method, path)).status == status, path
    assert {scope["root_path"] for scope in app.scopes} == {""}, "the relay goes by the whole path"


async def test_a_proxied_route_at_the_root_may_allow_everything() -> None:
    app = Answers()
    gate = Application([proxied(app, (Allowed("*", "*"),), "/")])
    assert (await play(gate, "PATCH", "/any/thing")).status == 200


async def test_a_surface_sends_its_callers_behind_authentication() -> None:
    """`service` has the middleware of the route, not what is in front of it."""
    app = Answers()
    mount = ProxyMount(
        RouteSettings(path="/v1", upstream="vllm"),
        app,
        owner="routes[0]",
        front=FRONT,
        middleware=[Middleware(BeginExchange, route="inner")],
    )
    await play(mount.service, path="/anything")
    assert app.scopes[0]["llmgate"].route == "inner"
    assert [layer.cls for layer in mount.middleware] == [BeginExchange, Errors, BeginExchange]


async def say(request: Request) -> Response:
    return PlainTextResponse(f"{request.path_params} {request.scope['root_path']}")


def plugin_route(route: BaseRoute, prefix: str = "/p") -> PluginRoute:
    return PluginRoute(route, name="hello", owner="plugins.hello", prefix=prefix, middleware=FRONT)


async def ask(route: BaseRoute, path: str, method: str = "GET", *, prefix: str = "/p") -> Told:
    return await play(Application([plugin_route(route, prefix)]), method, path)


@pytest.mark.parametrize(
    ("route", "path", "body"),
    [
        (Route("/a/{n:int}", say), "/p/a/7", "{'n': 7} /p"),
        (Mount("/m", routes=[Route("/{id}", say)]), "/p/m/x", "{'id': 'x'} /p/m"),
        (Mount("/m", Starlette(routes=[Route("/", say)])), "/p/m/", "{} /p/m"),
        (Host("gate", Router([Route("/h", say)])), "/p/h", "{} /p"),
    ],
)
async def test_any_route_of_starlettes_is_served_below_the_prefix(
    route: BaseRoute, path: str, body: str
) -> None:
    told = await ask(route, path)
    assert (told.status, told.body.decode()) == (200, body)
    assert (await ask(route, path.removeprefix("/p"))).status == 404


async def test_what_a_mounted_application_refuses_is_told_in_the_surfaces_shape() -> None:
    """Also what Starlette's own router says of it."""
    files = Mount("/static", StaticFiles(directory=Path(__file__).parent))
    assert b"what_a_mounted_application" in (await ask(files, "/p/static/test_mounts.py")).body
    missing = await ask(files, "/p/static/nothing")
    assert (missing.status, missing.body) == (404, b'{"detail":"Not Found"}')


async def test_without_a_prefix_a_plugins_routes_do_not_take_what_is_not_theirs() -> None:
    told = await ask(Route("/a", say), "/b", prefix="")
    assert (told.status, told.error["code"]) == (404, "not_found")


async def test_an_operation_is_a_route_that_starlette_can_serve_too() -> None:
    async def hello(call: Call) -> str:
        return f"{call.path['name']} on {call.exchange.route}"

    operation = Operation(method="GET", path="/hello/{name}", handler=hello, answers={200: str})
    assert (await ask(operation, "/p/hello/ann")).body == b'"ann on outer"'
    told = await play(Starlette(routes=[operation]), path="/hello/ann")
    assert told.body == b'"ann on -"'


async def test_a_plugin_may_speak_websocket() -> None:
    """Where the server does."""

    async def echo(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text((await websocket.receive_text()) + websocket.path_params["who"])

    came = [{"type": "websocket.connect"}, {"type": "websocket.receive", "text": "hello "}]
    sent: list[Message] = []

    async def receive() -> Message:
        return came.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    gate = Application([plugin_route(WebSocketRoute("/ws/{who}", echo))])
    await gate({**scope_of(path="/p/ws/ann"), "type": "websocket"}, receive, send)
    assert [message["type"] for message in sent] == ["websocket.accept", "websocket.send"]
    assert sent[1]["text"] == "hello ann"


async def test_what_the_gate_says_itself_may_be_any_asgi_app() -> None:
    """A function, too, which Starlette would take for one of a request."""
    gate = Application([GateRoute("/healthz", Answers().__call__, owner="the gate")])
    assert (await play(gate, path="/healthz")).status == 200
