"""The models: gate.toml's in their order, what users call them, and what is deleted again."""

import pytest

from llmgate.errors import ConfigError

from .gate import BOB, PLUGIN, Document, OpenPlatform, PlatformGate
from .test_training import CODING, finish

BASE_MODEL = "HuggingFaceTB/SmolLM2-135M"


async def test_model_1_is_there_before_the_first_request(platform: PlatformGate) -> None:
    (model,) = (await platform.get("/models"))["models"]
    assert model == {
        "id": 1,
        "name": "SmolLM2 135M",
        "base_model": BASE_MODEL,
        "status": "AVAILABLE",
        "description": None,
        "model_size": "135M",
        "created_at": "2027-01-15T08:00:00.000000",
        "updated_at": "2027-01-15T08:00:00.000000",
    }
    assert await platform.get("/models/1") == {**model, "parameters": None}
    assert await platform.get("/models/1/metrics") == []


async def test_models_keep_their_ids_when_gate_toml_changes(open_platform: OpenPlatform) -> None:
    def two(document: Document) -> None:
        models = document["plugins"][PLUGIN]["models"]
        models.insert(0, {**models[0], "name": "Other", "description": "second"})

    async with open_platform() as gate:
        assert [model["name"] for model in (await gate.get("/models"))["models"]] == ["SmolLM2 135M"]
    async with open_platform(two) as gate:
        models = (await gate.get("/models"))["models"]
        assert [(model["id"], model["name"]) for model in models] == [(1, "SmolLM2 135M"), (2, "Other")]
    async with open_platform() as gate:
        statuses = [model["status"] for model in (await gate.get("/models"))["models"]]
        assert statuses == ["AVAILABLE", "ERROR"]
        assert (await (await gate.register()).generate(2)).status_code == 404


async def test_a_name_of_ones_own_for_a_base_model(platform: PlatformGate) -> None:
    ada = await platform.register()
    made = await ada.post("/models", {"name": "mine", "base_model": BASE_MODEL, "description": "d"})
    assert (made.status_code, made.json()) == (
        201,
        {
            "id": 2, "name": "mine", "base_model": BASE_MODEL, "status": "AVAILABLE",
            "message": "Model created successfully",
        },
    )  # fmt: skip
    unknown = await ada.post("/models", {"name": "mine", "base_model": "gpt-9"})
    assert unknown.json() == {"error": f"Invalid value for base_model: expected one of {BASE_MODEL}"}
    assert (await ada.post("/models", {"name": "x"})).json() == {
        "error": "Missing required field: base_model"
    }
    assert (await platform.http.post("/api/models", json={})).json() == {"error": "API key required"}


async def test_only_ones_own_models_are_deleted(platform: PlatformGate) -> None:
    ada, bob = await platform.register(), await platform.register(BOB)
    await ada.post("/training/coding", CODING)
    model_id = await finish(platform)
    assert (await bob.delete(f"/models/{model_id}")).status_code == 404
    assert (await ada.delete("/models/1")).status_code == 404  # everybody's
    assert (await ada.delete(f"/models/{model_id}")).json() == {"message": "Model deleted successfully"}
    assert (await ada.delete(f"/models/{model_id}")).status_code == 404
    assert (await platform.get("/training/1"))["status"] == "COMPLETED"


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
        (lambda own, doc: own["models"][0].update(serve_with="llama.cpp"), "needs gguf, the file that its server"),
        (lambda own, doc: own["models"].append(own["models"][0]), "models: two have the same name"),
        (lambda own, doc: own["datasets"].append({"name": "both"}), "both: write one of file, builtin and huggingface"),
        (lambda own, doc: own.update(evaluation="none"), 'evaluation: no data set "none"'),
    ],
)  # fmt: skip
async def test_what_does_not_fit_keeps_the_gate_from_starting(
    open_platform: OpenPlatform, change: object, problem: str
) -> None:
    def changed(document: Document) -> None:
        change(document["plugins"][PLUGIN], document)  # type: ignore[operator]

    with pytest.raises(ConfigError) as failed:
        async with open_platform(changed):
            pass
    assert problem in str(failed.value)
    assert f"plugins.{PLUGIN}" in str(failed.value)
