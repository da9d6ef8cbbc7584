"""How likely a model finds a text: asked as its engine can be asked."""

import math

import httpx
import pytest

from llmgate.errors import UpstreamFailed
from llmgate_platform.evaluation.probes import Engine, NotScored

from ..engines import FakeVllm
from ..gate import PLUGIN, Document, OpenPlatform


async def test_a_vllm_without_adapters_scores_prompts_at_once(
    open_platform: OpenPlatform, engine: FakeVllm
) -> None:
    """With adapters enabled, two such requests can end its engine: then each token is made to come next."""

    def change(document: Document) -> None:
        del document["plugins"][PLUGIN]["models"][0]["train_from"]

    async with open_platform(change) as gate:
        answer = await (await gate.register()).post("/models/1/evaluate", {"samples": 2})
        assert answer.json()["metrics"]["perplexity"] == round(math.exp(0.5), 4)
        assert len(engine.probes) == 2
        assert all(probe["prompt_logprobs"] == 0 for probe in engine.probes)


async def test_an_engine_that_tells_no_probabilities_gets_no_perplexity(open_platform: OpenPlatform) -> None:
    def change(document: Document) -> None:
        document["upstreams"]["llm"]["dialect"] = "generic"
        del document["plugins"][PLUGIN]["models"][0]["train_from"]

    async with open_platform(change) as gate:
        body = (await (await gate.register()).post("/models/1/evaluate", {"samples": 1})).json()
        assert body["metrics"]["perplexity"] is None
        assert (
            body["notes"][0]
            == "perplexity: this model's server does not tell how likely it finds a given text"
        )


def told(**completion: object) -> httpx.AsyncClient:
    """A llama.cpp server that has one token for each text, and then says what comes next."""

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/tokenize":
            return httpx.Response(200, json={"tokens": [7]})
        return httpx.Response(200, json={"choices": [{"logprobs": {"content": [completion]}}]})

    return httpx.AsyncClient(transport=httpx.MockTransport(answer))


async def test_the_token_that_was_made_to_come_next_is_scored() -> None:
    async with told(id=7, logprob=-0.5) as http:
        assert await Engine(http, "http://llama", "llama_server", "m").logprobs("p", "r") == [-0.5]


async def test_a_server_that_lets_another_token_come_is_not_believed() -> None:
    async with told(id=8, logprob=-0.5) as http:
        with pytest.raises(NotScored, match="does not take logit_bias"):
            await Engine(http, "http://llama", "llama_server", "m").logprobs("p", "r")


async def test_a_server_that_fails_is_told() -> None:
    failing = httpx.MockTransport(lambda request: httpx.Response(500))
    async with httpx.AsyncClient(transport=failing) as http:
        with pytest.raises(UpstreamFailed, match="could not score a text"):
            await Engine(http, "http://llama", "llama_server", "m").logprobs("p", "r")
