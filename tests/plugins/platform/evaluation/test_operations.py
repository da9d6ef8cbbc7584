"""Evaluations: what is measured, how it is followed, and what it costs whom."""

import math
from typing import Any

import pytest

from llmgate.ledger import Filter

from ..engines import FakeVllm
from ..gate import BOB, CODING, PlatformGate, finish
from ..rows import eventually


async def test_an_evaluation_is_answered_when_it_is_done(platform: PlatformGate, engine: FakeVllm) -> None:
    ada = await platform.register()
    answer = await ada.post("/models/1/evaluate", {"eval_name": "first", "samples": 3})
    assert answer.status_code == 201, answer.text
    body = answer.json()
    assert (body["id"], body["model_id"], body["eval_name"], body["samples"]) == (1, 1, "first", 3)
    assert body["message"] == "Evaluation completed successfully"
    metrics = body["metrics"]
    assert list(metrics) == [
        "perplexity",
        "bleu_score",
        "rouge_score",
        "response_diversity",
        "avg_response_length",
    ]
    assert metrics["perplexity"] == round(math.exp(0.5), 4)
    assert metrics["avg_response_length"] == 22.0
    assert metrics["response_diversity"] == round(4 / 12, 4)  # the same five words three times
    asked = engine.completions[0]
    assert (asked["temperature"], asked["max_tokens"]) == (0, 64)


async def test_evaluations_are_listed_newest_first(platform: PlatformGate) -> None:
    ada = await platform.register()
    for name in ("one", "two"):
        assert (await ada.post("/models/1/evaluate", {"eval_name": name, "samples": 1})).status_code == 201
    listed = (await platform.get("/evaluations"))["evaluations"]
    assert [each["eval_name"] for each in listed] == ["two", "one"]
    assert listed[0]["perplexity"] == round(math.exp(0.5), 4)
    assert (listed[0]["status"], listed[0]["done"], listed[0]["created_at"]) == (
        "COMPLETED", 1, "2027-01-15T08:00:00.000000",
    )  # fmt: skip
    assert await platform.get("/evaluations/2") == listed[0]
    names = [each["name"] for each in await platform.get("/models/1/metrics")]
    assert names == ["two", "one"]
    assert (await platform.http.get("/api/evaluations/9")).json() == {"error": "Resource not found"}


async def test_long_ones_can_be_followed(platform: PlatformGate) -> None:
    ada = await platform.register()
    answer = await ada.post("/models/1/evaluate", {"samples": 2, "wait": False})
    assert answer.status_code == 202
    assert answer.json()["message"] == "Evaluation started successfully"

    async def look() -> dict[str, Any]:
        found: dict[str, Any] = await platform.get(f"/evaluations/{answer.json()['id']}")
        return found

    done = await eventually(look, lambda found: found["status"] != "RUNNING")
    assert (done["status"], done["done"]) == ("COMPLETED", 2)


async def test_what_it_costs(platform: PlatformGate) -> None:
    """One request of the key's day; the answers' tokens are the user's; who scores pays nothing."""
    ada = await platform.register()
    await ada.post("/models/1/evaluate", {"samples": 3})
    (key,) = await ada.keys()
    assert key["usage_count"] == 1
    records = await platform.running.gate.services.reports.records(Filter(user_id=1))
    answers = [record for record in records if record.endpoint == "completions"]
    assert len(answers) == 3
    assert {record.key_id for record in answers} == {None}
    assert sum(record.output_tokens for record in answers) == 66
    assert len(records) == 4
    assert (await platform.get("/statistics"))["total_generations"] == 0


async def test_one_at_a_time(platform: PlatformGate) -> None:
    ada = await platform.register()
    await ada.post("/models/1/evaluate", {"samples": 5, "wait": False})
    second = await ada.post("/models/1/evaluate", {"samples": 5})
    assert second.json() == {"error": "Too many evaluations: wait for the one that runs"}


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"samples": 0}, "Invalid value for samples: expected int >= 1"),
        ({"samples": 201}, "Invalid value for samples: expected int <= 200"),
        ({"eval_name": ""}, "Invalid value for eval_name: expected str of length >= 1"),
        ({"wait": "no"}, "Invalid value for wait: expected bool, got str"),
    ],
)
async def test_what_is_wrong_is_told(platform: PlatformGate, body: dict[str, Any], error: str) -> None:
    answer = await (await platform.register()).post("/models/1/evaluate", body)
    assert (answer.status_code, answer.json()) == (400, {"error": error})


async def test_an_engine_that_fails_fails_the_evaluation(platform: PlatformGate, engine: FakeVllm) -> None:
    ada = await platform.register()
    engine.status = 500
    answer = await ada.post("/models/1/evaluate", {"samples": 2})
    assert (answer.status_code, answer.json()) == (502, {"error": "The model's server could not answer."})
    (listed,) = (await platform.get("/evaluations"))["evaluations"]
    assert (listed["status"], listed["error"]) == ("FAILED", "The model's server could not answer.")
    assert (await ada.keys())[0]["usage_count"] == 0


async def test_an_adapter_is_evaluated_as_it_answers(platform: PlatformGate, engine: FakeVllm) -> None:
    ada, bob = await platform.register(), await platform.register(BOB)
    await ada.post("/training/coding", CODING)
    model_id = await finish(platform)
    await eventually(lambda: ada.generate(model_id), lambda answer: answer.status_code == 200)
    body = (await ada.post(f"/models/{model_id}/evaluate", {"samples": 1})).json()
    assert body["metrics"]["perplexity"] == round(math.exp(0.25), 4)
    assert engine.probes[-1]["model"] == "llmgate-job-1"
    assert (await bob.post(f"/models/{model_id}/evaluate", {})).status_code == 404
