"""Generation: what is asked of the engine, and what is answered."""

from typing import Any

import pytest

from llmgate.ledger import Filter

from .engines import FakeVllm
from .gate import ADA, BOB, PLUGIN, Document, OpenPlatform, PlatformGate


async def test_the_answer_is_the_prompt_and_what_follows(platform: PlatformGate, engine: FakeVllm) -> None:
    ada = await platform.register()
    answer = await ada.post("/models/1/generate", {"prompt": "  def f(n):\n"})
    assert answer.status_code == 200
    body = answer.json()
    assert body["text"] == "  def f(n):\n    return n % 2 == 0\n"  # to the byte
    assert (body["model_id"], body["model_name"]) == (1, "SmolLM2 135M")
    assert body["timestamp"] == "2027-01-15T08:00:00.000000"
    assert isinstance(body["generation_time"], float)
    assert body["parameters"] == {"temperature": 0.7, "max_length": 100, "top_p": 0.9, "top_k": 50}
    (asked,) = engine.completions
    assert {name: asked[name] for name in asked if name not in ("stream", "stream_options")} == {
        "model": "base", "prompt": "  def f(n):\n", "max_tokens": 100, "temperature": 0.7, "top_p": 0.9, "top_k": 50,
    }  # fmt: skip


async def test_parameters_reach_the_engine_and_nothing_else_does(
    platform: PlatformGate, engine: FakeVllm
) -> None:
    ada = await platform.register()
    more = {
        "seed": 7,
        "stop": ["\n\n"],
        "prompt_logprobs": 0,
        "echo": True,
        "lora": [],
        "model": "other",
        "n": 9,
    }
    answer = await ada.generate(temperature=0, top_p=1, top_k=0, **more)
    assert answer.status_code == 200
    (asked,) = engine.completions
    assert (asked["seed"], asked["stop"], asked["temperature"], asked["top_k"]) == (7, ["\n\n"], 0, 0)
    assert asked["model"] == "base"
    assert not {"prompt_logprobs", "echo", "lora", "n"} & asked.keys()


@pytest.mark.parametrize(
    ("dialect", "sent"),
    [
        ("vllm", {"top_k": 50}),
        ("llama_server", {"top_k": 50, "min_p": 0}),
        ("ollama", {"top_k": 50}),
        ("openai", {}),
        ("generic", {}),
    ],
)
async def test_each_engine_gets_what_it_knows(
    open_platform: OpenPlatform, engine: FakeVllm, dialect: str, sent: dict[str, Any]
) -> None:
    """llama.cpp has a min_p of its own, which would cut what top_p lets through."""

    def change(document: Document) -> None:
        document["upstreams"]["llm"]["dialect"] = dialect
        del document["plugins"][PLUGIN]["models"][0]["train_from"]

    async with open_platform(change) as gate:
        await (await gate.register()).generate()
        (asked,) = engine.completions
        assert {name: asked[name] for name in ("top_k", "min_p") if name in asked} == sent


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({}, "JSON data required"),
        ({"temperature": 1}, "Prompt is required"),
        ({"prompt": ""}, "Prompt is required"),
        ({"prompt": None}, "Invalid value for prompt: expected str, got null"),
        ({"prompt": "p", "temperature": 2.1}, "Invalid value for temperature: expected float <= 2.0"),
        ({"prompt": "p", "temperature": "hot"}, "Invalid value for temperature: expected float, got str"),
        ({"prompt": "p", "max_length": 0}, "Invalid value for max_length: expected int >= 1"),
        ({"prompt": "p", "max_length": 4097}, "Invalid value for max_length: at most 4096"),
        ({"prompt": "p", "top_p": 0}, "Invalid value for top_p: expected float > 0.0"),
        ({"prompt": "p", "top_k": -1}, "Invalid value for top_k: expected int >= 0"),
    ],
)
async def test_what_is_wrong_is_told(open_platform: OpenPlatform, body: dict[str, Any], error: str) -> None:
    def bound(document: Document) -> None:
        document["upstreams"]["llm"]["context_length"] = 4096

    async with open_platform(bound) as gate:
        answer = await (await gate.register()).post("/models/1/generate", body)
        assert (answer.status_code, answer.json()) == (400, {"error": error})


@pytest.mark.parametrize("model", ["99", "0", "abc", "-1", "9" * 30, "1.0", "²"])
async def test_models_that_are_not_there(platform: PlatformGate, model: str) -> None:
    ada = await platform.register()
    answer = await ada.post(f"/models/{model}/generate", {"prompt": "p"})
    assert (answer.status_code, answer.json()) == (404, {"error": "Resource not found"})


@pytest.mark.parametrize(
    ("status", "said", "told"),
    [
        (400, {"error": {"message": "too long for this model"}}, (400, "too long for this model")),
        (400, {"error": "as Ollama says it"}, (400, "as Ollama says it")),
        (500, {"error": {"message": "a path: /root"}}, (502, "The model's server could not answer.")),
        (429, None, (503, "The model's server is too busy: try again later")),
        (404, None, (503, "The model is not being served yet: try again in a few seconds")),
    ],
)
async def test_errors_of_the_engine_are_put_into_the_guides_shape(
    platform: PlatformGate, engine: FakeVllm, status: int, said: dict[str, Any] | None, told: tuple[int, str]
) -> None:
    ada = await platform.register()
    engine.status, engine.error = status, said
    answer = await ada.generate()
    assert (answer.status_code, answer.json()) == (told[0], {"error": told[1]})


async def test_the_ledger_has_the_engines_numbers(platform: PlatformGate) -> None:
    ada = await platform.register()
    await ada.generate(prompt="12345")
    (record,) = await platform.running.gate.services.reports.records(Filter(user_id=1))
    assert (record.input_tokens, record.output_tokens, record.certainty) == (5, 22, "exact")
    assert (record.surface, record.upstream, record.model, record.key_id) == ("platform", "llm", "base", 1)


async def test_a_token_quota_holds(open_platform: OpenPlatform, engine: FakeVllm) -> None:
    """The route's layers: a quota lowers what may be generated, and is spent."""

    def quota(document: Document) -> None:
        document["quotas"] = [{"per": "user", "tokens": 40}]

    async with open_platform(quota) as gate:
        ada = await gate.register()
        assert (await ada.generate(prompt="12345", max_length=200)).status_code == 200
        assert engine.completions[-1]["max_tokens"] == 35
        assert (await ada.generate(prompt="1" * 30, max_length=200)).json() == {
            "error": "Rate limit exceeded"
        }


async def test_a_model_of_ones_own_is_ones_own(platform: PlatformGate) -> None:
    ada, bob = await platform.register(ADA), await platform.register(BOB)
    made = await ada.post("/models", {"name": "mine", "base_model": "HuggingFaceTB/SmolLM2-135M"})
    assert made.status_code == 201
    assert (await ada.generate(made.json()["id"])).json()["model_name"] == "mine"
    assert (await bob.generate(made.json()["id"])).status_code == 404
