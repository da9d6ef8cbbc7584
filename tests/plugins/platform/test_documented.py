"""Generated requests to every operation: the platform answers as its own document says."""

import asyncio

import pytest
import schemathesis

from plugins.test_documented import GenerationMode, beside_a_gate, misfits

from .gate import CODING, PlatformGate, finish


# What goes on in the gate's thread meanwhile draws random numbers, which hypothesis takes for the strategies' doing.
@pytest.mark.filterwarnings("ignore:Do not use the `random` module")
@beside_a_gate
async def test_every_answer_is_as_documented(platform: PlatformGate) -> None:
    """No 500, no status that is not declared, no body of another type; what does not fit the types is refused."""
    ada = await platform.register()
    await ada.post("/training/coding", CODING)
    await finish(platform)
    await ada.post("/models/1/evaluate", {"samples": 1})
    document = (await platform.http.get("/api-docs/openapi.json")).json()
    schema = schemathesis.openapi.from_dict(document)
    operations = [result.ok() for result in schema.get_all_operations()]
    assert len(operations) == 25
    operations.sort(key=lambda operation: operation.method == "delete")  # what is there stays for the others
    known = {"id": 1, "model_id": 1, "dataset_id": 1, "base_model": "HuggingFaceTB/SmolLM2-135M"}
    known |= {"host": "", "port": 1, "is_active": True}  # of another surface, and in no body here

    def try_all() -> list[str]:
        return [
            wrong
            for operation in operations
            for mode in GenerationMode
            for wrong in misfits(operation, mode, platform.running.url, {"X-API-Key": ada.key}, known)
        ]

    assert await asyncio.to_thread(try_all) == []
