"""OpenAI's own client for Python, through the gate."""

from typing import Any

import pytest

from clients.backend import TEXT, VECTOR, DynamicUpstream, Failure
from clients.conftest import FINISHED, WEATHER, OpenSide, Side

openai = pytest.importorskip("openai", reason="openai is not installed (make test-clients installs it)")

HI: Any = [{"role": "user", "content": "Hi"}]


def client_of(side: Side, **settings: Any) -> Any:
    return openai.AsyncOpenAI(base_url=side.url, api_key=side.key, **settings)


async def test_chat(side: Side) -> None:
    """An answer and its usage."""
    async with client_of(side) as client:
        answer = await client.chat.completions.create(model="small", messages=HI)
    assert answer.choices[0].message.content == "".join(TEXT)
    assert answer.usage.total_tokens == 12
    assert await side.charged() == [FINISHED]


async def test_a_stream_that_asks_for_no_usage_has_none(side: Side) -> None:
    """Code that reads `choices[0]` of every chunk would break on the event that carries it."""
    async with client_of(side) as client:
        stream = await client.chat.completions.create(model="small", messages=HI, stream=True)
        chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "".join(TEXT)
    assert [chunk.usage for chunk in chunks] == [None] * len(chunks)
    assert await side.charged() == [FINISHED]


async def test_a_stream_that_asks_for_usage_ends_in_it(side: Side) -> None:
    """And has it nowhere else, though the gate asks for more, for itself."""
    async with client_of(side) as client:
        stream = await client.chat.completions.create(
            model="small", messages=HI, stream=True, stream_options={"include_usage": True}
        )
        *chunks, last = [chunk async for chunk in stream]
    assert [chunk.usage for chunk in chunks] == [None] * len(chunks)
    assert (last.choices, last.usage.total_tokens) == ([], 12)


@pytest.mark.parametrize("stream", [False, True])
async def test_tools(stream: bool, side: Side) -> None:
    """The definition goes up and the call comes down as they are."""
    async with client_of(side) as client:
        asked = {"model": "small", "messages": HI, "tools": [WEATHER]}
        if stream:
            pieces = await client.chat.completions.create(**asked, stream=True)
            calls = [call async for piece in pieces for call in piece.choices[0].delta.tool_calls or ()]
        else:
            calls = (await client.chat.completions.create(**asked)).choices[0].message.tool_calls
    assert [(call.function.name, call.function.arguments) for call in calls] == [
        ("weather", '{"city":"Zürich"}')
    ]
    assert side.backend.asked[-1][1]["tools"] == [WEATHER]


@pytest.mark.parametrize("encoding", ["base64", "float", None])
async def test_embeddings(encoding: str | None, side: Side) -> None:
    """This client asks for base64 by itself and decodes it; whoever asks for it gets it as it is."""
    asked = {} if encoding is None else {"encoding_format": encoding}
    async with client_of(side) as client:
        answer = await client.embeddings.create(model="small", input=["a", "b"], **asked)
    vectors = [item.embedding for item in answer.data]
    assert vectors == ([VECTOR] * 2 if encoding != "base64" else [vectors[0]] * 2)
    assert isinstance(vectors[0], str) == (encoding == "base64")
    assert side.backend.asked[-1][1]["encoding_format"] == (encoding or "base64")
    assert await side.charged() == [("finished", 5, 0, "exact")]


async def test_models(side: Side) -> None:
    """A single one is answered from the list: vLLM does not serve it."""
    async with client_of(side) as client:
        assert [model.id async for model in client.models.list()] == ["small"]
        assert (await client.models.retrieve("small")).id == "small"
        with pytest.raises(openai.NotFoundError) as caught:
            await client.models.retrieve("large")
    assert caught.value.code == "model_not_found"


async def test_a_bad_key_is_told_once(side: Side) -> None:
    """An error of its own class, which is not retried."""
    async with client_of(side) as client:
        with pytest.raises(openai.AuthenticationError) as caught:
            await client.with_options(api_key="wrong").chat.completions.create(model="small", messages=HI)
    assert caught.value.code == "invalid_api_key"
    assert (side.requests, side.backend.asked) == (1, [])


@pytest.mark.parametrize(("status", "kind"), [(429, "RateLimitError"), (402, "APIStatusError")])
async def test_a_spent_quota_is_told_once(status: int, kind: str, open_side: OpenSide) -> None:
    """Never retried, though the client retries every 429 that does not forbid it."""
    routes = [{"path": "/v1", "upstream": "vllm", "quota_status": status}]
    async with open_side(DynamicUpstream(), routes=routes, quotas=[{"per": "user", "tokens": 1}]) as side:
        async with client_of(side, max_retries=5) as client:
            with pytest.raises(getattr(openai, kind)) as caught:
                await client.chat.completions.create(model="small", messages=HI)
        assert (caught.value.status_code, caught.value.code) == (status, "insufficient_quota")
        assert "retry-after" not in caught.value.response.headers
        assert (side.requests, side.backend.asked) == (1, [])


async def test_a_rate_limit_is_waited_for_as_long_as_the_gate_says(open_side: OpenSide) -> None:
    """The client obeys Retry-After, and its second try has room."""
    limits = [{"per": "key", "requests": 1, "window": "second"}]
    async with open_side(DynamicUpstream(), limits=limits) as side, client_of(side, max_retries=3) as client:
        for _ in range(2):
            await client.chat.completions.create(model="small", messages=HI)
        assert len(side.backend.asked) == 2
        assert 2 <= side.requests <= 4


async def test_an_upstreams_error_is_retried_by_the_client_alone(open_side: OpenSide) -> None:
    """The gate repeats nothing that a backend has answered: two failures, three tries, one charge."""
    backend = DynamicUpstream(
        failures=[Failure(b"500 Internal Server Error"), Failure(b"503 Service Unavailable")]
    )
    async with open_side(backend) as side, client_of(side, max_retries=2) as client:
        answer = await client.chat.completions.create(model="small", messages=HI)
        assert answer.usage.total_tokens == 12
        assert (len(backend.asked), side.requests) == (3, 3)
        assert sorted(await side.charged()) == [
            ("failed", 0, 0, "exact"),
            ("failed", 0, 0, "exact"),
            FINISHED,
        ]


async def test_an_upstreams_refusal_arrives_as_it_is(open_side: OpenSide) -> None:
    """Its words, its code, once."""
    async with (
        open_side(DynamicUpstream(failures=[Failure(b"400 Bad Request")])) as side,
        client_of(side) as client,
    ):
        with pytest.raises(openai.BadRequestError, match="as told") as caught:
            await client.chat.completions.create(model="small", messages=HI)
        assert caught.value.code == "told"
        assert len(side.backend.asked) == 1


async def test_a_stream_that_breaks_off_is_an_error_and_not_an_end(open_side: OpenSide) -> None:
    """What came before it arrives; nothing is tried again behind the client's back."""
    async with open_side(DynamicUpstream(cut=True)) as side, client_of(side, max_retries=5) as client:
        stream = await client.chat.completions.create(model="small", messages=HI, stream=True)
        said = []
        with pytest.raises(Exception, match=r"incomplete|peer closed|closed|connection") as caught:
            async for chunk in stream:
                said.append(chunk.choices[0].delta.content)
        assert not isinstance(caught.value, StopAsyncIteration)
        assert said == TEXT[:1]
        assert (len(side.backend.asked), side.requests) == (1, 1)
