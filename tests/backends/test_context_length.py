"""A model's context length comes from the backend's own list of models."""

import asyncio

import httpx
import pytest
import respx

from llmgate.backends.context_length import GOOD_FOR, RETRY_AFTER, ContextLengths
from llmgate.backends.dialect import DIALECTS
from llmgate.proxy.engines.httpx_engine import HttpxEngine
from llmgate.proxy.upstreams import Upstream


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def cards(*data: dict[str, object]) -> httpx.Response:
    return httpx.Response(200, json={"object": "list", "data": list(data)})


@pytest.fixture
async def asked():
    """`ContextLengths` of an upstream, the route of its list, and the clock."""
    clock = Clock()
    with respx.mock:
        route = respx.get("http://a/v1/models")
        vllm = Upstream("vllm", ["http://a"], engine=HttpxEngine(), api_key="k")
        yield ContextLengths(vllm, DIALECTS["vllm"], clock=clock), route, clock


@pytest.mark.parametrize(
    "card",
    [{"max_model_len": 1024}, {"meta": {"n_ctx": 1024}}, {"context_length": 1024}, {"context_window": 1024}],
    ids=["vllm", "llama-server", "openrouter", "groq"],
)
async def test_each_backend_says_it_in_its_own_way(asked, card) -> None:
    lengths, route, _ = asked
    route.mock(return_value=cards({"id": "m", **card}, {"id": "other"}))
    assert await lengths("m") == 1024
    assert await lengths("other") == 1024, (
        "one length known: a backend with one model serves it under any name"
    )


async def test_models_are_told_apart(asked) -> None:
    lengths, route, _ = asked
    route.mock(return_value=cards({"id": "a", "max_model_len": 1}, {"id": "b", "max_model_len": 2}))
    assert [await lengths(model) for model in ("a", "b", "c")] == [1, 2, None]


async def test_the_list_is_read_once_with_the_upstreams_key_and_again_when_it_is_old(asked) -> None:
    lengths, route, clock = asked
    route.mock(return_value=cards({"id": "m", "max_model_len": 1024}))
    for _ in range(3):
        await lengths("m")
    assert route.call_count == 1
    assert route.calls[0].request.headers["authorization"] == "Bearer k"
    clock.now += GOOD_FOR
    route.mock(return_value=cards({"id": "m", "max_model_len": 2048}))
    assert await lengths("m") == 1024, "nobody waits for the list again"
    await lengths._reading
    assert await lengths("m") == 2048


@pytest.mark.parametrize("bad", [httpx.Response(500), httpx.Response(200, text="<html>"), httpx.ConnectError])
async def test_a_list_that_cannot_be_read_leaves_what_was_known_and_is_tried_again_soon(asked, bad) -> None:
    lengths, route, clock = asked
    route.mock(side_effect=[bad])
    assert await lengths("m") is None
    assert await lengths("m") is None
    assert route.call_count == 1, "not at every request"
    clock.now += RETRY_AFTER
    route.mock(side_effect=[cards({"id": "m", "max_model_len": 9}), bad])
    assert await read_again(lengths) == 9
    clock.now += GOOD_FOR
    assert await read_again(lengths) == 9


async def read_again(lengths: ContextLengths) -> int | None:
    await lengths("m")
    await lengths._reading
    return await lengths("m")


async def test_all_who_need_the_first_list_wait_for_one_reading_and_none_is_left_without(asked) -> None:
    lengths, route, _ = asked
    route.mock(return_value=cards({"id": "m", "max_model_len": 1024}))
    first = asyncio.create_task(lengths("m"))
    others = [asyncio.create_task(lengths("m")) for _ in range(3)]
    await asyncio.sleep(0)
    first.cancel()  # whose client has left
    assert await asyncio.gather(*others) == [1024] * 3
    assert route.call_count == 1
