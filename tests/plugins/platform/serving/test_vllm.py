"""Adapters on vLLM: loaded within seconds, again after a restart of the engine, and gone when they are withdrawn."""

import asyncio
import json

import pytest

from llmgate_platform.serving.vllm import Replica

from ..engines import FakeVllm
from ..gate import CODING, OpenPlatform, PlatformGate, finish
from ..rows import eventually

NAME = "llmgate-job-1"


def engine_url(platform: PlatformGate) -> str:
    return str(platform.running.gate.config.upstreams["llm"].urls[0])


def replica_of(platform: PlatformGate) -> Replica:
    return Replica(platform.running.gate.services.http, engine_url(platform))


async def loaded(engine: FakeVllm, *names: str) -> None:
    async def look() -> set[str]:
        return set(engine.adapters)

    await eventually(look, lambda adapters: adapters == set(names))


async def test_a_finished_adapter_answers_within_seconds(platform: PlatformGate, engine: FakeVllm) -> None:
    ada = await platform.register()
    await ada.post("/training/coding", CODING)
    model_id = await finish(platform)
    answer = await ada.generate(model_id)
    if answer.status_code != 200:  # it was asked before vLLM had it
        assert (answer.status_code, answer.json()) == (
            503,
            {"error": "The model is not being served yet: try again in a few seconds"},
        )
    await loaded(engine, NAME)
    assert engine.adapters[NAME] == str((platform.artifacts / "runs/1/adapter").absolute())
    answer = await ada.generate(model_id)
    assert answer.status_code == 200
    assert answer.json()["model_name"] == "Python Code Training"
    assert engine.completions[-1]["model"] == NAME


async def test_it_is_loaded_again_when_the_engine_has_forgotten_it(
    platform: PlatformGate, engine: FakeVllm
) -> None:
    ada = await platform.register()
    await ada.post("/training/coding", CODING)
    await finish(platform)
    await loaded(engine, NAME)
    engine.adapters.clear()  # vLLM was started again
    await loaded(engine, NAME)


async def test_a_gate_that_starts_finds_what_was_trained_before(
    open_platform: OpenPlatform, engine: FakeVllm
) -> None:
    async with open_platform() as gate:
        await (await gate.register()).post("/training/coding", CODING)
        await finish(gate)
        await loaded(engine, NAME)
    engine.adapters.clear()
    async with open_platform():
        await loaded(engine, NAME)


async def test_a_deleted_model_is_withdrawn(platform: PlatformGate, engine: FakeVllm) -> None:
    ada = await platform.register()
    await ada.post("/training/coding", CODING)
    model_id = await finish(platform)
    await loaded(engine, NAME)
    engine.adapters["somebody-elses"] = "/x"
    await ada.delete(f"/models/{model_id}")
    await loaded(engine, "somebody-elses")


async def test_an_adapter_that_another_gate_was_quicker_to_load_is_there(
    platform: PlatformGate, engine: FakeVllm
) -> None:
    folder = platform.artifacts / "runs/1/adapter"
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text("{}")
    replicas = [replica_of(platform) for _ in range(4)]
    await asyncio.gather(*(replica.reconcile({1: folder}, ()) for replica in replicas))
    assert set(engine.adapters) == {NAME}


async def test_an_adapter_that_is_gone_already_is_withdrawn(
    platform: PlatformGate, engine: FakeVllm, caplog: pytest.LogCaptureFixture
) -> None:
    engine.adapters = {NAME: "/x"}
    replica = replica_of(platform)
    await asyncio.gather(*(replica_of(platform).reconcile({}, [1]) for _ in range(3)))
    await replica.reconcile({}, [1])
    assert engine.adapters == {}
    assert [each.getMessage() for each in caplog.records if "cannot be" in each.getMessage()] == []


async def test_an_adapter_of_too_high_a_rank_is_refused_in_words_and_rarely_tried(
    platform: PlatformGate, engine: FakeVllm, caplog: pytest.LogCaptureFixture
) -> None:
    engine.max_rank, now = 8, [0.0]
    replica = Replica(platform.running.gate.services.http, engine_url(platform), timer=lambda: now[0])
    folders = {job: platform.artifacts / f"runs/{job}/adapter" for job in (1, 2)}
    for job, folder in folders.items():
        folder.mkdir(parents=True)
        (folder / "adapter_config.json").write_text(json.dumps({"r": 8 * job}))
    for now[0] in (0.0, 2.0, 29.0):
        assert set(await replica.reconcile(folders, ())) == {2}
    assert len(engine.admin) == 2
    assert "llmgate-job-2 cannot be loaded: its --max-lora-rank is too small" in caplog.text
    engine.max_rank, now[0] = 16, 31.0
    assert set(await replica.reconcile(folders, ())) == set()
    assert set(engine.adapters) == {NAME, "llmgate-job-2"}
    assert caplog.text.count("--max-lora-rank") == 1


async def test_a_key_that_vllm_does_not_take_is_told(
    platform: PlatformGate, caplog: pytest.LogCaptureFixture
) -> None:
    replica = Replica(platform.running.gate.services.http, engine_url(platform) + "/elsewhere")
    await replica.reconcile({}, ())
    assert "its models cannot be listed: status 404" in caplog.text


async def test_a_vllm_that_loads_no_adapters_is_told_in_the_log(
    platform: PlatformGate, engine: FakeVllm, caplog: pytest.LogCaptureFixture
) -> None:
    """Once, and once more when it does."""
    engine.loads = False
    await (await platform.register()).post("/training/coding", CODING)
    await finish(platform)

    async def said() -> list[str]:
        return [record.getMessage() for record in caplog.records if "vLLM" in record.getMessage()]

    (warning,) = await eventually(said, bool)
    assert "start it with --enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=True" in warning
