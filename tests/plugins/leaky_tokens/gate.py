"""The gate of config/leaky-tokens.toml in the test's own loop, on free ports, in front of providers of its own."""

import asyncio
import tomllib
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import msgspec
from servers import serve
from starlette.types import Receive, Scope, Send
from stores import Clock

from llmgate.config import from_document
from llmgate.exchange import read_body
from llmgate.gate.build import Gate, open_gate
from llmgate.gate.runtime import Runtime, open_runtime
from llmgate.identity import ADMIN
from llmgate.ledger import Allotment, Subject, Unit, UsageRecord

CONFIG = Path(__file__).parents[3] / "config" / "leaky-tokens.toml"
NOON = 1_770_292_800.0
"""2026-02-05T12:00:00Z, the guide's own day."""
PLUGIN = "llmgate_leaky_tokens"
SAID = "Qubits, 量子 and \N{ATOM SYMBOL}."

Change = Callable[[dict[str, Any]], None]


def unchanged(document: dict[str, Any]) -> None:
    """config/leaky-tokens.toml as it stands."""


@dataclass
class Providers:
    """The backend of all providers: answers every chat alike, and remembers what it was asked."""

    status: int = 200
    body: bytes = msgspec.json.encode(
        {
            "id": "resp-uuid-123",
            "object": "chat.completion",
            "model": "small",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": SAID}}],
            "usage": {"prompt_tokens": 7, "completion_tokens": 11, "total_tokens": 18},
        }
    )
    requests: list[tuple[str, dict[bytes, bytes], dict[str, Any]]] = field(default_factory=list)
    open: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.open.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await read_body(receive, 1 << 20)
        if scope["method"] == "POST":
            self.requests.append((scope["path"], dict(scope["headers"]), msgspec.json.decode(body)))
        await self.open.wait()
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(self.body))]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.body})


@dataclass(frozen=True)
class Account:
    """A user of the test: names and a header that proves who it is."""

    id: int
    uuid: str
    bearer: dict[str, str]


@dataclass(frozen=True)
class Running:
    """A gate that serves; `ports` maps the guide's ports to those where it really listens."""

    ports: dict[int, str]
    http: httpx.AsyncClient
    gate: Gate
    runtime: Runtime
    clock: Clock

    @property
    def services(self) -> Any:
        return self.gate.services

    async def account(self, name: str = "myuser", *, admin: bool = False) -> Account:
        """A user who has registered; an administrator if wanted."""
        body = {"username": name, "email": f"{name}@example.com", "password": "securepassword123"}
        answer = await self.http.post("/api/v1/auth/register", json=body)
        assert answer.status_code == 201, answer.text
        user = await self.services.identity.users.by_username(name)
        if admin:
            await self.services.identity.users.grant(user.id, ADMIN)
        return Account(user.id, user.uuid, {"Authorization": f"Bearer {answer.json()['token']}"})

    async def organization(self, *members: Account, tokens: int | None = None, name: str = "acme") -> str:
        """The UUID of a new organization, with this many tokens for openai."""
        organizations = self.services.identity.organizations
        made = await organizations.create(name)
        for member in members:
            await organizations.add_member(made.id, member.id)
        if tokens is not None:
            allotment = Allotment(Unit.TOKENS, tokens, upstream="openai")
            await self.services.quotas.set(Subject("organization", made.id), allotment)
        uuid: str = made.uuid
        return uuid

    async def give(self, account: Account, tokens: int, provider: str = "openai") -> None:
        """Set the quota of a user."""
        allotment = Allotment(Unit.TOKENS, tokens, upstream=provider)
        await self.services.quotas.set(Subject("user", account.id), allotment)

    async def quota(self, account: Account, provider: str = "openai") -> Any:
        """What the surface says of a user's quota."""
        query = {"userId": account.uuid, "provider": provider}
        answer = await self.http.get("/api/v1/tokens/quota", params=query, headers=account.bearer)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def left(self, account: Account, provider: str = "openai") -> int:
        remaining: int = (await self.quota(account, provider))["remainingTokens"]
        return remaining

    async def consume(self, account: Account, tokens: int = 50, **fields: object) -> httpx.Response:
        """The guide's request, changed by `fields`."""
        body = {"userId": account.uuid, "provider": "openai", "tokens": tokens, "prompt": "Hello", **fields}
        return await self.http.post("/api/v1/tokens/consume", json=body, headers=account.bearer)

    async def records(self) -> list[UsageRecord]:
        from llmgate.ledger import Filter

        records: list[UsageRecord] = await self.services.reports.records(Filter())
        return records[::-1]


@asynccontextmanager
async def open_leaky_gate(
    store: Path, clock: Clock, providers: Providers, change: Change = unchanged
) -> AsyncIterator[Running]:
    """The gate on the store at `store`, its providers at `providers`."""
    document = tomllib.loads(CONFIG.read_text())
    document["store"]["url"] = f"sqlite:///{store}"
    document["gate"]["access_log"] = False
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(serve(providers))
        for upstream in document["upstreams"].values():
            upstream |= {"urls": [url], "api_key": "sk-of-the-provider"}
        change(document)
        config = from_document(document, file=CONFIG)
        runtime = await stack.enter_async_context(open_runtime(config, clock=clock))
        gate = await stack.enter_async_context(open_gate(config, runtime))
        ports = {}
        for address in config.gate.listen:
            port = int(str(address).rpartition(":")[2])
            ports[port] = await stack.enter_async_context(serve(gate.apps[address]))
        http = await stack.enter_async_context(
            httpx.AsyncClient(base_url=ports[8080], trust_env=False, timeout=30)
        )
        yield Running(ports, http, gate, runtime, clock)
