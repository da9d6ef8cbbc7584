"""Adapters as models of OpenAI's API: listed and answered for their owner, unknown to everybody else."""

from typing import Any

import httpx

from llmgate.ledger import Filter

from ..engines import FakeVllm
from ..gate import BOB, CODING, Caller, Document, OpenPlatform, PlatformGate, finish
from ..rows import eventually

NAME = "llmgate-job-1"


async def with_adapter(gate: PlatformGate, engine: FakeVllm) -> tuple[Caller, Caller]:
    """Ada, whose adapter is served, and Bob."""
    ada, bob = await gate.register(), await gate.register(BOB)
    await ada.post("/training/coding", CODING)
    await finish(gate)

    async def loaded() -> bool:
        return NAME in engine.adapters

    await eventually(loaded, bool)
    return ada, bob


async def ask(who: Caller, model: str = NAME, path: str = "/v1/completions", **more: Any) -> httpx.Response:
    return await who.http.post(
        path, json={"model": model, "prompt": "p", **more}, headers={"X-API-Key": who.key}
    )


async def listed(who: Caller) -> list[str]:
    answer = await who.http.get("/v1/models", headers={"X-API-Key": who.key})
    assert answer.status_code == 200
    return [card["id"] for card in answer.json()["data"]]


async def test_an_adapter_is_a_model_of_its_owners(platform: PlatformGate, engine: FakeVllm) -> None:
    ada, bob = await with_adapter(platform, engine)
    assert (await ask(ada)).status_code == 200
    assert engine.completions[-1]["model"] == NAME
    refused = await ask(bob)
    assert refused.status_code == 404
    assert refused.json()["error"]["code"] == "model_not_found"
    assert (await ask(bob, "base")).status_code == 200
    assert await listed(ada) == ["base", NAME]
    assert await listed(bob) == ["base"]
    card = await ada.http.get(f"/v1/models/{NAME}", headers={"X-API-Key": ada.key})
    assert (card.json()["id"], card.json()["parent"]) == (NAME, "base")
    assert (await bob.http.get(f"/v1/models/{NAME}", headers={"X-API-Key": bob.key})).status_code == 404


async def test_it_costs_what_its_base_costs(open_platform: OpenPlatform, engine: FakeVllm) -> None:
    def prices(document: Document) -> None:
        document["prices"] = {"base": {"input": 1.0, "output": 2.0}, "*": {"input": 9.0, "output": 9.0}}

    async with open_platform(prices) as gate:
        ada, _ = await with_adapter(gate, engine)
        assert (await ask(ada)).status_code == 200
        assert (await ada.generate(2)).status_code == 200
        records = await gate.running.gate.services.reports.records(Filter(user_id=1))
        costs = [(record.model, record.cost) for record in records if record.endpoint == "completions"]
        assert costs == [("base", 10 + 44), ("base", 1 + 44)]


async def test_where_every_model_needs_a_price_adapters_have_that_of_their_base(
    open_platform: OpenPlatform, engine: FakeVllm
) -> None:
    """By the platform's own API; OpenAI's clients need a price for "*" there."""

    def prices(document: Document) -> None:
        document["prices"] = {"base": {"input": 1.0, "output": 2.0}}

    async with open_platform(prices) as gate:
        ada, _ = await with_adapter(gate, engine)
        assert (await ada.generate(2)).status_code == 200
        assert "llmgate_adapter" not in engine.completions[-1]
        assert (await ask(ada)).status_code == 404


async def test_a_route_that_chooses_among_upstreams_answers_with_the_adapter(
    open_platform: OpenPlatform, engine: FakeVllm
) -> None:
    def several(document: Document) -> None:
        document["upstreams"]["other"] = {"urls": ["http://127.0.0.1:9"]}
        document["models"] = [{"name": "base", "targets": [{"upstream": "llm", "model": "base"}]}]
        route = document["routes"][0]
        del route["upstream"]
        route["upstreams"] = ["llm", "other"]

    async with open_platform(several) as gate:
        ada, bob = await with_adapter(gate, engine)
        answer = await ada.generate(2)
        assert answer.status_code == 200, answer.text
        assert engine.completions[-1]["model"] == NAME
        assert (await bob.generate(1)).status_code == 200
        assert engine.completions[-1]["model"] == "base"
        records = await gate.running.gate.services.reports.records(Filter(user_id=1))
        assert {record.model for record in records if record.endpoint == "completions"} == {"base"}


async def test_nobody_asks_for_anothers_adapter_as_the_platform_does(
    platform: PlatformGate, engine: FakeVllm
) -> None:
    _, bob = await with_adapter(platform, engine)
    assert (await ask(bob, "base", llmgate_adapter=1)).status_code == 404
    assert engine.completions == []


async def test_an_engine_that_fails_is_told_as_it_is(platform: PlatformGate, engine: FakeVllm) -> None:
    ada, _ = await with_adapter(platform, engine)
    engine.status, engine.error = 400, {"error": {"message": "no"}}
    answer = await ask(ada)
    assert (answer.status_code, answer.json()) == (400, {"error": {"message": "no"}})
