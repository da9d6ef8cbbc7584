"""Events go where the settings say."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from functools import partial
from types import SimpleNamespace
from typing import Any

import httpx
import msgspec
import pytest
import sqlalchemy as sa
from redis_server import REDIS, redis_client
from servers import serve
from starlette.types import Receive, Scope, Send
from stores import Clock, clock, migrated_file, sqlite_url

from llmgate.config import Secret, SecretUrl
from llmgate.exchange import read_body
from llmgate.plugin.api import Services
from llmgate.plugin.kit.events import open_events
from llmgate.plugin.kit.outbox import Outbox, Sink, add_event, outbox_tables
from llmgate.plugin.kit.webhooks import WebhookSettings
from llmgate.store import Store

__all__ = ["clock", "migrated_file", "redis_client", "sqlite_url"]

TABLES = outbox_tables("test_events", sa.MetaData())


@pytest.fixture
async def store(sqlite_url: str, clock: Clock) -> AsyncIterator[Store]:
    async with Store.open(sqlite_url, clock=clock) as opened:
        async with opened.begin() as db:
            await db.run_sync(TABLES.events.metadata.create_all)
        yield opened


def gate_of(store: Store, http: Any = None, redis: SecretUrl | None = None) -> Services:
    """What of a gate is needed here."""
    gate: Any = SimpleNamespace(
        store=store, http=http, config=SimpleNamespace(limits_store=SimpleNamespace(redis=redis))
    )
    return gate


def outbox_of(store: Store, sinks: list[Sink]) -> Outbox:
    return Outbox(store, TABLES, sinks)


async def write(store: Store, kind: str) -> None:
    async with store.begin() as db:
        await add_event(db, TABLES, "a", kind, {}, at=1.0)


async def test_events_reach_the_webhook_as_long_as_the_block_lasts(store: Store) -> None:
    """Those that were written before somebody looks, too."""
    got: asyncio.Queue[str] = asyncio.Queue()

    async def receiver(scope: Scope, receive: Receive, send: Send) -> None:
        got.put_nowait(msgspec.json.decode(await read_body(receive, 1 << 20))["type"])
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async with serve(receiver) as url, httpx.AsyncClient(trust_env=False) as http:
        webhook = WebhookSettings(url=url, secret=Secret("s" * 24))
        gate = gate_of(store, http)
        async with open_events(gate, partial(outbox_of, store), webhook=webhook, redis_stream=None):
            await write(store, "one")
            async with asyncio.timeout(10):
                assert await got.get() == "one"


async def test_events_reach_a_stream_in_redis(store: Store, redis_client: Any) -> None:
    """The one of the limits' store, under the name that the settings have."""
    name = f"llmgate-test-{uuid.uuid4().hex}"
    try:
        gate = gate_of(store, redis=SecretUrl(REDIS))
        async with open_events(gate, partial(outbox_of, store), webhook=None, redis_stream=name):
            await write(store, "one")
            async with asyncio.timeout(10):
                found = await redis_client.xread({name: "0"}, block=9_000)
        ((_, fields),) = found[0][1]
        assert fields[b"type"] == b"one"
    finally:
        await redis_client.delete(name)


async def test_where_nobody_listens_nothing_is_written(store: Store) -> None:
    """And what was left over from before is forgotten."""
    async with store.begin() as db:
        await db.execute(TABLES.delivery.insert().values(since=0.0))
    await write(store, "left over")
    async with open_events(gate_of(store), partial(outbox_of, store), webhook=None, redis_stream=None):
        await write(store, "one")
    async with store.connect() as db:
        assert (await db.execute(sa.select(TABLES.events))).all() == []
