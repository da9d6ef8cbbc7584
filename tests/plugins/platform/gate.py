"""The gate of config/platform.toml in front of a backend of the test's own, and somebody who uses it."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from llmgate.errors import ConfigError
from llmgate.plugin.kit.job_states import COMPLETED, Ending
from llmgate_platform.artifacts import Artifacts
from llmgate_platform.training.jobs import Queue
from plugins.conftest import OpenGate, Running

from .engines import BASE

PLUGIN = "llmgate_platform"
API = "/api"
ADA = {"username": "ada", "email": "ada@example.com", "password": "secure-password-1"}
BOB = {"username": "bob", "email": "bob@example.com", "password": "secure-password-2"}
ROWS = [
    {"prompt": f"def f{number}(n):\n", "completion": f"    return n + {number}\n"} for number in range(60)
]
CODING = {"model_id": 1, "job_name": "Python Code Training", "dataset_id": 1}

Document = dict[str, Any]
OpenPlatform = Callable[..., AbstractAsyncContextManager["PlatformGate"]]


@dataclass(frozen=True)
class Caller:
    """A user with a key."""

    http: httpx.AsyncClient
    key: str

    async def get(self, path: str) -> httpx.Response:
        return await self.http.get(API + path, headers={"X-API-Key": self.key})

    async def post(self, path: str, body: object = None, **more: Any) -> httpx.Response:
        return await self.http.post(API + path, json=body, headers={"X-API-Key": self.key}, **more)

    async def delete(self, path: str) -> httpx.Response:
        return await self.http.delete(API + path, headers={"X-API-Key": self.key})

    async def keys(self) -> list[dict[str, Any]]:
        listed: list[dict[str, Any]] = (await self.get("/auth/keys")).json()["api_keys"]
        return listed

    async def generate(self, model_id: int = 1, prompt: str = "def f(n):\n", **more: Any) -> httpx.Response:
        return await self.post(f"/models/{model_id}/generate", {"prompt": prompt, "max_length": 16, **more})


@dataclass(frozen=True)
class PlatformGate:
    running: Running
    artifacts: Path

    @property
    def http(self) -> httpx.AsyncClient:
        return self.running.http

    async def register(self, user: dict[str, str] = ADA) -> Caller:
        answer = await self.http.post(f"{API}/auth/register", json=user)
        assert answer.status_code == 201, answer.text
        return Caller(self.http, answer.json()["api_key"])

    async def get(self, path: str) -> Any:
        """What anybody gets."""
        answer = await self.http.get(API + path)
        assert answer.status_code == 200, answer.text
        return answer.json()


def opener(open_config: OpenGate, folder: Path, url: str) -> OpenPlatform:
    """Opens gates in front of the engine at `url`, with a data set of 60 lines."""
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))

    @asynccontextmanager
    async def opened(
        change: Callable[[Document], None] = lambda document: None,
    ) -> AsyncIterator[PlatformGate]:
        def all_changes(document: Document) -> None:
            document["upstreams"]["llm"]["urls"] = [url]
            document["limits"] = []
            own = document["plugins"][PLUGIN]
            own |= {"artifacts": str(folder / "artifacts"), "worker": "elsewhere"}
            own["models"][0] |= {"upstream_model": BASE, "train_from": "/no/such/model"}
            own["datasets"] = [{"name": "Rows", "file": str(folder / "rows.jsonl")}]
            change(document)

        async with open_config("platform.toml", all_changes) as running:
            yield PlatformGate(running, folder / "artifacts")

    return opened


def queue_of(gate: PlatformGate) -> Queue:
    return Queue(gate.running.gate.services.store)


async def finish(gate: PlatformGate) -> int:
    """Let the oldest job end with an adapter; returns its model."""
    queue = queue_of(gate)
    job = await queue.take("test")
    assert job is not None
    folder = Artifacts(gate.artifacts).adapter(job.id)
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text("{}")
    ended = await queue.end(job, Ending(COMPLETED, "Finished."), ["Finished."])
    assert ended is not None
    assert ended.result_model_id is not None
    return ended.result_model_id


def jsonl(*rows: object) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


async def upload(who: Caller, content: bytes, **fields: str) -> httpx.Response:
    fields = {"name": "mine", **fields}
    files = {"file": ("any.jsonl", content)}
    return await who.http.post("/api/datasets", headers={"X-API-Key": who.key}, data=fields, files=files)


async def refusal(open_platform: OpenPlatform, change: Callable[[Document, Document], object]) -> str:
    """Why a gate does not start; `change` gets the plugin's own keys and the whole of gate.toml."""

    def changed(document: Document) -> None:
        change(document["plugins"][PLUGIN], document)

    with pytest.raises(ConfigError) as failed:
        async with open_platform(changed):
            pass
    return str(failed.value)
