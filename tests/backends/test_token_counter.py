"""A backend is asked how long a prompt is; what it cannot say now is not taken for what it never can."""

from collections.abc import Iterator

import httpx
import msgspec
import pytest
import respx

from llmgate.backends.dialect import DIALECTS
from llmgate.backends.endpoint import Endpoint
from llmgate.backends.request import parse_request
from llmgate.backends.token_counter import TokenCounter
from llmgate.errors import Unavailable
from llmgate.proxy.engines.httpx_engine import HttpxEngine
from llmgate.proxy.upstreams import Upstream

URL = "http://backend"
CHAT = {"model": "m", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 5}


def upstream(*, ready: bool = True) -> Upstream:
    vllm = Upstream("vllm", [URL], engine=HttpxEngine(), api_key="sk-own")
    vllm.replicas[0].healthy = ready
    return vllm


@pytest.fixture
def backend() -> Iterator[respx.MockRouter]:
    with respx.mock(base_url=URL) as router:
        yield router


async def count(
    body: dict[str, object] = CHAT,
    endpoint: Endpoint = Endpoint.CHAT,
    *,
    dialect: str = "vllm",
    ready: bool = True,
) -> int | None:
    counter = TokenCounter(upstream(ready=ready), DIALECTS[dialect])
    return await counter(parse_request(endpoint, msgspec.json.encode(body)))


async def test_vllm_counts_a_chat_with_its_template(backend: respx.MockRouter) -> None:
    """It is shown what the template makes a prompt of, with the gate's own key, and nothing else."""
    asked = backend.post("/tokenize").respond(json={"count": 12, "max_model_len": 100})
    assert await count() == 12
    request = asked.calls.last.request
    assert msgspec.json.decode(request.content) == {"model": "m", "messages": CHAT["messages"]}
    assert request.headers["authorization"] == "Bearer sk-own"


async def test_a_prompt_of_text_is_counted_and_a_batch_is_not(backend: respx.MockRouter) -> None:
    backend.post("/tokenize").respond(json={"count": 3})
    assert await count({"model": "m", "prompt": "a b c"}, Endpoint.COMPLETIONS) == 3
    assert await count({"model": "m", "prompt": ["a", "b"]}, Endpoint.COMPLETIONS) is None


async def test_who_has_no_tokenizer_is_not_asked() -> None:
    assert await count(dialect="openai") is None


@pytest.mark.parametrize("answer", [httpx.Response(404), httpx.Response(400), httpx.Response(200, text="x")])
async def test_who_cannot_say_is_none(backend: respx.MockRouter, answer: httpx.Response) -> None:
    backend.post("/tokenize").mock(return_value=answer)
    assert await count() is None


@pytest.mark.parametrize(
    "trouble",
    [
        httpx.Response(503),
        httpx.Response(500),
        httpx.Response(503, json={"error": {"message": "busy"}}),
        httpx.ConnectError("away"),
        httpx.ReadTimeout("late"),
    ],
)
async def test_who_cannot_say_now_may_be_asked_again(
    backend: respx.MockRouter, trouble: httpx.Response | Exception
) -> None:
    """As after an outage: a request that fits must not be refused for good."""
    backend.post("/tokenize").mock(side_effect=[trouble])
    with pytest.raises(Unavailable) as caught:
        await count()
    assert caught.value.headers == [(b"retry-after", b"1")]


async def test_without_a_replica_nobody_can_say_now() -> None:
    with pytest.raises(Unavailable):
        await count(ready=False)


@pytest.mark.parametrize(
    "more",
    [
        {"suffix": "x" * 100},
        {"documents": [{"text": "x" * 100}]},
        {"chat_template_kwargs": {}, "response_format": {"type": "json_schema", "json_schema": "x" * 100}},
    ],
)
async def test_what_the_tokenizer_is_not_shown_counts_by_its_bytes(
    backend: respx.MockRouter, more: dict[str, object]
) -> None:
    """A template may show it to the model; what is a number, or of a known other use, is none of the prompt."""
    backend.post("/tokenize").respond(json={"count": 12})
    counted = await count({**CHAT, "temperature": 0.5, "user": "u" * 50, "stop": ["a" * 50], **more})
    assert counted is not None
    assert 112 <= counted < 180


async def test_a_chat_counted_as_messages_has_its_tools_by_their_bytes(backend: respx.MockRouter) -> None:
    """llama.cpp's server counts by Anthropic's API, where calls and tools are written otherwise."""
    asked = backend.post("/v1/messages/count_tokens").respond(json={"input_tokens": 12})
    assert await count(dialect="llama_server") == 12
    call = {"function": {"name": "f", "arguments": "x" * 100}}
    answer = {"role": "assistant", "content": [{"type": "text", "text": "a"}], "tool_calls": [call]}
    messages = [*CHAT["messages"], answer]
    tools = [{"type": "function", "function": {"name": "f", "description": "y" * 100}}]
    counted = await count({"model": "m", "messages": messages, "tools": tools}, dialect="llama_server")
    assert counted is not None
    assert 212 <= counted < 340
    assert msgspec.json.decode(asked.calls.last.request.content) == {"model": "m", "messages": messages}
    assert await count({"model": "m"}, dialect="llama_server") is None
