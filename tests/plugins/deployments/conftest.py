"""The gate of config/bku.toml, with an admin, in front of a deployment that answers what it is told to."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from shutil import copy
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec
import pytest
from servers import serve
from starlette.types import Receive, Scope, Send

from llmgate.exchange import read_body
from llmgate.store import CORE, migrate
from llmgate_deployments.tables import MIGRATIONS
from plugins.conftest import OpenGate, Running

API = "/api/v1"
CHAT = f"{API}/inference/chat"
GUIDES_DEPLOYMENT = {
    "name": "Production Ollama",
    "host": "http://ollama-prod.example.com",
    "port": 11434,
    "deployment_type": "cloud",
    "description": "Production cloud deployment",
}
ADA = {"username": "ada", "email": "ada@example.com", "password": "secure-password-1"}
BOB = {"username": "bob", "email": "bob@example.com", "password": "secure-password-2"}
HELLO = {"messages": [{"role": "user", "content": "Hello!"}], "model": "llama2"}


@dataclass
class Ollama:
    """A backend with OpenAI's API. `script`, if set, is the body of its chats, whatever was asked."""

    models: list[str] | None = field(default_factory=lambda: ["llama2", "mistral:latest"])
    texts: list[str] = field(default_factory=lambda: ["Hello", " there", "!"])
    status: int = 200
    script: bytes | None = None
    kind: bytes | None = None
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    asked: list[dict[str, Any]] = field(default_factory=list)
    came: list[dict[bytes, bytes]] = field(default_factory=list)
    listed: int = 0
    url: str = ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await read_body(receive, 1 << 30)
        if scope["path"] == "/v1/models":
            self.listed += 1
            data = None if self.models is None else [{"id": name} for name in self.models]
            await self._send(send, 200, self._json({"object": "list", "data": data}))
            return
        assert (scope["method"], scope["path"]) == ("POST", "/v1/chat/completions")
        asked = msgspec.json.decode(body)
        self.asked.append(asked)
        self.came.append(dict(scope["headers"]))
        if self.script is not None:
            kind = b"text/event-stream" if asked.get("stream") and self.status == 200 else b"application/json"
            await self._send(send, self.status, [self.script], self.kind or kind)
        elif asked.get("stream"):
            await self._send(send, self.status, self._stream(asked), b"text/event-stream")
        else:
            await self._send(send, self.status, self._whole())

    def _whole(self) -> list[bytes]:
        message = {"role": "assistant", "content": "".join(self.texts)}
        return self._json(
            {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": self._usage()}
        )

    def _stream(self, asked: dict[str, Any]) -> list[bytes]:
        deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
        deltas += [{"content": text} for text in self.texts]
        chunks: list[dict[str, Any]] = [{"choices": [{"index": 0, "delta": delta}]} for delta in deltas]
        chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        if asked.get("stream_options", {}).get("include_usage"):
            chunks.append({"choices": [], "usage": self._usage()})
        return [b"data: " + msgspec.json.encode(chunk) + b"\n\n" for chunk in chunks] + [b"data: [DONE]\n\n"]

    def _usage(self) -> dict[str, int]:
        out = len(self.texts)
        return {"prompt_tokens": 7, "completion_tokens": out, "total_tokens": 7 + out}

    def _json(self, value: object) -> list[bytes]:
        return [msgspec.json.encode(value)]

    async def _send(
        self, send: Send, status: int, pieces: list[bytes], kind: bytes = b"application/json"
    ) -> None:
        headers = [(b"content-type", kind), *self.headers]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        for piece in pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


@pytest.fixture
async def ollama() -> AsyncIterator[Ollama]:
    backend = Ollama()
    async with serve(backend) as backend.url:
        yield backend


@pytest.fixture(scope="session")
def bku_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bku") / "gate.db"
    asyncio.run(migrate(f"sqlite:///{path}", sets=[CORE, MIGRATIONS]))
    return path


@dataclass(frozen=True)
class OpenBku:
    """Serves the gate of config/bku.toml with the plugin's settings changed."""

    open: OpenGate
    folder: Path

    def __call__(self, limit: int | None = None, **settings: object) -> AbstractAsyncContextManager[Running]:
        def change(document: dict[str, Any]) -> None:
            mine = {"models_folder": str(self.folder / "models"), **settings}
            table = document["plugins"]["llmgate_deployments"] | mine
            kept = {name: value for name, value in table.items() if value is not None}
            document["plugins"]["llmgate_deployments"] = kept
            document["limits"] = [] if limit is None else [{**document["limits"][0], "requests": limit}]

        return self.open("bku.toml", change)


@pytest.fixture
def open_bku(open_config: OpenGate, bku_file: Path, tmp_path: Path) -> OpenBku:
    copy(bku_file, tmp_path / "gate.db")
    return OpenBku(open_config, tmp_path)


@pytest.fixture
async def running(open_bku: OpenBku) -> AsyncIterator[Running]:
    async with open_bku() as running:
        yield running


@pytest.fixture
async def http(running: Running) -> httpx.AsyncClient:
    return running.http


@pytest.fixture
async def admin(http: httpx.AsyncClient) -> dict[str, str]:
    """The header of the first user, who is an admin."""
    return await log_in(http, ADA)


@pytest.fixture
async def user(http: httpx.AsyncClient, admin: dict[str, str]) -> dict[str, str]:
    """The header of another user, who is none."""
    return await log_in(http, BOB)


@pytest.fixture
async def deployment(http: httpx.AsyncClient, admin: dict[str, str], ollama: Ollama) -> int:
    """The id of a deployment at `ollama`."""
    answer = await add(http, admin, ollama.url)
    assert answer.status_code == 201, answer.text
    number: int = answer.json()["id"]
    return number


async def log_in(http: httpx.AsyncClient, who: dict[str, str]) -> dict[str, str]:
    """Register and log in; returns the header that proves it."""
    answer = await http.post(f"{API}/auth/register", json=who)
    assert answer.status_code == 201, answer.text
    form = {"username": who["username"], "password": who["password"]}
    token = (await http.post(f"{API}/auth/login", json=form)).json()["access_token"]
    return {"Authorization": f"Bearer {token}"}


async def key_of(http: httpx.AsyncClient, bearer: dict[str, str], **fields: object) -> str:
    """A new API key."""
    answer = await http.post(f"{API}/auth/api-keys", headers=bearer, json={"name": "k", **fields})
    assert answer.status_code == 201, answer.text
    key: str = answer.json()["key"]
    return key


async def add(
    http: httpx.AsyncClient, bearer: dict[str, str], url: str, name: str = "ollama", **fields: object
) -> httpx.Response:
    """Add a deployment at `url`."""
    parts = urlsplit(url)
    body = {"name": name, "host": f"{parts.scheme}://{parts.hostname}", "port": parts.port, **fields}
    return await http.post(f"{API}/deployments", headers=bearer, json=body)
