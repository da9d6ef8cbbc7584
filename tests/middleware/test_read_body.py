"""The body of a request: read once for all layers, written once, and bounded in memory."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from playbook import Answers, Told, play
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from llmgate.exchange import Exchange, Principal, exchange_of
from llmgate.middleware import ReadBody
from llmgate.middleware.read_body import UNCOUNTED, BodyBudget

CHAT = "/v1/chat/completions"
BODY = b'{"model":"small","max_tokens":9,"messages":[]}'
ANN = Principal(1, "ann", key_id=7)
BIG = b'{"model":"small","messages":["' + b"x" * UNCOUNTED + b'"]}'


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


class Holds:
    """An app that reads its request and answers when it is told to."""

    def __init__(self) -> None:
        self.entered, self.begin, self.end = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.entered.set()
        await self.begin.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await self.end.wait()
        await send({"type": "http.response.body", "body": b""})


Post = Callable[..., Awaitable[Told]]


async def post_in_pieces(app: ASGIApp, body: bytes, **more: object) -> Told:
    """Of no announced length: it is counted as it comes."""
    half = len(body) // 2
    return await play(app, "POST", CHAT, body=[body[:half], body[half:]], **more)


@pytest.mark.parametrize("send", [post, post_in_pieces])
@pytest.mark.parametrize(
    ("limits", "status"), [({"limit": len(BIG)}, 503), ({"caller_limit": len(BIG)}, 429)]
)
async def test_bodies_beyond_the_budget_are_refused_until_one_has_gone(
    send: Post, limits: dict[str, int], status: int
) -> None:
    """Until the first answer begins: what streams for an hour keeps no body."""
    app, budget = Holds(), BodyBudget()
    stack = ReadBody(app, budget=budget, max_body=10_000_000, **limits)
    first = asyncio.create_task(send(stack, BIG, llmgate=Exchange("1", 0.0, principal=ANN)))
    await app.entered.wait()
    assert budget.total == len(BIG)
    refused = await send(stack, BIG, llmgate=Exchange("2", 0.0, principal=ANN))
    assert (refused.status, refused.header("retry-after")) == (status, "1")
    assert str(len(BIG)) in refused.error["message"]
    app.begin.set()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert budget.total == 0
    app.end.set()
    await first
    assert (await send(stack, BIG, llmgate=Exchange("3", 0.0, principal=ANN))).status == 200
    assert budget.total == 0


async def test_one_keys_bodies_are_not_anothers() -> None:
    app, budget = Holds(), BodyBudget()
    stack = ReadBody(app, budget=budget, max_body=10_000_000, caller_limit=len(BIG))
    first = asyncio.create_task(post(stack, BIG, llmgate=Exchange("1", 0.0, principal=ANN)))
    await app.entered.wait()
    app.begin.set()
    app.end.set()
    other = Principal(2, "bob", key_id=9)
    assert (await post(stack, BIG, llmgate=Exchange("2", 0.0, principal=other))).status == 200
    await first


async def test_small_bodies_are_not_counted() -> None:
    """The number of connections bounds them."""
    budget = BodyBudget()
    assert (await post(ReadBody(Answers(), budget=budget, limit=1, caller_limit=1))).status == 200


async def test_a_body_that_is_too_large_is_413_and_takes_nothing() -> None:
    budget = BodyBudget()
    stack = ReadBody(Answers(), budget=budget, max_body=100, limit=10_000_000)
    assert (await post(stack, BIG)).status == 413
    assert budget.total == 0
