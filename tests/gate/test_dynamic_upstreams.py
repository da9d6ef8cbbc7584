"""Upstreams that are added while the gate runs."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from shutil import copy

import httpx
import pytest
from servers import Peer, ScriptedUpstream, serve
from stores import clock, migrated_file

from llmgate.config import Address, Config, Health, Route, Store, Upstream
from llmgate.config.secrets import SecretUrl
from llmgate.errors import BadRequest
from llmgate.gate.dynamic_upstreams import DynamicUpstream, DynamicUpstreams, open_dynamic_upstreams
from llmgate.gate.runtime import Runtime, open_runtime
from llmgate.ledger import Filter, Reports

__all__ = ["clock", "migrated_file"]

ROUTE = Route(path="/v1", upstream="added", name="r")
ANSWER = b'{"choices":[],"usage":{"prompt_tokens":2,"completion_tokens":3,"total_tokens":5}}'


@pytest.fixture
async def runtime(migrated_file: Path, tmp_path: Path) -> AsyncIterator[Runtime]:
    copy(migrated_file, tmp_path / "gate.db")
    config = Config(store=Store(url=SecretUrl(f"sqlite:///{tmp_path / 'gate.db'}")))
    async with open_runtime(config) as runtime:
        yield runtime


@pytest.fixture
async def backends(runtime: Runtime) -> AsyncIterator[DynamicUpstreams]:
    async with open_dynamic_upstreams(Config(), runtime, []) as backends:
        yield backends


def at(url: str) -> Upstream:
    return Upstream(urls=(url,), health=Health(enabled=False))


@asynccontextmanager
async def client_of(backend: DynamicUpstream) -> AsyncIterator[httpx.AsyncClient]:
    async with serve(backend.app) as url, httpx.AsyncClient(base_url=url, trust_env=False) as http:
        yield http


async def shown(runtime: Runtime) -> bool:
    """Whether the metrics show the upstream."""
    return any(
        sample.labels.get("upstream") == "added"
        for family in runtime.instruments.registry.collect()
        for sample in family.samples
        if family.name == "llmgate_upstream_up"
    )


async def test_what_is_added_is_relayed_counted_and_shown(
    runtime: Runtime, backends: DynamicUpstreams
) -> None:
    """As an upstream of gate.toml is."""

    async def script(peer: Peer) -> None:
        head, _ = await peer.request()
        assert head.startswith(b"POST /v1/chat/completions ")
        await peer.answer(ANSWER, headers=b"content-type: application/json\r\n")

    async with ScriptedUpstream(script) as server:
        backend = await backends.add("added", at(server.url), ROUTE)
        assert await shown(runtime)
        async with client_of(backend) as http:
            assert (await http.post("/v1/chat/completions", json={"model": "m"})).content == ANSWER
    [record] = await Reports(runtime.store).records(Filter(upstream="added"))
    assert (record.input_tokens, record.output_tokens) == (2, 3)
    await backends.remove(backend)
    assert not await shown(runtime)


async def test_what_is_removed_answers_to_the_end(backends: DynamicUpstreams) -> None:
    """Requests that are under way go on."""
    asked, go = asyncio.Event(), asyncio.Event()

    async def slowly(peer: Peer) -> None:
        await peer.request()
        asked.set()
        await go.wait()
        await peer.answer(ANSWER, headers=b"content-type: application/json\r\n")

    async with ScriptedUpstream(slowly) as server:
        backend = await backends.add("added", at(server.url), ROUTE)
        async with client_of(backend) as http:
            answer = asyncio.ensure_future(http.post("/v1/chat/completions", json={"model": "m"}))
            await asked.wait()
            await backends.remove(backend)
            go.set()
            assert (await answer).content == ANSWER


async def test_the_gates_own_addresses_cannot_be_added(runtime: Runtime) -> None:
    """Those that it was told of."""
    async with open_dynamic_upstreams(Config(), runtime, [Address("127.0.0.1", 8000)]) as backends:
        with pytest.raises(BadRequest, match="this gate itself"):
            await backends.examine("http://127.0.0.1:8000")
        await backends.examine("http://127.0.0.1:1")
