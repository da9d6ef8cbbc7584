"""Which model answers where: what its engine refuses, and where that sees an adapter."""

from typing import Any

from ..engines import FakeVllm
from ..gate import CODING, PLUGIN, Document, OpenPlatform, PlatformGate, finish
from ..rows import eventually

NAME = "llmgate-job-1"


async def test_a_model_whose_adapter_is_refused_says_so_until_it_is_taken(
    platform: PlatformGate, engine: FakeVllm
) -> None:
    engine.max_rank = 0
    ada = await platform.register()
    await ada.post("/training/coding", CODING)
    model_id = await finish(platform)

    async def status() -> str:
        found: str = (await platform.get(f"/models/{model_id}"))["status"]
        return found

    assert await eventually(status, lambda status: status != "AVAILABLE") == "ERROR"
    answer = await ada.generate(model_id)
    assert (answer.status_code, answer.json()["error"]) == (
        503,
        "The model's server does not take this adapter: the operator finds why in the gate's log",
    )
    engine.adapters[NAME] = "/loaded/by/hand"
    assert await eventually(status, lambda status: status != "ERROR") == "AVAILABLE"
    assert (await ada.generate(model_id)).status_code == 200


async def test_the_engine_may_see_the_artifacts_elsewhere(
    open_platform: OpenPlatform, engine: FakeVllm
) -> None:
    def change(document: Document) -> None:
        document["plugins"][PLUGIN]["engine_artifacts"] = "/mnt/artifacts"
        document["upstreams"]["llm"]["api_key"] = "key-of-vllm"

    async with open_platform(change) as gate:
        await (await gate.register()).post("/training/coding", CODING)
        await finish(gate)

        async def asked() -> list[tuple[str, dict[str, Any]]]:
            return engine.admin

        admin = await eventually(asked, bool)
        assert admin[0] == ("load", {"lora_name": NAME, "lora_path": "/mnt/artifacts/runs/1/adapter"})
        assert engine.credentials == {b"Bearer key-of-vllm"}
