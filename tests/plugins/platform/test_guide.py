"""The guide's own commands and its Python class, unchanged but for address and key, in front of a real model."""

import asyncio
import json
import os
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from shutil import copy
from typing import Any

import pytest
from real_backends import llama

from plugins.conftest import OpenGate

from .gate import PLUGIN, Document, PlatformGate, opener

__all__ = ["llama"]

GUIDE = (Path(__file__).parents[2] / "data/guides/001-llm-platform.md").read_text()
ADDRESS = "http://localhost:5000"


def blocks(language: str) -> list[str]:
    """The guide's code in one language, in its order."""
    return re.findall(rf"```{language}\n(.*?)```", GUIDE, re.DOTALL)


async def output(*command: str) -> str:
    """What a command prints; it must succeed."""
    process = await asyncio.create_subprocess_exec(
        *command,
        env={**os.environ, "NO_PROXY": "*", "no_proxy": "*"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode == 0, (command, out, err)
    return out.decode()


@pytest.fixture
async def real(
    open_config: OpenGate, migrated_platform: Path, tmp_path: Path, llama: str
) -> AsyncIterator[PlatformGate]:
    """The gate of config/platform.toml, its data set and all, in front of SmolLM2-135M."""
    copy(migrated_platform, tmp_path / "gate.db")

    def change(document: Document) -> None:
        document["upstreams"]["llm"]["dialect"] = "llama_server"
        own = document["plugins"][PLUGIN]
        own["models"][0] |= {
            "upstream_model": "smollm2",
            "serve_with": "llama.cpp",
            "gguf": "/no/adapters/yet.gguf",
        }
        own["datasets"] = [{"name": "Python functions", "builtin": "python-stdlib"}]

    async with opener(open_config, tmp_path, llama)(change) as gate:
        yield gate


async def test_every_command_works_in_the_guides_order(real: PlatformGate) -> None:
    """Each succeeds, and answers with the members that the guide shows."""
    commands = [block for block in blocks("bash") if block.startswith("curl")]
    assert len(commands) == 6
    key, answers = "", list[Any]()
    for command in commands:
        ours = command.replace(ADDRESS, real.running.url).replace("your_api_key", key).strip()
        answers.append(json.loads(await output("sh", "-c", f"{ours} --silent --show-error --fail-with-body")))
        key = answers[0]["api_key"]
    registered, generated, datasets, training, keys, created = answers
    examples = [json.loads(block) for block in blocks("json")[:2]]
    assert registered.keys() == examples[0].keys()
    assert registered["username"] == "your_username"
    assert generated.keys() == {*examples[1].keys(), "parameters"}
    assert generated["text"].startswith("def fibonacci(n):")
    assert len(generated["text"]) > len("def fibonacci(n):")
    assert datasets["datasets"][0]["name"] == "Python functions"
    assert (training["id"], training["status"], training["training_type"]) == (1, "PENDING", "coding")
    (listed,) = keys["api_keys"]
    assert (listed["key_name"], listed["usage_count"], listed["rate_limit"]) == ("Default Key", 2, 1000)
    assert (created["key_name"], created["rate_limit"]) == ("Production Key", 5000)


async def test_the_python_class_works(real: PlatformGate) -> None:
    """With requests; what it leaves in its variables is looked at behind its end."""
    ada = await real.register()
    (code,) = blocks("python")
    code = code.replace(ADDRESS, real.running.url).replace("your_api_key_here", ada.key)
    printed = json.loads(
        await output(
            sys.executable, "-c", f"{code}\nimport json\nprint(json.dumps([result, training, usage]))"
        )
    )
    result, training, usage = printed
    assert result["text"].startswith("class BinarySearchTree:")
    assert result["parameters"] == {"temperature": 0.3, "max_length": 200, "top_p": 0.9, "top_k": 50}
    assert (training["job_name"], training["status"]) == ("Advanced Python Training", "PENDING")
    assert usage["api_keys"][0]["usage_count"] == 2


async def test_the_errors_are_those_of_the_guide(real: PlatformGate) -> None:
    shown = re.findall(r"^// .*?\n(\{.*?\n\})", "\n".join(blocks("json")), re.DOTALL | re.MULTILINE)
    missing, invalid, limit, field = (json.loads(each) for each in shown)
    http, path = real.http, "/api/models/1/generate"
    assert (await http.post(path, json={"prompt": "p"})).json() == missing
    assert (await http.post(path, json={"prompt": "p"}, headers={"X-API-Key": "no"})).json() == invalid
    ada = await real.register()
    assert (await ada.post("/training", {"job_name": "j"})).json() == field
    made = await ada.post("/auth/keys", {"rate_limit": 1})
    few = {"X-API-Key": made.json()["key_value"]}
    assert (await http.post(path, json={"prompt": "p", "max_length": 1}, headers=few)).status_code == 200
    refused = await http.post(path, json={"prompt": "p"}, headers=few)
    assert (refused.status_code, refused.json()) == (429, limit)


async def test_a_real_model_is_evaluated(real: PlatformGate) -> None:
    """llama.cpp scores nothing in a prompt: each token of what was expected is made to come next."""
    ada = await real.register()
    answer = await ada.post("/models/1/evaluate", {"samples": 1}, timeout=120)
    assert answer.status_code == 201, answer.text
    metrics = answer.json()["metrics"]
    assert 1.5 < metrics["perplexity"] < 200
    assert 1 <= metrics["avg_response_length"] <= 64


async def test_the_documentation_is_at_api_docs(real: PlatformGate) -> None:
    page = await real.http.get("/api-docs")
    assert page.status_code == 200
    assert "text/html" in page.headers["content-type"]
    for link in re.findall(r'(?:src|href)="([^"]+)"', page.text):
        assert (await real.http.get(f"/{link}")).status_code == 200, link
    document = (await real.http.get("/api-docs/openapi.json")).json()
    described = {
        (method.upper(), path) for path, operations in document["paths"].items() for method in operations
    }
    for endpoint in re.findall(r"^- `([A-Z]+) (\S+)` - ", GUIDE, re.MULTILINE):
        assert endpoint in described
