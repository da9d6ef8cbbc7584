"""The body of a request: read once for all layers, and written once."""

import asyncio
from collections.abc import Callable

import pytest
from playbook import Told, play
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from llmgate.exchange import Principal, exchange_of
from llmgate.middleware import ReadBody

CHAT = "/v1/chat/completions"
BODY = b'{"model":"small","max_tokens":9,"messages":[]}'
ANN = Principal(1, "ann", key_id=7)


class Edits:
    """A layer that changes a field, as quotas and accounting do."""

    collects_edits = True

    def __init__(self, app: ASGIApp, **changes: object) -> None:
        self.app = app
        self.changes = changes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = exchange_of(scope)
        model_request = await exchange.read(scope, receive, 10_000)
        self.seen = dict(model_request.fields)
        exchange.edit(self.changes)
        await self.app(exchange.hand_on(scope, self.app), exchange.receive, send)


class Redacts:
    """A layer of somebody who knows ASGI and nothing of exchanges: it reads the body, and passes on another one."""

    def __init__(self, app: ASGIApp, change: Callable[[bytes], bytes] = lambda body: body) -> None:
        self.app = app
        self.change = change

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message["body"], message.get("more_body", False)
        waiting = [{"type": "http.request", "body": self.change(body), "more_body": False}]

        async def again() -> Message:
            return waiting.pop() if waiting else await receive()

        await self.app(scope, again, send)


class Reads:
    """The app below: what it got, by content-length and by body; and it watches for the client's leaving."""

    def __init__(self) -> None:
        self.scopes: list[Scope] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scopes.append(scope)
        self.body = (await receive())["body"]
        self.length = next((int(v) for n, v in scope["headers"] if n == b"content-length"), None)
        leaving = asyncio.ensure_future(receive())
        await asyncio.sleep(0)
        self.gone = leaving.done()
        leaving.cancel()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})


async def post(app: ASGIApp, body: bytes = BODY, **more: object) -> Told:
    headers = {"content-length": str(len(body))}
    return await play(app, "POST", CHAT, body=body, headers=headers, **more)


async def test_what_several_layers_change_is_written_once_and_its_length_is_right() -> None:
    app = Reads()
    await post(ReadBody(Edits(Edits(app, max_tokens=5), model="tiny")))
    assert app.body == b'{"model":"tiny","max_tokens":5,"messages":[]}'
    assert app.length == len(app.body)


@pytest.mark.parametrize("place", range(4))
async def test_a_layer_that_reads_for_itself_works_at_any_place(place: int) -> None:
    """It sees what was changed above, and what it changes is what those below see, count and send."""

    def redact(body: bytes) -> bytes:
        return body.replace(b'"messages":[]', b'"messages":["..."]')

    app = Reads()
    layers: list[Callable[[ASGIApp], ASGIApp]] = [
        ReadBody,
        lambda app: Edits(app, max_tokens=5),
        lambda app: Edits(app, model="tiny"),
    ]
    layers.insert(place, lambda app: Redacts(app, redact))
    whole: ASGIApp = app
    for layer in reversed(layers):
        whole = layer(whole)
    async with asyncio.timeout(5):
        told = await post(whole)
    assert told.status == 200
    assert app.body == b'{"model":"tiny","max_tokens":5,"messages":["..."]}'
    if place < len(layers) - 1:  # the last one announces the length of what it sends by itself
        assert app.length == len(app.body)
    assert not app.gone, "the client is there, and its leaving can be waited for"


async def test_layers_below_read_what_the_one_between_has_made_of_it() -> None:
    below = Edits(Reads())
    between = Redacts(below, lambda body: body.replace(b"9", b"3"))
    await post(ReadBody(between))
    assert bytes(below.seen["max_tokens"]) == b"3"


async def test_a_body_that_is_no_request_any_more_is_refused() -> None:
    app = Reads()
    told = await post(ReadBody(Redacts(ReadBody(app), lambda body: b"[")))
    assert (told.status, app.scopes) == (400, [])


async def test_what_is_for_no_model_streams_through_unread() -> None:
    app = Reads()
    await play(ReadBody(app), "POST", "/v1/files", body=[b"one", b"two"])
    assert (app.body, app.gone) == (b"one", True), "the second piece was there to be read"
