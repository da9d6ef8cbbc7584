"""What an upstream's own list of models is good for: names for the metrics, and a look at the key."""

import asyncio

import httpx
import pytest
import respx

from llmgate.proxy.engines.httpx_engine import HttpxEngine
from llmgate.proxy.model_names import EVERY_S, SOONER_S, ModelNames
from llmgate.proxy.upstreams import MAX_NAMES, Upstream


def upstream(*hosts: str, api_key: str | None = None) -> Upstream:
    return Upstream("vllm", [f"http://{host}" for host in hosts], engine=HttpxEngine(), api_key=api_key)


def listing(*names: str) -> dict[str, object]:
    return {"object": "list", "data": [{"id": name, "object": "model"} for name in names]}


async def ask(vllm: Upstream) -> bool:
    return await ModelNames({vllm: "/v1/models"}).ask(vllm)


@respx.mock
async def test_names_are_those_of_all_replicas_and_the_key_is_sent() -> None:
    one = respx.get("http://a/v1/models").respond(json=listing("small", "large"))
    respx.get("http://b/v1/models").respond(json=listing("small", "lora"))
    vllm = upstream("a", "b", api_key="sk-its")
    assert await ask(vllm)
    assert vllm.model_names == {"small", "large", "lora"}
    assert one.calls.last.request.headers["authorization"] == "Bearer sk-its"


@respx.mock
async def test_names_are_bounded_in_number_and_length() -> None:
    respx.get("http://a/v1/models").respond(
        json=listing(*(f"m{n:04}" for n in range(1000)), "x" * 1000, "", "a\nb")
    )
    vllm = upstream("a")
    assert await ask(vllm)
    assert len(vllm.model_names) == MAX_NAMES
    assert max(map(len, vllm.model_names)) == 5


@respx.mock
@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(500),
        httpx.Response(302, headers={"location": "/"}),
        httpx.Response(200, text="hello"),
        httpx.Response(200, json=[]),
        httpx.Response(200, content=b'{"data":[{"id":"\xff"}]}'),
        httpx.Response(200, json={"data": [{"id": 7}]}),
        httpx.ConnectError,
    ],
)
async def test_what_is_no_list_changes_nothing(answer: object) -> None:
    respx.get("http://a/v1/models").mock(side_effect=[answer])
    vllm = upstream("a")
    vllm.model_names = frozenset({"known"})
    assert not await ask(vllm)
    assert vllm.model_names == {"known"}


@respx.mock
@pytest.mark.parametrize("status", [401, 403])
async def test_a_key_that_is_refused_is_said_before_anybody_asks_for_anything(
    status: int, caplog: pytest.LogCaptureFixture
) -> None:
    """A health path would not show it: vLLM's answers without a key."""
    respx.get("http://a/v1/models").mock(
        side_effect=[httpx.Response(status), httpx.Response(200, json=listing("m"))]
    )
    vllm = upstream("a", api_key="sk-wrong")
    assert not await ask(vllm)
    assert vllm.state()[0].key_refused
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "sk-wrong" not in caplog.text
    assert await ask(vllm)
    assert not vllm.state()[0].key_refused


@respx.mock
async def test_it_is_asked_again_sooner_where_nothing_came() -> None:
    respx.get("http://a/v1/models").mock(
        side_effect=[httpx.ConnectError, httpx.Response(200, json=listing("m"))]
    )
    slept: list[float] = []
    twice = asyncio.Event()

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 2:
            twice.set()
            await asyncio.Event().wait()

    async with ModelNames({upstream("a"): "/v1/models"}, sleep=sleep):
        await twice.wait()
    assert slept == [SOONER_S, EVERY_S]
