"""The gate inside a real vLLM: `LLMGATE_TEST_VLLM` is a folder with a venv that has vLLM and llmgate, and a model.

    LLMGATE_TEST_VLLM=DIR python -m pytest tests/gate/test_embed_in_vllm.py

DIR/venv/bin/vllm is what runs, DIR/tiny the model. Without the variable, a vLLM that is installed beside these tests
is used, with the model that `LLMGATE_TEST_MODEL` names. It takes a minute or two to start, and 4 GB.
"""

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner

from llmgate.cli import main

FOLDER = os.environ.get("LLMGATE_TEST_VLLM")
MODEL = f"{FOLDER}/tiny" if FOLDER else os.environ.get("LLMGATE_TEST_MODEL")
VLLM = f"{FOLDER}/venv/bin/vllm" if FOLDER else str(Path(sys.executable).parent / "vllm")

if not FOLDER and (find_spec("vllm") is None or MODEL is None):
    pytest.skip("no vLLM: LLMGATE_TEST_VLLM names no folder with one", allow_module_level=True)

PATIENCE = 300.0
GATE = """
[gate]
access_log = false
[upstreams.vllm]
urls = ["app:"]
dialect = "vllm"
[[routes]]
path = "/v1"
upstream = "vllm"
"""
CPU = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "OMP_NUM_THREADS": "1",
}
OPTIONS = ["--dtype=float32", "--max-model-len=1024", "--max-num-seqs=8", "--enforce-eager"]


@dataclass
class Served:
    """A vLLM with the gate inside, and the command line on the gate's store."""

    client: httpx.AsyncClient
    file: Path

    async def cli(self, *arguments: str) -> str:
        """What a command prints."""
        run = CliRunner().invoke
        command = ["--config", str(self.file), *arguments]
        result = await asyncio.to_thread(run, main, command, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.stdout

    async def chat(self, *, timeout: float = 60.0, **fields: Any) -> httpx.Response:
        """A chat of a few tokens, as many as are asked for; the client waits for so many seconds."""
        body = {"model": "tiny", "messages": [{"role": "user", "content": "Say hi"}], "ignore_eos": True}
        return await self.client.post("/v1/chat/completions", json={**body, **fields}, timeout=timeout)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


async def ready(client: httpx.AsyncClient, process: asyncio.subprocess.Process, log: Path) -> None:
    """Wait until vLLM serves."""
    async with asyncio.timeout(PATIENCE):
        while process.returncode is None:
            try:
                if (await client.get("/readyz")).status_code == 200:
                    return
            except httpx.TransportError:
                await asyncio.sleep(0.5)  # another process tells of its start in no other way
    raise AssertionError(await asyncio.to_thread(log.read_text))


@pytest.fixture
async def vllm(tmp_path: Path) -> AsyncIterator[Served]:
    """Two API-server processes, one engine, one SQLite store."""
    file, log, port = tmp_path / "gate.toml", tmp_path / "vllm.log", free_port()
    await asyncio.to_thread(file.write_text, GATE)
    with log.open("wb") as report:
        process = await asyncio.create_subprocess_exec(
            *(VLLM, "serve", str(MODEL), "--served-model-name=tiny", f"--port={port}", "--host=127.0.0.1"),
            *("--middleware=llmgate.gate.embed.Gate", "--api-server-count=2", *OPTIONS),
            env={**os.environ, **CPU, "LLMGATE_CONFIG": str(file)},
            stdout=report,
            stderr=report,
            start_new_session=True,
        )
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            served = Served(client, file)
            await ready(client, process, log)
            await served.cli("user", "add", "ann", "--no-password")
            key = (await served.cli("key", "create", "ann", "--name=test", "--quiet")).strip()
            client.headers["authorization"] = f"Bearer {key}"
            yield served
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            await process.wait()


async def test_the_gate_inside_vllm(vllm: Served) -> None:
    """Keys, exact tokens, limits that hold across API servers, refused routes, both metrics: in one start."""
    client = vllm.client
    plain = (await vllm.chat(max_tokens=6)).json()["usage"]
    stream = await vllm.chat(max_tokens=6, stream=True)
    assert stream.text.endswith("data: [DONE]\n\n")
    assert '"usage"' not in stream.text
    used = 2 * plain["total_tokens"]
    async with asyncio.timeout(PATIENCE):  # other processes see a record up to 0.1 s after its answer
        while (totals := json.loads(await vllm.cli("usage", "--json")))["requests"] < 2:
            pass
    assert totals["input_tokens"] == 2 * plain["prompt_tokens"]

    for method, path in (
        ("POST", "/tokenize"),
        ("GET", "/version"),
        ("POST", "/invocations"),
        ("GET", "/docs"),
    ):
        assert (await client.request(method, path, json={})).status_code == 404, path
    assert (await client.get("/health")).status_code == 200
    metrics = (await client.get("/metrics")).text
    assert "vllm:generation_tokens_total{" in metrics
    assert 'llmgate_tokens_total{certainty="exact",direction="output"' in metrics

    before = await generated_and_read(client)
    left = await left_by_its_client(vllm, max_tokens=200)  # what was made is known a moment later
    assert (left["outcome"], left["certainty"], left["output_tokens"]) == ("aborted", "exact", 200)
    guessed = await left_by_its_client(vllm, max_tokens=1000)  # or it is charged by the time
    made = await generated_and_read(client) - before - left["input_tokens"] - 200 - left["input_tokens"]
    assert (guessed["outcome"], guessed["certainty"]) == ("aborted", "estimated")
    assert made <= guessed["output_tokens"] <= 1000
    used = await generated_and_read(client)

    await vllm.cli("quota", "set", "--user=ann", "--tokens=200")
    answers = await asyncio.gather(*(vllm.chat(max_tokens=50) for _ in range(12)))
    spent = sum(answer.json()["usage"]["total_tokens"] for answer in answers if answer.is_success)
    assert {answer.status_code for answer in answers} == {200, 429}
    assert 0 < spent <= 200
    assert used + spent == await generated_and_read(client)

    await vllm.cli("key", "revoke", "1")
    for _ in range(4):
        async with httpx.AsyncClient(base_url=client.base_url, headers=client.headers) as another:
            assert (await another.get("/v1/models")).status_code == 401


async def left_by_its_client(vllm: Served, **fields: Any) -> dict[str, Any]:
    """The record of a plain chat whose client leaves at once, when it is there."""

    async def latest() -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = json.loads(await vllm.cli("usage", "--records=1", "--json"))
        return rows

    before = await latest()
    with pytest.raises(httpx.ReadTimeout):
        await vllm.chat(timeout=0.05, **fields)
    async with asyncio.timeout(PATIENCE):
        while (rows := await latest()) == before:  # noqa: ASYNC110 - another process says in no other way that it has written
            await asyncio.sleep(0.2)
    return rows[0]


async def generated_and_read(client: httpx.AsyncClient) -> int:
    """All tokens that vLLM itself has counted."""
    names = ("vllm:prompt_tokens_total{", "vllm:generation_tokens_total{")
    lines = (await client.get("/metrics")).text.splitlines()
    return int(sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(names)))
