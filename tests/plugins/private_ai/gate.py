"""The gate of config/private-ai.toml on a store of the test's own, with a scripted backend and a real mail server."""

import tomllib
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import msgspec
from gates import Gate, open_gate, open_runtime
from mail_server import Mailbox, text_of
from pgvector_server import PASSWORD, PostgresServer
from servers import serve
from starlette.types import Message, Receive, Scope, Send
from stores import Clock

from llmgate.config import from_document
from llmgate.exchange import read_body
from plugins.conftest import CONFIG, Model

NOON = 1_800_000_000.0
ADMIN, ADMIN_PASSWORD = "admin@example.com", "admin"
PASSWORD_OF_ALL = "long enough"
SEALING_KEY = "0123456789abcdef" * 4
COST = 0.010025
"""Of one answer, by the prices of config/private-ai.toml."""
USED = (
    b'{"id":"c","object":"chat.completion","created":1,"model":"gpt-4","choices":[{"index":0,"finish_reason":"stop",'
    b'"message":{"role":"assistant","content":"Hello!"}}],'
    b'"usage":{"prompt_tokens":10,"completion_tokens":1000,"total_tokens":1010}}'
)
LIST = b'{"object":"list","data":[{"id":"gpt-4"},{"id":"text-embedding-3-small"},{"id":"whisper-1"}]}'


class Backend(Model):
    """A backend that keeps to `max_tokens`."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await read_body(receive, 1 << 20)

        async def again() -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

        asked = Model(self.answer, self.status, self.requests)
        if scope["method"] == "POST":
            tokens = min(1000, msgspec.json.decode(body).get("max_tokens") or 1000)
            counted = b'"completion_tokens":%d,"total_tokens":%d' % (tokens, tokens + 10)
            asked.answer = self.answer.replace(b'"completion_tokens":1000,"total_tokens":1010', counted)
        await asked(scope, again, send)


@dataclass
class Running:
    """The gate, a client of its API signed in as nobody, and what it stands on."""

    gate: Gate
    http: httpx.AsyncClient
    models: httpx.AsyncClient
    dashboard: httpx.AsyncClient
    backend: Model
    mailbox: Mailbox
    clock: Clock
    urls: dict[int, str]
    bearers: dict[str, str] = field(default_factory=dict)

    async def ask(
        self,
        who: str | None,
        method: str,
        path: str,
        body: Any = None,
        *,
        status: int | None = 200,
        **rest: Any,
    ) -> Any:
        """The body of an answer, whose status has to be `status`, to the user with this address."""
        headers = {} if who is None else {"authorization": f"Bearer {self.bearers[who]}"}
        answer = await self.http.request(method, path, json=body, headers=headers, **rest)
        assert status in (None, answer.status_code), (method, path, answer.status_code, answer.text)
        return answer.json() if answer.content else None

    async def sign_in(self, email: str, password: str = PASSWORD_OF_ALL) -> str:
        answer = await self.http.post("/auth/login", data={"username": email, "password": password})
        assert answer.status_code == 200, answer.text
        self.http.cookies.clear()
        self.bearers[email] = answer.json()["access_token"]
        return self.bearers[email]

    async def user(
        self, email: str, *, team_id: int | None = None, role: str | None = None
    ) -> dict[str, Any]:
        """A new user, signed in."""
        body = {"email": email, "password": "long enough", "team_id": team_id, "role": role}
        made: dict[str, Any] = await self.ask(ADMIN, "POST", "/users", body, status=201)
        await self.sign_in(email)
        return made

    async def team(self, name: str) -> int:
        body = {"name": name, "admin_email": f"boss@{name.lower()}.example"}
        team_id: int = (await self.ask(ADMIN, "POST", "/teams", body, status=201))["id"]
        return team_id

    async def token(self, who: str, **rest: Any) -> dict[str, Any]:
        """A new key that is a token alone."""
        body = {"name": "key", "region_id": 1, **rest}
        made: dict[str, Any] = await self.ask(who, "POST", "/private-ai-keys/token", body)
        return made

    async def chat(self, token: str, path: str = "/chat/completions", **rest: Any) -> httpx.Response:
        body = {
            "model": "gpt-4",
            "messages": [{"role": "user", "content": "Hello"}],
            "max_tokens": 1000,
            **rest,
        }
        return await self.models.post(path, json=body, headers={"authorization": f"Bearer {token}"})

    def code(self, address: str) -> str:
        """The code of the last mail to an address."""
        text = text_of(self.mailbox.to(address)[-1])
        return next(line.strip() for line in text.splitlines() if line.startswith("    "))


@asynccontextmanager
async def running_gate(
    store: Path,
    mailbox: Mailbox,
    clock: Clock,
    *,
    postgres: PostgresServer | None = None,
    change: Callable[[dict[str, Any]], None] = lambda _: None,
) -> AsyncIterator[Running]:
    """The gate, until the block ends; without `postgres`, its region's server is away."""
    async with AsyncExitStack() as stack:
        backend = Backend(USED)
        document = tomllib.loads((CONFIG / "private-ai.toml").read_text())
        upstream = await stack.enter_async_context(serve(backend))
        document["store"] |= {"url": f"sqlite:///{store}", "sealing_keys": [SEALING_KEY]}
        document["gate"]["access_log"] = False
        document["mail"] = {"url": mailbox.url, "sender": "Private AI <no-reply@example.com>"}
        document["upstreams"]["models"] |= {"urls": [upstream], "health": {"enabled": False}}
        document["upstreams"]["models"]["context_length"] = 4000
        for limit in document["limits"]:
            limit["requests"] = 100_000
        region = document["plugins"]["llmgate_private_ai"]["regions"][0]
        region["postgres_admin_password"] = PASSWORD
        region["postgres_host"] = "127.0.0.1" if postgres is None else postgres.host
        region["postgres_port"] = 1 if postgres is None else postgres.port
        change(document)
        config = from_document(document, file=CONFIG / "private-ai.toml")
        runtime = await stack.enter_async_context(open_runtime(config, clock=clock))
        gate = await stack.enter_async_context(open_gate(config, runtime))
        urls, clients = {}, []
        for address, app in gate.apps.items():
            urls[address.port] = await stack.enter_async_context(serve(app))
        for port in (8800, 4000, 3000):
            client = httpx.AsyncClient(base_url=urls[port], trust_env=False, timeout=30)
            clients.append(await stack.enter_async_context(client))
        running = Running(gate, *clients, backend, mailbox, clock, urls)
        await running.sign_in(ADMIN, ADMIN_PASSWORD)
        yield running


def region(server: PostgresServer, url: str, **rest: Any) -> dict[str, Any]:
    """Body of `POST /regions` for a region with this PostgreSQL server, and its models at `url`."""
    return {
        "name": "far", "label": "Far away", "postgres_host": server.host, "postgres_port": server.port,
        "postgres_admin_user": "postgres", "postgres_admin_password": PASSWORD, "litellm_api_url": url,
        "litellm_api_key": "sk-backend", **rest,
    }  # fmt: skip
