"""LangChain's ChatOpenAI and OpenAIEmbeddings, through the gate."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest

from clients.backend import TEXT, VECTOR, DynamicUpstream, Failure
from clients.conftest import FINISHED, WEATHER, OpenSide, Side

langchain = pytest.importorskip(
    "langchain_openai", reason="langchain-openai is not installed (make test-clients installs it)"
)


ChatOf = Callable[..., Any]


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    """A client of the test's own: LangChain keeps one for each URL for ever, and openai closes it when it is
    collected, in the loop of whatever test runs then."""
    async with httpx.AsyncClient(trust_env=False) as client:
        yield client


@pytest.fixture
def chat_of(http: httpx.AsyncClient) -> ChatOf:
    def made(side: Side, **settings: Any) -> Any:
        return langchain.ChatOpenAI(
            base_url=side.url, api_key=side.key, model="small", http_async_client=http, **settings
        )

    return made


async def test_chat(side: Side, chat_of: ChatOf) -> None:
    """An answer and its usage."""
    answer = await chat_of(side).ainvoke("Hi")
    assert answer.content == "".join(TEXT)
    assert answer.usage_metadata["total_tokens"] == 12
    assert await side.charged() == [FINISHED]


@pytest.mark.parametrize("usage", [False, True])
async def test_streams(usage: bool, side: Side, chat_of: ChatOf) -> None:
    """With usage where it is asked for."""
    chunks = [chunk async for chunk in chat_of(side, stream_usage=usage).astream("Hi")]
    assert "".join(chunk.content for chunk in chunks) == "".join(TEXT)
    reported = [chunk.usage_metadata["total_tokens"] for chunk in chunks if chunk.usage_metadata]
    assert reported == ([12] if usage else [])
    assert await side.charged() == [FINISHED]


async def test_tools(side: Side, chat_of: ChatOf) -> None:
    """The call comes down, read."""
    answer = await chat_of(side).bind_tools([WEATHER]).ainvoke("Hi")
    [call] = answer.tool_calls
    assert (call["name"], call["args"]) == ("weather", {"city": "Zürich"})


async def test_embeddings(side: Side, http: httpx.AsyncClient) -> None:
    """It asks for base64 by itself."""
    embeddings = langchain.OpenAIEmbeddings(
        base_url=side.url,
        api_key=side.key,
        model="small",
        http_async_client=http,
        check_embedding_ctx_length=False,  # or it would fetch OpenAI's tokenizer
    )
    assert await embeddings.aembed_documents(["a", "b"]) == [VECTOR] * 2
    assert side.backend.asked[-1][1]["encoding_format"] == "base64"


async def test_a_spent_quota_is_told_once(open_side: OpenSide, chat_of: ChatOf) -> None:
    """Though it comes as 429."""
    import openai

    async with open_side(DynamicUpstream(), quotas=[{"per": "user", "tokens": 1}]) as side:
        with pytest.raises(openai.RateLimitError, match="used up"):
            await chat_of(side, max_retries=3).ainvoke("Hi")
        assert (side.requests, side.backend.asked) == (1, [])


async def test_an_upstreams_error_is_retried_by_the_client_alone(
    open_side: OpenSide, chat_of: ChatOf
) -> None:
    """One failure, two tries."""
    async with open_side(DynamicUpstream(failures=[Failure(b"500 Internal Server Error")])) as side:
        assert (await chat_of(side, max_retries=2).ainvoke("Hi")).content == "".join(TEXT)
        assert (len(side.backend.asked), side.requests) == (2, 2)
