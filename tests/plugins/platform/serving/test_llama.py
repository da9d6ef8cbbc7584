"""Adapters on llama.cpp: no request ever gets what another's adapter has computed, and what changes is switched to."""

import asyncio
import random
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from llmgate_platform.artifacts import Artifacts
from llmgate_platform.evaluation.probes import Engine
from llmgate_platform.serving import llama as module
from llmgate_platform.serving.llama import GGUF, Announced, Servers, announcement_file, read_announcement
from llmgate_platform.settings import ModelSettings, Settings

pytest.importorskip("xllamacpp", reason="the extra `demo` is not installed")
pytestmark = pytest.mark.training

HERE = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def adapters(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two adapters with random weights."""
    folder = tmp_path_factory.mktemp("adapters")
    files = [folder / f"{name}.gguf" for name in "ab"]
    for seed, file in enumerate(files):
        subprocess.run([sys.executable, str(HERE / "tiny_adapter.py"), str(file), str(seed)], check=True)
    return files


@pytest.fixture
def place(tmp_path: Path, adapters: list[Path]) -> Artifacts:
    """Artifacts of jobs 1 and 2."""
    artifacts = Artifacts(tmp_path)
    for job, file in enumerate(adapters, start=1):
        artifacts.adapter(job).mkdir(parents=True)
        (artifacts.adapter(job) / GGUF).write_bytes(file.read_bytes())
    return artifacts


@pytest.fixture
def base(tiny_model: Path) -> ModelSettings:
    return ModelSettings(
        name="Tiny",
        base_model="t",
        upstream="u",
        upstream_model="m",
        train_from=str(tiny_model),
        serve_with="llama.cpp",
    )


@pytest.fixture
async def servers(
    place: Artifacts, base: ModelSettings, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Servers]:
    monkeypatch.setattr(module, "SWITCHED_AFTER_S", 0.0)
    servers = Servers(place, Settings(models=(base,), llama_context=256, llama_slots=2))
    yield servers
    await servers.aclose()


def client(announced: Announced) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=8)
    return httpx.AsyncClient(
        base_url=announced.url, headers=announced.headers, trust_env=False, timeout=60, limits=limits
    )


async def told(http: httpx.AsyncClient, announced: Announced, job: int, prompt: str) -> list[float]:
    """How likely some text is behind a prompt; job 0 is the base."""
    extra = {"lora": announced.lora(job)}
    engine = Engine(http, announced.url, "llama_server", "m", announced.headers, extra)
    return await engine.logprobs(prompt, " + height\n")


async def test_requests_never_see_the_state_of_another_adapter(
    servers: Servers, place: Artifacts, base: ModelSettings
) -> None:
    """Mixed, at once, with beginnings in common: each is answered as it would be by itself."""
    await servers.reconcile(base, [1, 2])
    announced = read_announcement(announcement_file(place))["Tiny"]
    assert announced.jobs == (1, 2)
    async with client(announced) as http:
        prompts = [f"def area(width, height):\n    return width * {number}" for number in range(3)]
        alone = {
            (job, prompt): await told(http, announced, job, prompt) for job in (0, 1, 2) for prompt in prompts
        }
        assert len({tuple(alone[job, prompts[0]]) for job in (0, 1, 2)}) == 3
        mixed = [*alone] * 4
        random.Random(1).shuffle(mixed)
        answers = await asyncio.gather(*(told(http, announced, *each) for each in mixed))
        for each, answer in zip(mixed, answers, strict=True):
            assert answer == pytest.approx(alone[each], abs=0.02), each


async def test_a_new_adapter_is_switched_to_and_the_first_server_ends(
    servers: Servers, place: Artifacts, base: ModelSettings
) -> None:
    file = announcement_file(place)
    await servers.reconcile(base, [1])
    first = read_announcement(file)["Tiny"]
    assert (file.stat().st_mode & 0o777) == 0o600  # it holds a key
    await servers.reconcile(base, [1])
    assert read_announcement(file)["Tiny"] == first
    await servers.reconcile(base, [1, 2])
    second = read_announcement(file)["Tiny"]
    assert (second.jobs, second.url != first.url) == ((1, 2), True)
    await asyncio.gather(*servers._draining)
    async with httpx.AsyncClient(trust_env=False) as http:
        with pytest.raises(httpx.ConnectError):
            await http.get(f"{first.url}/health")
        assert (await http.get(f"{second.url}/lora-adapters")).status_code == 401  # nobody without its key
    await servers.reconcile(base, [])
    assert read_announcement(file) == {}


async def test_a_server_that_died_is_started_again(
    servers: Servers, place: Artifacts, base: ModelSettings
) -> None:
    await servers.reconcile(base, [1])
    first = read_announcement(announcement_file(place))["Tiny"]
    process = servers._running["Tiny"]._process
    process.kill()
    await process.wait()
    await servers.reconcile(base, [1])
    assert read_announcement(announcement_file(place))["Tiny"].url != first.url


async def test_an_adapter_that_cannot_be_loaded_leaves_the_others_served(
    servers: Servers, place: Artifacts, base: ModelSettings, caplog: pytest.LogCaptureFixture
) -> None:
    await servers.reconcile(base, [1])
    first = read_announcement(announcement_file(place))["Tiny"]
    (place.adapter(2) / GGUF).write_bytes(b"no GGUF")
    await servers.reconcile(base, [1, 2])
    assert read_announcement(announcement_file(place))["Tiny"] == first
    assert "adapters of Tiny: llama.cpp's server did not start" in caplog.text


def test_a_file_that_is_none_announces_nothing(tmp_path: Path) -> None:
    assert read_announcement(tmp_path / "none.json") == {}
    (tmp_path / "bad.json").write_text("{")
    assert read_announcement(tmp_path / "bad.json") == {}


def test_a_request_names_every_adapter() -> None:
    announced = Announced("u", "k", (4, 7, 9))
    assert announced.lora(7) == [{"id": 0, "scale": 0.0}, {"id": 1, "scale": 1.0}, {"id": 2, "scale": 0.0}]
