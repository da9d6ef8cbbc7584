"""The application of an address: what no route takes, and when all have left."""

import asyncio

from playbook import Answers, play
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from llmgate.gate.application import Application
from llmgate.middleware import BeginExchange


def application(endpoint: ASGIApp) -> Application:
    return Application([Route("/users/{id}", endpoint, methods=["GET"])])


async def test_it_is_starlettes_and_so_are_its_routes() -> None:
    """A function of a request gets one, with its parameters, the application, and names of other routes."""

    async def user(request: Request) -> Response:
        assert request.app is app
        return JSONResponse({"id": request.path_params["id"], "url": request.url_for("user", id=8).path})

    app = Application([Route("/users/{id:int}", user)])
    assert isinstance(app, Starlette)
    assert (await play(app, path="/users/7")).body == b'{"id":7,"url":"/users/8"}'


async def test_what_no_route_takes_is_404_and_another_method_405() -> None:
    gate = application(Answers())
    told = await play(gate, path="/nothing")
    assert (told.status, told.error["code"]) == (404, "not_found")
    told = await play(gate, "DELETE", "/users/7")
    assert (told.status, told.header("allow")) == (405, "GET, HEAD")


async def test_its_middleware_stands_around_every_route_and_what_is_not_found() -> None:
    app = Answers()
    gate = Application([Route("/a", app)], middleware=[Middleware(BeginExchange, route="outer")])
    await play(gate, path="/a")
    assert app.scopes[0]["llmgate"].route == "outer"


async def test_it_knows_the_path_below_what_it_is_mounted_at() -> None:
    """By another application, or by a server that is told its root path."""
    app = Answers()
    told = await play(application(app), path="/below/users/7", root_path="/below")
    assert told.status == 200
    assert app.scopes[0]["path_params"] == {"id": "7"}
    assert (await play(application(app), path="/belowusers/7", root_path="/below")).status == 404


async def test_it_is_drained_when_the_last_one_has_left() -> None:
    entered, go_on = asyncio.Event(), asyncio.Event()

    class Waits(Answers):
        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            entered.set()
            await go_on.wait()

    gate = application(Waits())
    await gate.drained()
    inside = asyncio.create_task(play(gate, path="/users/7"))
    await entered.wait()
    drained = asyncio.create_task(gate.drained())
    assert gate.in_flight == 1
    go_on.set()
    await asyncio.gather(inside, drained)
    assert gate.in_flight == 0


async def test_a_websocket_that_no_route_takes_is_closed() -> None:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    await application(Answers())({"type": "websocket", "path": "/users/7", "headers": []}, receive, send)
    assert [(message["type"], message["code"]) for message in sent] == [("websocket.close", 1008)]
