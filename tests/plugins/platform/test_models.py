"""The models: gate.toml's in their order, what users call them, and what is deleted again."""

from .gate import BOB, CODING, PLUGIN, Document, OpenPlatform, PlatformGate, finish

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
