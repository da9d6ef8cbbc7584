"""What holds for all operations of a surface."""

import asyncio
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from llmgate.errors import ClientGone
from llmgate.exchange import Exchange
from llmgate.gate.stack import wrap
from llmgate.plugin.call import AnyCall, Reply
from llmgate.plugin.cross_origin import Cors
from llmgate.plugin.operation import Operation, Surface
from llmgate.plugin.operation_app import OperationApp, send_reply
from llmgate.plugin.surface_app import operations_of, own_origin, surface_layers

from .test_operation_app import posting, through


async def echo(call: AnyCall) -> Any:
    return call.body


async def test_a_page_of_another_origin_reaches_no_operation() -> None:
    """Unless its origin is among those of the surface's CORS; whether a handler or an app answers."""
    plain, open_ = Surface("s"), Surface("s", cors=Cors(["https://app.example.com"]))

    async def answered(scope: Scope, receive: Receive, send: Send) -> None:
        await send_reply(scope, send, Reply("ok", 200))

    for operation in (posting(body=None), Operation(method="POST", path="/things", app=answered)):
        origin = {"origin": "https://app.example.com"}
        assert (
            await through(wrap(operation.answering, [own_origin(plain)]), "POST", "/things", headers=origin)
        ).status_code == 403
        assert (
            await through(wrap(operation.answering, [own_origin(open_)]), "POST", "/things", headers=origin)
        ).status_code == 200


async def test_headers_and_cors_are_on_refusals_too() -> None:
    """And a header that the answer has already stays."""
    headers = [(b"Cache-Control", b"no-store"), (b"content-type", b"x/y")]
    surface = Surface("s", headers=headers, cors=Cors(["https://app.example.com"]))
    app = wrap(OperationApp(posting()), surface_layers(surface))
    answer = await through(
        app, "POST", "/things", content=b"[", headers={"origin": "https://app.example.com"}
    )
    assert answer.status_code == 400
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["access-control-allow-origin"] == "https://app.example.com"


async def test_an_observer_is_told_of_every_request() -> None:
    """Of what was refused, and of what ended without an answer; its own failure changes nothing."""
    seen: list[int] = []

    async def observe(scope: Scope, exchange: Exchange, status: int) -> None:
        seen.append(status)
        raise RuntimeError("the audit is full")

    surface = Surface("s", observe=observe)
    app = wrap(OperationApp(posting()), surface_layers(surface))
    assert (await through(app, "POST", "/things", json={"name": "a"})).status_code == 200
    assert (await through(app, "POST", "/things", json={})).status_code == 400

    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        raise ClientGone

    with pytest.raises(ClientGone):
        await through(wrap(broken, surface_layers(surface)), "GET", "/")
    assert seen == [200, 400, 0]


async def test_an_observer_is_done_before_the_last_of_an_answer_leaves() -> None:
    """Who has read an answer finds it in the log; a client that leaves meanwhile does not keep it out."""
    order: list[str] = []
    observing, go_on = asyncio.Event(), asyncio.Event()

    async def observe(scope: Scope, exchange: Exchange, status: int) -> None:
        observing.set()
        await go_on.wait()
        order.append(f"observed {status}")

    async def in_two(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"a", "more_body": True})
        await send({"type": "http.response.body", "body": b"b"})

    async def sent(message: Message) -> None:
        order.append(message.get("body", b"start").decode())

    async def receive() -> Message:
        raise AssertionError

    app = wrap(in_two, surface_layers(Surface("s", observe=observe)))
    scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
    go_on.set()
    await app(scope, receive, sent)
    assert order == ["start", "a", "observed 200", "b"]

    order.clear()
    observing.clear()
    go_on.clear()
    leaving = asyncio.create_task(app(scope, receive, sent))
    await observing.wait()
    leaving.cancel()
    await asyncio.sleep(0)
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert order == ["start", "a", "observed 200"]


def test_a_surface_serves_what_it_declares_and_what_follows() -> None:
    """A preflight for each path, and each path with a slash at its end, if it says so."""
    get = Operation(method="GET", path="/things", handler=echo)
    rest = Operation(method="GET", path="/files/{name:path}", handler=echo)
    surface = Surface("s", [posting(), get, rest], slash_alike=True, cors=Cors(["https://app.example.com"]))
    made = [(operation.method, operation.path) for operation in operations_of(surface)]
    assert sorted(made) == [
        ("GET", "/files/{name:path}"),
        ("GET", "/things"),
        ("GET", "/things/"),
        ("OPTIONS", "/files/{name:path}"),
        ("OPTIONS", "/things"),
        ("OPTIONS", "/things/"),
        ("POST", "/things"),
        ("POST", "/things/"),
    ]
    assert [*operations_of(Surface("s", [get]))] == [get]
