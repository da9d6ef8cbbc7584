"""The gate of config/platform.toml in front of a backend of the test's own, and somebody who uses it."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from plugins.conftest import OpenGate, Running

from .engines import BASE

PLUGIN = "llmgate_platform"
API = "/api"
ADA = {"username": "ada", "email": "ada@example.com", "password": "secure-password-1"}
BOB = {"username": "bob", "email": "bob@example.com", "password": "secure-password-2"}
ROWS = [
    {"prompt": f"def f{number}(n):\n", "completion": f"    return n + {number}\n"} for number in range(60)
]

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
