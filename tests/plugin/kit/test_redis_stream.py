"""Events in a stream of Redis."""

import uuid
from typing import Any

import pytest
from redis_server import redis_client

from llmgate.config import SecretUrl
from llmgate.plugin.kit.outbox import DeliveryFailed, Event
from llmgate.plugin.kit.redis_stream import RedisStream, open_redis_stream

__all__ = ["redis_client"]


async def test_events_can_go_to_a_redis_stream(redis_client: Any) -> None:
    name = f"llmgate-test-{uuid.uuid4().hex}"
    try:
        await RedisStream(redis_client, name).deliver(Event("evt-1", "one", "a", b"{}"))
        ((_, fields),) = await redis_client.xrange(name)
        assert fields == {b"id": b"evt-1", b"type": b"one", b"body": b"{}"}
    finally:
        await redis_client.delete(name)


async def test_a_redis_that_is_away_is_no_delivery() -> None:
    pytest.importorskip("redis.asyncio")
    async with open_redis_stream(SecretUrl("redis://127.0.0.1:1/0"), "events") as stream:
        with pytest.raises(DeliveryFailed, match="redis"):
            await stream.deliver(Event("evt-1", "one", "a", b"{}"))
