"""Gates from the files in config/, on free ports and a store of the test's own, in front of a model of its own."""

import asyncio
import tomllib
from collections.abc import AsyncIterator, Callable, Mapping
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
from llmgate.plugin.loader import load_plugin
from llmgate.store import CORE, migrate

__all__ = ["clock", "migrated_file"]

CONFIG = Path(__file__).parents[2] / "config"

SEALING_KEY = "5a" * 32
SURFACES = (
    "llmgate_accounts",
    "llmgate_deployments",
    "llmgate_leaky_tokens",
    "llmgate_platform",
    "llmgate_private_ai",
    "llmgate_private_ai_models",
    "llmgate_private_ai_dashboard",
)

Change = Callable[[dict[str, Any]], None]
OpenGate = Callable[..., AbstractAsyncContextManager["Running"]]


@dataclass(frozen=True)
class Running:
    """A gate that serves, its services, and a client of it: `http` of the first address, `at` of all by their ports."""

    url: str
    http: httpx.AsyncClient
    gate: Gate
    at: Mapping[int, httpx.AsyncClient] = field(default_factory=dict)


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
            clients: dict[int, httpx.AsyncClient] = {}
            for address, app in gate.apps.items():
                client = httpx.AsyncClient(
                    base_url=await stack.enter_async_context(serve(app)), trust_env=False, timeout=30
                )
                clients[address.port] = await stack.enter_async_context(client)
            http = clients[config.gate.listen[0].port]
            yield Running(str(http.base_url).rstrip("/"), http, gate, clients)

    return opened


@pytest.fixture(scope="session")
def migrated_for_all(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite store with the tables of all surfaces, to be copied."""
    path = tmp_path_factory.mktemp("all") / "gate.db"
    own = [getattr(load_plugin(name), "migrations", None) for name in SURFACES]
    asyncio.run(migrate(f"sqlite:///{path}", sets=[CORE, *filter(None, own)]))
    return path


@pytest.fixture
def open_all(open_config: OpenGate, migrated_for_all: Path, tmp_path: Path) -> OpenGate:
    """Serves config/all.toml, changed by `change`, in front of a backend at `url`."""
    copy(migrated_for_all, tmp_path / "gate.db")

    @asynccontextmanager
    async def opened(url: str, change: Change = lambda document: None) -> AsyncIterator[Running]:
        def all_changes(document: dict[str, Any]) -> None:
            document["store"]["sealing_keys"] = [SEALING_KEY]
            for upstream in document["upstreams"].values():
                upstream["urls"] = [url]
            document["plugins"]["llmgate_platform"]["artifacts"] = str(tmp_path / "artifacts")
            document["plugins"]["llmgate_deployments"]["models_folder"] = str(tmp_path / "models")
            change(document)

        async with open_config("all.toml", all_changes) as running:
            yield running

    return opened
