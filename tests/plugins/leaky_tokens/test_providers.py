"""The providers: asked for one answer at a time, for what was ordered and no more."""

from typing import Any

import msgspec
import pytest
from servers import refused_url

from plugins.leaky_tokens.conftest import OpenLeakyGate
from plugins.leaky_tokens.gate import Providers, Running


async def test_the_provider_is_asked_for_at_most_the_tokens_with_its_own_key(
    running: Running, providers: Providers
) -> None:
    """OpenAI's dialect: the caller's token stays here, the limit is `max_completion_tokens`."""
    account = await running.account()
    await running.consume(account, 50, prompt="Hello")
    path, headers, body = providers.requests[-1]
    assert path == "/v1/chat/completions"
    assert headers[b"authorization"] == b"Bearer sk-of-the-provider"
    assert body == {
        "model": "gpt-4o-mini",
        "messages": [{"role": "user", "content": "Hello"}],
        "max_completion_tokens": 50,
    }


@pytest.mark.parametrize(
    ("provider", "path", "model"),
    [
        ("openai", "/v1/chat/completions", "gpt-4o-mini"),
        ("qwen", "/v1/chat/completions", "qwen-plus"),
        ("gemini", "/chat/completions", "gemini-2.0-flash"),
    ],
)
async def test_each_provider_is_an_upstream_with_a_quota_of_its_own(
    running: Running, providers: Providers, provider: str, path: str, model: str
) -> None:
    account = await running.account()
    answer = await running.consume(account, 30, provider=provider)
    assert answer.json()["providerResponse"]["provider"] == provider
    assert (providers.requests[-1][0], providers.requests[-1][2]["model"]) == (path, model)
    left = {name: await running.left(account, name) for name in ("openai", "qwen", "gemini")}
    assert left == {"openai": 1000, "qwen": 1000, "gemini": 1000} | {provider: 970}


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, b'{"error":{"message":"boom"}}'),
        (401, b'{"error":{"message":"bad key"}}'),
        (200, b"not json"),
        (200, b"[1]"),
        (200, b'{"choices":[]}'),
        (200, b'{"choices":[{"message":{"content":5}}]}'),
        (200, b'{"choices":[{"message":{"content":"\xff"}}]}'),
        (200, b"[" * 100_000),
    ],
)
async def test_a_provider_that_does_not_answer_costs_nothing(
    running: Running, providers: Providers, status: int, body: bytes
) -> None:
    account = await running.account()
    good = providers.body
    providers.status, providers.body = status, body
    answer = await running.consume(account, 400)
    assert answer.status_code == 502
    assert answer.json() == {"message": "provider call failed", "timestamp": "2026-02-05T12:00:00Z"}
    assert await running.left(account) == 1000
    providers.status, providers.body = 200, good
    assert (await running.consume(account, 1000)).json()["used"] == 1000, "the bucket has them back, too"
    assert [record.outcome for record in await running.records()] == ["failed", "finished"]


async def test_an_answer_without_text_is_an_answer(running: Running, providers: Providers) -> None:
    """A model that stops at once says nothing, and null is how some backends write that."""
    providers.body = msgspec.json.encode({"choices": [{"message": {"content": None}}]})
    account = await running.account()
    answer = (await running.consume(account, 10)).json()
    assert answer["allowed"]
    assert answer["providerResponse"].keys() == {"id", "provider", "message"}
    assert answer["providerResponse"]["message"] == ""


async def test_a_provider_out_of_reach_is_502_until_its_circuit_opens(open_gate: OpenLeakyGate) -> None:
    """Then 503 in the gateway's own words, at once and for nothing."""
    url = await refused_url()

    def away(document: dict[str, Any]) -> None:
        document["upstreams"]["openai"] |= {"urls": [url], "breaker": {"failures": 2, "open_for": 60}}

    async with open_gate(away) as running:
        account = await running.account()
        answers = [await running.consume(account, 100) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [502, 502, 503]
        assert answers[2].json() == {
            "service": "openai",
            "status": "UNAVAILABLE",
            "message": "openai is not available at the moment",
            "timestamp": "2026-02-05T12:00:00Z",
        }
        assert int(answers[2].headers["retry-after"]) > 50
        assert await running.left(account) == 1000
        assert (await running.consume(account, 1000, provider="qwen")).status_code == 200
