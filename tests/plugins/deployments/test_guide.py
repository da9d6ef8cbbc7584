"""The guide's own commands and clients, run as they stand: only address, credentials and the file are put in."""

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from plugins.conftest import Running

from .conftest import Ollama, key_of, log_in

GUIDE = (Path(__file__).parents[2] / "data/guides/004-bku-platform.md").read_text()
JOHN = {"username": "johndoe", "email": "john@example.com", "password": "securepassword123"}
KEY = "bku_xxxxxxxxxxxxxxxxxxxxxxxxxxxxx"


def blocks(language: str) -> list[str]:
    """The guide's code in one language, in its order."""
    return re.findall(rf"```{language}\n(.*?)```", GUIDE, re.DOTALL)


async def output(*command: str, **environment: str) -> str:
    """What a command prints; it must succeed."""
    process = await asyncio.create_subprocess_exec(
        *command,
        env={**os.environ, "NO_PROXY": "*", "no_proxy": "*", **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode == 0, (command, out, err)
    return out.decode()


def missing(what: str) -> None:
    """Skip the test, or fail it where CI is set."""
    pytest.fail(what) if os.environ.get("CI") else pytest.skip(what)


@pytest.fixture(scope="session")
def axios(request: pytest.FixtureRequest) -> str:
    """A folder of Node modules with axios; it is installed once and kept in pytest's cache."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        missing("node and npm are not installed")
    folder = request.config.cache.mkdir("axios")
    if not (folder / "node_modules/axios/package.json").exists():
        command = [
            "npm",
            "install",
            "--no-audit",
            "--no-fund",
            "--silent",
            "--prefix",
            str(folder),
            "axios@1",
        ]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
        if done.returncode:
            missing(f"npm cannot install axios: {done.stderr[-500:]}")
    return str(folder / "node_modules")


def replaced(text: str, filled: dict[str, str]) -> str:
    """The text with its placeholders filled in."""
    for placeholder, value in filled.items():
        text = text.replace(placeholder, value)
    return text


async def test_the_guides_commands_work_in_its_order(
    running: Running, ollama: Ollama, tmp_path: Path
) -> None:
    """From registering to the upload: each succeeds, and answers with the members that the guide shows."""
    model = tmp_path / "model.gguf"
    model.write_bytes(b"GGUF" + bytes(5000))
    host, _, port = ollama.url.rpartition(":")
    filled = {
        "http://localhost:8000": running.url,
        "http://ollama-prod.example.com": host,
        "11434": port,
        "/path/to/model.gguf": str(model),
    }
    answers: list[Any] = []
    commands = blocks("bash")
    assert len(commands) == 15
    for command in commands:
        ours = replaced(command, filled).strip()
        said = json.loads(await output("sh", "-c", f"{ours} --silent --show-error --fail-with-body"))
        answers.append(said)
        if "access_token" in said:
            filled["YOUR_JWT_TOKEN"] = said["access_token"]
        if "key" in said:
            filled[KEY] = said["key"]
    shown = [json.loads(block) for block in blocks("json")]
    assert [answer.keys() for answer in answers[1:3]] == [example.keys() for example in shown]
    assert answers[1]["token_type"] == "bearer"
    assert (answers[2]["id"], answers[2]["is_active"]) == (1, True)
    assert (answers[3]["id"], answers[4]) == (1, [answers[3]])
    assert answers[5]["status"] == "healthy"
    assert (answers[6]["content"], answers[7]["content"]) == ("Hello there!", "Hello there!")
    assert answers[8]["models"] == ["llama2", "mistral:latest"]
    assert [answers[n]["total_requests"] for n in (9, 10)] == [2, 2]
    assert len(answers[11]) == 2
    assert answers[13] == [answers[12]]
    assert (answers[14]["model_id"], answers[14]["version"]) == (1, 1)


def filled_in(code: str, running: Running, key: str) -> str:
    """The code with the address and the key of this gate."""
    return replaced(code, {"http://localhost:8000": running.url, KEY: key})


@pytest.fixture
async def key(running: Running, admin: dict[str, str], deployment: int) -> str:
    return await key_of(running.http, admin)


@pytest.mark.parametrize(
    ("number", "printed"),
    [
        (0, "Hello there!\n"),
        (
            1,
            "Hello there!\nAvailable models: ['llama2', 'mistral:latest']\nRequests last 7 days: 1\nTokens used: 10\n",
        ),
    ],
    ids=["basic usage", "client class"],
)
async def test_the_guides_python_works(running: Running, key: str, number: int, printed: str) -> None:
    """With requests, unchanged."""
    code = filled_in(blocks("python")[number], running, key)
    assert await output(sys.executable, "-c", code) == printed


async def test_the_guides_other_python_works(running: Running, key: str, admin: dict[str, str]) -> None:
    """What it says of errors, of retries, and of streams; and the rest of its client class."""
    usual = filled_in("\n".join(blocks("python")[1:]), running, key)
    token = admin["Authorization"].removeprefix("Bearer ")
    code = f"""{usual}
API_KEY, JWT_TOKEN = {key!r}, {token!r}
assert [each["name"] for each in client.list_deployments()] == ["ollama"]
assert client.list_models(1) == models
assert safe_chat("Hello")["content"] == chat_with_retry("Hello")["content"] == "Hello there!"
print("stream: ", end="")
stream_chat("Hello")
API_KEY = "bku_wrong"
assert safe_chat("Hello") is None
"""
    said = await output(sys.executable, "-c", code)
    assert said.endswith("stream: Hello there!Authentication failed. Check your API key.\n")


@pytest.mark.parametrize(
    ("numbers", "printed"),
    [
        ([0], "Hello there!\n"),
        (
            [1],
            "Hello there!\nAvailable models: [ 'llama2', 'mistral:latest' ]\n"
            "Requests (7 days): 1\nTokens used: 10\n",
        ),
    ],
    ids=["basic usage", "client class"],
)
async def test_the_guides_javascript_works(
    running: Running, key: str, axios: str, numbers: list[int], printed: str
) -> None:
    """With axios on Node, unchanged; the class stands below the line that loads axios."""
    code = "\n".join(blocks("javascript")[number] for number in numbers)
    if "require('axios')" not in code:
        code = "const axios = require('axios');\n" + code
    assert await output("node", "-e", filled_in(code, running, key), NODE_PATH=axios) == printed


async def test_john_of_the_guide_is_the_admin(running: Running) -> None:
    """Because he comes first."""
    bearer = await log_in(running.http, JOHN)
    assert (await running.http.get("/api/v1/auth/me", headers=bearer)).json()["is_admin"]
