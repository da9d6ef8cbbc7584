"""The whole way with a model of two layers: trained by a worker, served by llama.cpp, asked, evaluated, withdrawn."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from shutil import copy
from typing import Any

import httpx
import pytest

from llmgate_platform.serving import llama_server
from plugins.conftest import OpenGate

from .gate import BOB, PLUGIN, Caller, Document, OpenPlatform, opener
from .rows import eventually

pytest.importorskip("xllamacpp", reason="the extra `demo` is not installed")

pytestmark = pytest.mark.training

KEY = "key-of-the-base"
LEARNT = "    return n % 2 == 0\n"
ROWS = [{"prompt": f"def f{number}(n):\n", "completion": LEARNT} for number in range(60)]


@asynccontextmanager
async def base_server(model: Path) -> AsyncIterator[str]:
    """The operator's own llama.cpp server, which knows nothing of adapters."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        llama_server.__file__,
        f"--model={model}",
        "--context=512",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={**os.environ, llama_server.KEY: KEY},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    yield (await process.stdout.readline()).split()[1].decode()
    process.stdin.close()
    await process.wait()


@pytest.fixture
async def trained_on(
    open_config: OpenGate, migrated_platform: Path, tmp_path: Path, tiny_model: Path
) -> AsyncIterator[OpenPlatform]:
    copy(migrated_platform, tmp_path / "gate.db")
    async with base_server(tiny_model) as url:
        open_it = opener(open_config, tmp_path, url)
        (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))

        def real(document: Document) -> None:
            document["upstreams"]["llm"] |= {"dialect": "llama_server", "api_key": KEY}
            own = document["plugins"][PLUGIN]
            own |= {"worker": "local", "train_threads": 1, "llama_context": 512}
            own["models"][0] |= {"train_from": str(tiny_model), "serve_with": "llama.cpp"}

        yield lambda: open_it(real)


async def trained(ada: Caller, name: str, **more: Any) -> dict[str, Any]:
    job = {
        "model_id": 1,
        "job_name": name,
        "dataset_id": 1,
        "epochs": 20,
        "learning_rate": 0.01,
        "lora_dropout": 0.0,
        **more,
    }
    made = await ada.post("/training/coding", job)
    assert made.status_code == 201, made.text

    async def look() -> dict[str, Any]:
        found: dict[str, Any] = (await ada.get(f"/training/{made.json()['id']}")).json()
        return found

    done = await eventually(look, lambda job: job["status"] in ("COMPLETED", "FAILED"), 120)
    assert done["status"] == "COMPLETED", done["logs"]
    return done


async def served(ada: Caller, model_id: int) -> httpx.Response:
    async def ask() -> httpx.Response:
        return await ada.generate(model_id, prompt="def f7(n):\n", temperature=0, max_length=20)

    return await eventually(ask, lambda answer: answer.status_code != 503, 60)


async def test_trained_served_asked_evaluated_and_withdrawn(trained_on: OpenPlatform) -> None:
    async with trained_on() as gate:
        ada, bob = await gate.register(), await gate.register(BOB)
        job = await trained(ada, "even")
        mine = job["result_model_id"]
        assert job["progress"] == 100.0
        assert job["current_loss"] < 2.0
        assert "Loss on held-out examples" in job["logs"]

        answer = await served(ada, mine)
        assert answer.json()["text"].startswith("def f7(n):\n" + LEARNT), answer.text
        base = await ada.generate(1, prompt="def f7(n):\n", temperature=0, max_length=20)
        assert LEARNT not in base.json()["text"]
        assert (await bob.generate(mine)).status_code == 404

        name, by_ada = f"llmgate-job-{job['id']}", {"X-API-Key": ada.key}
        listed = (await gate.http.get("/v1/models", headers=by_ada)).json()["data"]
        assert listed[-1]["id"] == name
        body = {"model": name, "prompt": "def f7(n):\n", "temperature": 0, "max_tokens": 20}
        openai = await gate.http.post("/v1/completions", json=body, headers=by_ada)
        assert openai.json()["choices"][0]["text"].startswith(LEARNT), openai.text
        by_bob = {"X-API-Key": bob.key}
        assert (await gate.http.post("/v1/completions", json=body, headers=by_bob)).status_code == 404

        before = (await ada.post("/models/1/evaluate", {"samples": 3}, timeout=120)).json()
        after = await ada.post(f"/models/{mine}/evaluate", {"samples": 3, "eval_name": "mine"}, timeout=120)
        assert after.status_code == 201, after.text
        found = after.json()
        assert found["metrics"]["perplexity"] < before["metrics"]["perplexity"] / 5
        assert found["metrics"]["rouge_score"] > before["metrics"]["rouge_score"]
        assert found["notes"] == []
        (row,) = await gate.get(f"/models/{mine}/metrics")
        assert row["perplexity"] == found["metrics"]["perplexity"]
        statistics = await gate.get("/statistics")
        assert (statistics["completed_training_jobs"], statistics["total_evaluations"]) == (1, 2)

        assert (await ada.delete(f"/models/{mine}")).status_code == 200
        assert (await ada.generate(mine)).status_code == 404
