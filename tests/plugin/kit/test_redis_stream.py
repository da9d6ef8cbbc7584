"""Events in a stream of Redis."""

import os
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest

from llmgate.config import SecretUrl
from llmgate.plugin.kit.outbox import DeliveryFailed, Event
from llmgate.plugin.kit.redis_stream import RedisStream, open_redis_stream

REDIS = os.environ.get("LLMGATE_TEST_REDIS", "redis://127.0.0.1:6379/0")


@pytest.fixture
async def redis() -> AsyncIterator[Any]:
    client = pytest.importorskip("redis.asyncio").Redis.from_url(REDIS)
    try:
        await client.ping()
    except OSError as error:
        reason = f"no Redis answers at {REDIS}: {error}"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    yield client
    await client.aclose()


async def test_events_can_go_to_a_redis_stream(redis: Any) -> None:
    name = f"llmgate-test-{uuid.uuid4().hex}"
    try:
        await RedisStream(redis, name).deliver(Event("evt-1", "one", "a", b"{}"))
        ((_, fields),) = await redis.xrange(name)
        assert fields == {b"id": b"evt-1", b"type": b"one", b"body": b"{}"}
    finally:
        await redis.delete(name)


async def test_a_redis_that_is_away_is_no_delivery() -> None:
    pytest.importorskip("redis.asyncio")
    async with open_redis_stream(SecretUrl("redis://127.0.0.1:1/0"), "events") as stream:
        with pytest.raises(DeliveryFailed, match="redis"):
            await stream.deliver(Event("evt-1", "one", "a", b"{}"))
