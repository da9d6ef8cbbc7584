"""Clients on Node: OpenAI's own, and the AI SDK with its provider for OpenAI-compatible servers."""

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from clients.backend import TEXT, VECTOR, DynamicUpstream, Failure
from clients.conftest import FINISHED, OpenSide, Side

NODE = Path(__file__).parent / "node"
CLIENTS = ["openai.mjs", "ai.mjs"]
both = pytest.mark.parametrize("client", CLIENTS)

if shutil.which("node") is None:
    pytest.skip("node is not installed", allow_module_level=True)
if not (NODE / "node_modules").is_dir():
    pytest.skip("the clients are not installed (make test-clients does it)", allow_module_level=True)


async def run(client: str, step: str, side: Side, *, retries: int = 0, usage: bool = False) -> Any:
    """What the client was told in this step."""
    arguments = [client, step, side.url, side.key, str(retries), str(usage).lower()]
    process = await asyncio.create_subprocess_exec(
        "node", *arguments, cwd=NODE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return json.loads(out.splitlines()[-1])


@both
async def test_chat(client: str, side: Side) -> None:
    """An answer and its usage."""
    assert (await run(client, "chat", side))["told"] == {"text": "".join(TEXT), "usage": [12]}
    assert await side.charged() == [FINISHED]


async def test_streams_of_openai(side: Side) -> None:
    """Usage in an event of its own if it is asked for, and nowhere if not."""
    text = "".join(TEXT)
    plain, asking = await run(CLIENTS[0], "stream", side), await run(CLIENTS[0], "stream_usage", side)
    assert plain["told"] == {"text": text, "empty": 0, "usage": []}
    assert asking["told"] == {"text": text, "empty": 1, "usage": [12]}
    assert await side.charged() == [FINISHED] * 2


@pytest.mark.parametrize("usage", [False, True])
async def test_streams_of_the_ai_sdk(usage: bool, side: Side) -> None:
    """By its setting `includeUsage`."""
    told = (await run(CLIENTS[1], "stream", side, usage=usage))["told"]
    assert told == {"text": "".join(TEXT), "usage": [12] if usage else []}
    assert await side.charged() == [FINISHED]


async def test_tools_of_openai(side: Side) -> None:
    """The call comes down as it is."""
    told = (await run(CLIENTS[0], "tools", side))["told"]
    assert told == {"name": "weather", "input": {"city": "Zürich"}}


async def test_tools_of_the_ai_sdk(side: Side) -> None:
    """It runs the tool and tells the model what came of it."""
    told = (await run(CLIENTS[1], "tools", side))["told"]
    assert told == {"name": "weather", "input": {"city": "Zürich"}, "text": "".join(TEXT)}
    last = side.backend.asked[-1][1]["messages"][-1]
    assert (last["role"], last["content"]) == ("tool", "rain in Zürich")


@both
async def test_embeddings(client: str, side: Side) -> None:
    """OpenAI's client asks for base64 by itself, the AI SDK for numbers."""
    assert (await run(client, "embeddings", side))["told"] == VECTOR


async def test_models_of_openai(side: Side) -> None:
    """The list, and one of it."""
    assert (await run(CLIENTS[0], "models", side))["told"] == ["small", "small"]


@both
@pytest.mark.parametrize("status", [402, 429])
async def test_a_spent_quota_is_told(client: str, status: int, open_side: OpenSide) -> None:
    """Once by OpenAI's client, which obeys `x-should-retry`; the AI SDK repeats every 429, but no 402."""
    routes = [{"path": "/v1", "upstream": "vllm", "quota_status": status}]
    async with open_side(DynamicUpstream(), routes=routes, quotas=[{"per": "user", "tokens": 1}]) as side:
        told = await run(client, "chat", side, retries=0 if (client, status) == ("ai.mjs", 429) else 3)
        assert (told["status"], told["code"]) == (status, "insufficient_quota")
        assert (side.requests, side.backend.asked) == (1, [])


@both
async def test_an_upstreams_error_is_retried_by_the_client_alone(client: str, open_side: OpenSide) -> None:
    """One failure, two tries, one charge."""
    async with open_side(DynamicUpstream(failures=[Failure(b"500 Internal Server Error")])) as side:
        told = (await run(client, "chat", side, retries=2))["told"]
        assert told["usage"] == [12]
        assert (len(side.backend.asked), side.requests) == (2, 2)


@both
async def test_a_stream_that_breaks_off_is_an_error_and_not_an_end(client: str, open_side: OpenSide) -> None:
    """Nothing is tried again behind the client's back."""
    async with open_side(DynamicUpstream(cut=True)) as side:
        told = await run(client, "stream", side, retries=3)
        assert "error" in told, told
        assert (len(side.backend.asked), side.requests) == (1, 1)
