"""A whole gate in the test's own loop: a store of its own, a user with a key, a scripted upstream, a real socket."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec
from servers import PATIENCE, Peer, ScriptedUpstream
from sqlalchemy import select

from llmgate.config import Address, from_document
from llmgate.gate.build import Gate, open_gate
from llmgate.gate.runtime import Runtime, open_runtime
from llmgate.server.limits import ConnectionLimits
from llmgate.server.listener import Listener
from llmgate.server.sockets import bind
from llmgate.store.schema import usage

USAGE = b'"usage":{"prompt_tokens":5,"completion_tokens":7,"total_tokens":12}'
ANSWER = b'{"object":"chat.completion","model":"small","choices":[],' + USAGE + b"}"
LIMITS = ConnectionLimits(header_timeout=PATIENCE, max_connections=1000)

Script = Callable[[Peer], Awaitable[None]]


async def answers(peer: Peer) -> None:
    """A backend that answers every request with the same completion."""
    while True:
        await peer.request()
        await peer.answer(ANSWER, headers=b"content-type: application/json\r\n")


@dataclass
class Running:
    """A gate that serves at `url`, and what it stands on; `key` is the key of its user."""

    url: str
    gate: Gate
    runtime: Runtime
    upstream: ScriptedUpstream
    key: str

    def request(
        self,
        body: bytes = b'{"model":"small","messages":[]}',
        *,
        path: str = "/v1/chat/completions",
        headers: str = "",
    ) -> bytes:
        """A good request of the user, as bytes."""
        head = f"POST {path} HTTP/1.1\r\nhost: gate\r\nauthorization: Bearer {self.key}\r\n{headers}"
        return head.encode() + b"content-length: %d\r\n\r\n" % len(body) + body

    async def records(self) -> list[tuple[str, int, int, str]]:
        """What the ledger has recorded: outcome, tokens in and out, certainty."""
        columns = usage.c["outcome", "input_tokens", "output_tokens", "certainty"]
        await self.runtime.store.flush()
        async with self.runtime.store.connect() as db:
            return [tuple(row) for row in await db.execute(select(*columns).order_by(usage.c.at))]

    def held(self) -> int:
        """What running requests hold of quotas."""
        return sum(self.runtime.ledger.state().held.values())

    def left_behind(self) -> dict[str, int]:
        """Everything that must be nothing when nobody is served."""
        upstreams = self.gate.services.upstreams.values()
        in_flight = _samples(self.runtime, "llmgate_requests_in_flight")
        return {
            "inside": self.gate.in_flight,
            "on upstreams": sum(replica.in_flight for each in upstreams for replica in each.replicas),
            "slots": self.runtime.limits.slots.taken,  # type: ignore[attr-defined]
            "held": self.held(),
            "unwritten": self.runtime.ledger.commits.backlog,
            "gauge": int(sum(in_flight)),
        }

    async def quiet(self) -> None:
        """Wait until nothing is left behind; fails where something stays."""
        try:
            async with asyncio.timeout(PATIENCE):
                while any(self.left_behind().values()):  # noqa: ASYNC110 - nothing happens when nothing is left
                    await asyncio.sleep(0.001)
        except TimeoutError:
            raise AssertionError(f"left behind: {self.left_behind()}") from None


def _samples(runtime: Runtime, name: str) -> list[float]:
    return [
        s.value for metric in runtime.instruments.registry.collect() for s in metric.samples if s.name == name
    ]


@asynccontextmanager
async def running(
    folder: Path,
    store: Path,
    script: Script = answers,
    *,
    connections: ConnectionLimits = LIMITS,
    first_byte_timeout: float = 60.0,
    settings: Mapping[str, Any] = MappingProxyType({}),
    **tables: Any,
) -> AsyncIterator[Running]:
    """A gate in front of a backend that runs `script`; `tables` are laid over those of its gate.toml, `settings`
    over those of the upstream (None takes one out)."""
    async with AsyncExitStack() as stack:
        upstream = await stack.enter_async_context(ScriptedUpstream(script))
        of_upstream = {
            "urls": [upstream.url],
            "dialect": "vllm",
            "context_length": 1000,
            "first_byte_timeout": first_byte_timeout,
            "health": {"enabled": False},
            "list_models": False,
            **settings,
        }
        of_upstream = {name: value for name, value in of_upstream.items() if value is not None}
        document = {
            "gate": {"access_log": False, "max_body": 100_000},
            "store": {"url": f"sqlite:///{store}"},
            "upstreams": {"vllm": of_upstream},
            "routes": [{"path": "/v1", "upstream": "vllm"}],
            "quotas": [{"per": "user", "tokens": 1_000_000}],
            "limits": [{"per": "key", "concurrent": 100}],
            **tables,
        }
        config = from_document(document, file=folder / "gate.toml")
        runtime = await stack.enter_async_context(open_runtime(config))
        gate = await stack.enter_async_context(open_gate(config, runtime))
        identity = gate.services.identity
        user = await identity.users.register("ann", None)
        _, secret = await identity.keys.create(user.id, "test")
        app = next(iter(gate.apps.values()))
        address = Address("127.0.0.1", 0)
        listener = Listener(address, bind(address))
        await listener.serve(app, connections, grace=0.0)
        stack.push_async_callback(listener.stop)
        yield Running(f"http://127.0.0.1:{listener.port}", gate, runtime, upstream, secret)


def error_of(body: bytes) -> dict[str, Any]:
    """What is in an error body of OpenAI's shape."""
    error: dict[str, Any] = msgspec.json.decode(body)["error"]
    return error
