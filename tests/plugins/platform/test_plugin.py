"""What the rest of gate.toml must have before the platform starts on it."""

from collections.abc import Callable

import pytest

from .gate import PLUGIN, Document, OpenPlatform, PlatformGate, refusal


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda own, doc: own["models"][0].update(upstream="gpt"), 'models[0].upstream: no upstream "gpt"'),
        (lambda own, doc: own["models"][0].update(route="r"), 'models[0].route: there is no [[routes]] called "r"'),
        (
            lambda own, doc: doc["routes"][0].update(middleware=["ratelimit", "llmgate_platform.adapters"]),
            'models[0].route: the route "/v1" lacks quota and accounting: add to its middleware',
        ),
        (
            lambda own, doc: doc["routes"][0].update(models=["base"]),
            'models[0].route: the route "/v1" lists its models, which adapters are not',
        ),
        (
            lambda own, doc: doc["upstreams"]["llm"].update(dialect="generic"),
            'models[0].serve_with: the upstream "llm" is no vLLM: write serve_with = "llama.cpp" and gguf',
        ),
        (
            lambda own, doc: doc["routes"][0].pop("middleware"),
            'serves adapters, each its owner\'s: put "llmgate_platform.adapters" behind ratelimit into its middleware',
        ),
        (
            lambda own, doc: doc["upstreams"]["llm"].pop("lora"),
            "upstreams.llm serves adapters of SmolLM2 135M: write lora = true",
        ),
    ],
)  # fmt: skip
async def test_what_does_not_fit_keeps_the_gate_from_starting(
    open_platform: OpenPlatform, change: Callable[[Document, Document], object], problem: str
) -> None:
    told = await refusal(open_platform, change)
    assert problem in told
    assert f"plugins.{PLUGIN}" in told


async def test_what_lists_every_operation_is_at_api_docs(platform: PlatformGate) -> None:
    page = await platform.http.get("/api-docs")
    assert (page.status_code, page.headers["content-type"].partition(";")[0]) == (200, "text/html")
    document = (await platform.http.get("/api-docs/openapi.json")).json()
    assert document["info"]["title"] == "LLM Platform API"
    assert "/api/models/{id}/generate" in document["paths"]
