"""What the bodies of requests may take of a process's memory."""

import asyncio
import zlib
from collections.abc import Awaitable, Callable

import pytest
from playbook import Answers, Told, play
from starlette.types import ASGIApp, Receive, Scope, Send

from llmgate.exchange import Exchange, Principal
from llmgate.middleware import BodyBudget, ReadBody
from llmgate.middleware.body_budget import UNCOUNTED, BodiesInMemory

CHAT = "/v1/chat/completions"
ANN = Principal(1, "ann", key_id=7)
BIG = b'{"model":"small","messages":["' + b"x" * UNCOUNTED + b'"]}'


async def post(app: ASGIApp, body: bytes, **more: object) -> Told:
    return await play(app, "POST", CHAT, headers={"content-length": str(len(body))}, body=body, **more)


async def post_in_pieces(app: ASGIApp, body: bytes, **more: object) -> Told:
    """Of no announced length: it is counted as it comes."""
    half = len(body) // 2
    return await play(app, "POST", CHAT, body=[body[:half], body[half:]], **more)


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


@pytest.mark.parametrize("send", [post, post_in_pieces])
@pytest.mark.parametrize(
    ("limits", "status"), [({"limit": len(BIG)}, 503), ({"caller_limit": len(BIG)}, 429)]
)
async def test_bodies_beyond_the_budget_are_refused_until_one_has_gone(
    send: Post, limits: dict[str, int], status: int
) -> None:
    """Until the first answer begins: what streams for an hour keeps no body."""
    app, bodies = Holds(), BodiesInMemory()
    stack = BodyBudget(ReadBody(app, max_body=10_000_000), bodies=bodies, max_body=10_000_000, **limits)
    first = asyncio.create_task(send(stack, BIG, llmgate=Exchange("1", 0.0, principal=ANN)))
    await app.entered.wait()
    assert bodies.total == len(BIG)
    refused = await send(stack, BIG, llmgate=Exchange("2", 0.0, principal=ANN))
    assert (refused.status, refused.header("retry-after")) == (status, "1")
    assert str(len(BIG)) in refused.error["message"]
    app.begin.set()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert bodies.total == 0
    app.end.set()
    await first
    assert (await send(stack, BIG, llmgate=Exchange("3", 0.0, principal=ANN))).status == 200
    assert bodies.total == 0


async def test_one_keys_bodies_are_not_anothers() -> None:
    app = Holds()
    stack = BodyBudget(ReadBody(app), caller_limit=len(BIG))
    first = asyncio.create_task(post(stack, BIG, llmgate=Exchange("1", 0.0, principal=ANN)))
    await app.entered.wait()
    app.begin.set()
    app.end.set()
    other = Principal(2, "bob", key_id=9)
    assert (await post(stack, BIG, llmgate=Exchange("2", 0.0, principal=other))).status == 200
    await first


async def test_small_bodies_are_not_counted() -> None:
    """The number of connections bounds them."""
    assert (await post(BodyBudget(Answers(), limit=1, caller_limit=1), b"{}")).status == 200


async def test_a_body_that_is_too_large_is_413_and_takes_nothing() -> None:
    bodies = BodiesInMemory()
    stack = BodyBudget(ReadBody(Answers(), max_body=100), max_body=100, bodies=bodies, limit=10_000_000)
    assert (await post(stack, BIG)).status == 413
    assert bodies.total == 0


async def test_what_streams_through_is_not_counted() -> None:
    stack = BodyBudget(Answers(), counted=lambda scope: scope["path"] != CHAT, limit=1)
    assert (await post(stack, BIG)).status == 200


async def test_a_body_that_nobody_reads_takes_nothing() -> None:
    """A refusal by what stands below, before it has asked for the body, is not one by the budget."""

    async def refuses(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 402, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    assert (await post(BodyBudget(refuses, limit=1), BIG)).status == 402


async def test_a_request_that_a_surface_sends_into_a_route_is_counted_once() -> None:
    """Both have the layer, and the body is there once."""
    bodies, app = BodiesInMemory(), Holds()
    inner = BodyBudget(ReadBody(app), bodies=bodies)
    stack = BodyBudget(inner, bodies=bodies, limit=len(BIG))
    asking = asyncio.create_task(post(stack, BIG))
    await app.entered.wait()
    assert bodies.total == len(BIG)
    app.begin.set()
    app.end.set()
    await asking
    assert bodies.total == 0


async def test_a_compressed_body_counts_by_what_it_is_decoded_to() -> None:
    """Else a request of 16 kB takes 16 MB, and hundreds come at once."""
    app, bodies = Holds(), BodiesInMemory()
    stack = BodyBudget(ReadBody(app), bodies=bodies, caller_limit=len(BIG))
    small = zlib.compress(BIG)
    assert len(small) < UNCOUNTED

    async def compressed(number: str) -> Told:
        headers = {"content-length": str(len(small)), "content-encoding": "deflate"}
        return await play(
            stack, "POST", CHAT, headers=headers, body=small, llmgate=Exchange(number, 0.0, principal=ANN)
        )

    first = asyncio.create_task(compressed("1"))
    await app.entered.wait()
    assert bodies.total == len(BIG)
    assert (await compressed("2")).status == 429
    assert bodies.total == len(BIG)
    app.begin.set()
    app.end.set()
    await first
    assert bodies.total == 0
