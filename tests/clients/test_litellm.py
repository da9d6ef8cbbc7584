"""LiteLLM as a library, through the gate."""

import warnings
from typing import Any

import pytest

from clients.backend import TEXT, VECTOR, DynamicUpstream, Failure
from clients.conftest import FINISHED, WEATHER, OpenSide, Side

pytestmark = pytest.mark.filterwarnings("ignore")  # of the client's own, on its way to newer libraries

HI: Any = [{"role": "user", "content": "Hi"}]


@pytest.fixture(scope="module")
def litellm() -> Any:
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("ignore")
        patch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # or it would fetch one at import
        module = pytest.importorskip("litellm", reason="litellm is not installed (make test-clients)")
    module.telemetry = False
    return module


def asked(side: Side, **fields: Any) -> dict[str, Any]:
    return {"model": "openai/small", "api_base": side.url, "api_key": side.key, **fields}


async def test_chat(litellm: Any, side: Side) -> None:
    """An answer and its usage."""
    answer = await litellm.acompletion(**asked(side, messages=HI))
    assert answer.choices[0].message.content == "".join(TEXT)
    assert answer.usage.total_tokens == 12
    assert await side.charged() == [FINISHED]


@pytest.mark.parametrize("usage", [False, True])
async def test_streams(usage: bool, litellm: Any, side: Side) -> None:
    """With usage where it is asked for."""
    options = {"stream_options": {"include_usage": True}} if usage else {}
    stream = await litellm.acompletion(**asked(side, messages=HI, stream=True, **options))
    chunks = [chunk async for chunk in stream]
    said = (chunk.choices[0].delta.content for chunk in chunks if chunk.choices)
    assert "".join(text or "" for text in said) == "".join(TEXT)
    reported = [chunk.usage.total_tokens for chunk in chunks if getattr(chunk, "usage", None)]
    assert reported == ([12] if usage else [])
    assert await side.charged() == [FINISHED]


async def test_tools(litellm: Any, side: Side) -> None:
    """The call comes down as it is."""
    answer = await litellm.acompletion(**asked(side, messages=HI, tools=[WEATHER]))
    [call] = answer.choices[0].message.tool_calls
    assert (call.function.name, call.function.arguments) == ("weather", '{"city":"Zürich"}')


async def test_embeddings(litellm: Any, side: Side) -> None:
    """As numbers."""
    answer = await litellm.aembedding(**asked(side, input=["a"], encoding_format="float"))
    assert answer.data[0]["embedding"] == VECTOR


async def test_a_spent_quota_is_told_once(litellm: Any, open_side: OpenSide) -> None:
    """Though it comes as 429."""
    async with open_side(DynamicUpstream(), quotas=[{"per": "user", "tokens": 1}]) as side:
        with pytest.raises(litellm.RateLimitError, match="used up"):
            await litellm.acompletion(**asked(side, messages=HI, max_retries=3))
        assert (side.requests, side.backend.asked) == (1, [])


async def test_an_upstreams_error_is_retried_by_the_client_alone(litellm: Any, open_side: OpenSide) -> None:
    """One failure, two tries."""
    async with open_side(DynamicUpstream(failures=[Failure(b"500 Internal Server Error")])) as side:
        answer = await litellm.acompletion(**asked(side, messages=HI, max_retries=2))
        assert answer.usage.total_tokens == 12
        assert (len(side.backend.asked), side.requests) == (2, 2)
