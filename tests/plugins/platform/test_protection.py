"""Nobody loads files into an engine through the gate, or ends it."""

import pytest

from .engines import FakeVllm
from .gate import Document, OpenPlatform


@pytest.mark.parametrize(
    "path", ["/v1/load_lora_adapter", "/v1/unload_lora_adapter", "/v1/load%5Flora_adapter"]
)
async def test_a_route_that_allows_everything_loads_no_adapters(
    open_platform: OpenPlatform, engine: FakeVllm, path: str
) -> None:
    def everything(document: Document) -> None:
        document["routes"][0]["allow"] = ["*"]

    async with open_platform(everything) as gate:
        ada = await gate.register()
        body = {"lora_name": "evil", "lora_path": "/etc"}
        for allowed in (path, path.upper(), path + "/"):
            answer = await gate.http.post(allowed, json=body, headers={"X-API-Key": ada.key})
            assert answer.status_code in (400, 404), allowed
        assert engine.admin == []


async def test_a_route_that_names_the_path_loads_no_adapters_either(
    open_platform: OpenPlatform, engine: FakeVllm
) -> None:
    def named(document: Document) -> None:
        document["routes"][0]["allow"] = ["POST /completions", "POST /load_lora_adapter"]

    async with open_platform(named) as gate:
        ada = await gate.register()
        body = {"lora_name": "evil", "lora_path": "/etc"}
        answer = await gate.http.post("/v1/load_lora_adapter", json=body, headers={"X-API-Key": ada.key})
        assert answer.status_code == 404
        assert engine.admin == []


async def test_what_ends_a_vllm_with_adapters_is_refused(
    open_platform: OpenPlatform, engine: FakeVllm
) -> None:
    async with open_platform() as gate:
        ada = await gate.register()
        body = {"model": "base", "prompt": "p", "prompt_logprobs": 0}
        answer = await gate.http.post("/v1/completions", json=body, headers={"X-API-Key": ada.key})
        assert answer.status_code == 400
        assert engine.probes == []
