"""Gates from the files in config/, on free ports and a store of the test's own, in front of a model of its own."""

import tomllib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from shutil import copy
from typing import Any

import httpx
import msgspec
import pytest
from argon2 import PasswordHasher
from servers import serve
from starlette.types import Receive, Scope, Send
from stores import Clock, clock, migrated_file

from llmgate.config import from_document
from llmgate.exchange import read_body
from llmgate.gate.build import Gate, open_gate
from llmgate.gate.runtime import open_runtime

__all__ = ["clock", "migrated_file"]

CONFIG = Path(__file__).parents[2] / "config"

Change = Callable[[dict[str, Any]], None]
OpenGate = Callable[..., AbstractAsyncContextManager["Running"]]


@dataclass(frozen=True)
class Running:
    """A gate that serves, its services, and a client of it."""

    url: str
    http: httpx.AsyncClient
    gate: Gate


@dataclass
class Model:
    """A backend that answers what it is told to, and remembers what it was asked."""

    answer: bytes = (
        b'{"object":"text_completion","usage":{"prompt_tokens":5,"completion_tokens":15,"total_tokens":20}}'
    )
    status: int = 200
    requests: list[tuple[str, dict[bytes, bytes], bytes]] = field(default_factory=list)

    @property
    def asked(self) -> dict[str, Any]:
        """The body of the last request."""
        body: dict[str, Any] = msgspec.json.decode(self.requests[-1][2])
        return body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await read_body(receive, 1 << 30)
        if scope["method"] == "POST" and scope["path"] != "/tokenize":
            self.requests.append((scope["path"], dict(scope["headers"]), body))
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(self.answer))]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.answer})


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture
def open_config(
    migrated_file: Path, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> OpenGate:
    """Serves the gate of a file in config/, changed by `change`, until the block ends."""
    cheap = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    monkeypatch.setattr("llmgate.identity.passwords.PasswordHasher", lambda: cheap)

    @asynccontextmanager
    async def opened(name: str, change: Change, store: str = "gate.db") -> AsyncIterator[Running]:
        file = CONFIG / name
        document = tomllib.loads(file.read_text())
        if not (tmp_path / store).exists():
            copy(migrated_file, tmp_path / store)
        document["store"]["url"] = f"sqlite:///{tmp_path / store}"
        document["gate"]["access_log"] = False
        change(document)
        config = from_document(document, file=file)
        async with AsyncExitStack() as stack:
            runtime = await stack.enter_async_context(open_runtime(config, clock=clock))
            gate = await stack.enter_async_context(open_gate(config, runtime))
            url = await stack.enter_async_context(serve(gate.apps[config.gate.listen[0]]))
            http = await stack.enter_async_context(
                httpx.AsyncClient(base_url=url, trust_env=False, timeout=30)
            )
            yield Running(url, http, gate)

    return opened
