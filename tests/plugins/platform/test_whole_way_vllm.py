"""The whole way on a real vLLM with a model of two layers: trained, loaded while it runs, asked, evaluated, withdrawn.

    LLMGATE_TEST_VLLM=DIR LLMGATE_TEST_TRAINING=1 python -m pytest tests/plugins/platform/test_whole_way_vllm.py

DIR/venv/bin/vllm is what runs, DIR/tiny the model, as for tests/gate/test_embed_in_vllm.py. It starts vLLM twice,
of which each takes a minute or two, and 4 GB.
"""

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from shutil import copy

import httpx
import pytest

from plugins.conftest import OpenGate

from .gate import BOB, PLUGIN, Document, opener
from .rows import eventually
from .test_whole_way import ROWS, served, trained

FOLDER = os.environ.get("LLMGATE_TEST_VLLM", "")
if not FOLDER:
    pytest.skip("no vLLM: LLMGATE_TEST_VLLM names no folder with one", allow_module_level=True)

MODEL = f"{FOLDER}/tiny"
LORA = ["--enable-lora", "--max-lora-rank=16", "--lora-target-modules"]
LORA += ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
OPTIONS = ["--host=127.0.0.1", "--served-model-name=tiny", "--dtype=float32", "--max-model-len=1024"]
OPTIONS += ["--max-num-seqs=8", "--enforce-eager", *LORA]
ENVIRONMENT = {
    "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True",
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "OMP_NUM_THREADS": "1",
}
STARTS_WITHIN_S = 300
ASKED = {"prompt": "def f7(n):\n", "temperature": 0, "max_length": 12}


@asynccontextmanager
async def vllm(port: int, log: Path) -> AsyncIterator[str]:
    url = f"http://127.0.0.1:{port}"
    with log.open("ab") as out:
        process = await asyncio.create_subprocess_exec(
            f"{FOLDER}/venv/bin/vllm", "serve", MODEL, f"--port={port}", *OPTIONS,
            env={**os.environ, **ENVIRONMENT}, stdout=out, stderr=out,
        )  # fmt: skip
    try:
        async with httpx.AsyncClient(base_url=url, trust_env=False) as client:

            async def ready() -> bool:
                assert process.returncode is None, f"vLLM ended: {log} says why"
                try:
                    return (await client.get("/health")).status_code == 200
                except httpx.TransportError:
                    return False

            await eventually(ready, bool, STARTS_WITHIN_S)
        yield url
    finally:
        process.terminate()
        await process.wait()


@pytest.mark.training
async def test_trained_served_asked_evaluated_restarted_and_withdrawn(
    open_config: OpenGate, migrated_platform: Path, training: None, tmp_path: Path
) -> None:
    copy(migrated_platform, tmp_path / "gate.db")
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = int(found.getsockname()[1])
    open_it = opener(open_config, tmp_path, f"http://127.0.0.1:{port}")
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))

    def real(document: Document) -> None:
        own = document["plugins"][PLUGIN]
        own |= {"worker": "local", "train_threads": 1}
        own["models"][0] |= {"upstream_model": "tiny", "train_from": MODEL}

    async with open_it(real) as gate:
        ada, bob = await gate.register(), await gate.register(BOB)

        async with vllm(port, tmp_path / "vllm.log") as url, httpx.AsyncClient(base_url=url) as engine:
            job = await trained(ada, "even")
            mine, name = job["result_model_id"], f"llmgate-job-{job['id']}"
            answer = await served(ada, mine)
            assert answer.json()["text"].startswith("def f7(n):\n    return n"), answer.text
            assert "return" not in (await ada.generate(1, **ASKED)).json()["text"]
            assert (await bob.generate(mine)).status_code == 404
            listed = (await engine.get("/v1/models")).json()["data"]
            assert [(card["id"], card["parent"]) for card in listed] == [("tiny", None), (name, "tiny")]

            before = (await ada.post("/models/1/evaluate", {"samples": 3}, timeout=120)).json()
            after = (await ada.post(f"/models/{mine}/evaluate", {"samples": 3}, timeout=120)).json()
            assert after["metrics"]["perplexity"] < before["metrics"]["perplexity"] / 4
            assert after["notes"] == []

            too_high = await trained(ada, "of too high a rank", lora_r=32)

            async def status() -> str:
                found: str = (await gate.get(f"/models/{too_high['result_model_id']}"))["status"]
                return found

            assert await eventually(status, lambda status: status != "AVAILABLE", 30) == "ERROR"

        assert (await ada.generate(mine, **ASKED)).status_code == 502

        async with vllm(port, tmp_path / "vllm.log") as url, httpx.AsyncClient(base_url=url) as engine:
            again = await served(ada, mine)
            assert again.json()["text"] == answer.json()["text"]
            assert (await ada.delete(f"/models/{mine}")).status_code == 200

            async def names() -> list[str]:
                return [card["id"] for card in (await engine.get("/v1/models")).json()["data"]]

            assert await eventually(names, lambda names: len(names) == 1, 30) == ["tiny"]
            assert (await ada.generate(mine)).status_code == 404
