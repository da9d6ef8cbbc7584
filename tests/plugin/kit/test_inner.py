"""A request of a surface's own through layers: what they refuse, and what they answer, comes back whole."""

import asyncio
import json

import pytest
from starlette.types import Message, Receive, Scope, Send

from llmgate.errors import RateLimited, UpstreamFailed, answer, detail_shape
from llmgate.exchange import Exchange, exchange_of, read_body
from llmgate.plugin.kit.inner import post

BODY = {"model": "m", "prompt": "Hi"}


async def nobody_leaves() -> Message:
    await asyncio.Event().wait()
    raise AssertionError


def exchange() -> Exchange:
    made = Exchange(id="1", started=0.0, route="r")
    made.error_shape = detail_shape
    return made


async def test_the_body_goes_down_and_the_answer_comes_up() -> None:
    mine = exchange()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raw = await read_body(receive, 1000)
        assert json.loads(raw) == BODY
        assert (scope["method"], scope["path"]) == ("POST", "/v1/completions")
        assert dict(scope["headers"]) == {
            b"content-type": b"application/json",
            b"content-length": b"%d" % len(raw),
        }
        assert exchange_of(scope) is mine
        await send({"type": "http.response.start", "status": 201, "headers": []})
        await send({"type": "http.response.body", "body": b'{"a":', "more_body": True})
        await send({"type": "http.response.body", "body": b"1}"})

    whole = await post(app, "/v1/completions", BODY, mine, nobody_leaves)
    assert (whole.status, whole.json()) == (201, {"a": 1})


async def test_what_a_layer_refuses_is_raised_for_the_surface_to_put_into_words() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(scope, send, RateLimited("slowly", retry_after=7))

    mine = exchange()
    with pytest.raises(RateLimited) as refused:
        await post(app, "/", BODY, mine, nobody_leaves)
    assert (b"retry-after", b"7") in refused.value.headers
    assert mine.error_shape is detail_shape


async def test_an_answer_that_breaks_off_is_none() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{", "more_body": True})

    with pytest.raises(UpstreamFailed, match="broke off"):
        await post(app, "/", BODY, exchange(), nobody_leaves)


async def test_an_answer_that_is_no_json_is_the_servers_fault() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"<html>"})

    with pytest.raises(UpstreamFailed, match="JSON"):
        (await post(app, "/", BODY, exchange(), nobody_leaves)).json()


async def test_the_layers_hear_when_the_client_leaves() -> None:
    heard: list[str] = []

    async def gone() -> Message:
        return {"type": "http.disconnect"}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        heard.extend([(await receive())["type"], (await receive())["type"]])

    with pytest.raises(UpstreamFailed):
        await post(app, "/", BODY, exchange(), gone)
    assert heard == ["http.request", "http.disconnect"]
