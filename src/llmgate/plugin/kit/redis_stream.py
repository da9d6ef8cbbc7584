"""A stream in Redis as a `Sink` of `kit.outbox`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from .outbox import DeliveryFailed, Event

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from ..api import SecretUrl

TIMEOUT_S = 10.0
MAX_EVENTS = 100_000
"""Events that the stream keeps, about."""


class RedisStream:
    """Adds events to the stream `name`: fields `id`, `type` and `body`."""

    def __init__(self, redis: Redis, name: str) -> None:
        self._redis = redis
        self._name = name

    async def deliver(self, event: Event) -> None:
        """See `Sink`."""
        from redis.exceptions import RedisError  # noqa: PLC0415 - an extra

        fields = {"id": event.id, "type": event.type, "body": event.body}
        try:
            await self._redis.xadd(self._name, fields, maxlen=MAX_EVENTS)  # type: ignore[arg-type]
        except (RedisError, OSError) as error:
            raise DeliveryFailed(f"redis: {type(error).__name__}: {error}") from error


@asynccontextmanager
async def open_redis_stream(url: SecretUrl, name: str) -> AsyncIterator[RedisStream]:
    """The stream `name` of the Redis at `url`."""
    from redis.asyncio import Redis  # noqa: PLC0415 - an extra, without which the gate's [limits_store] does not open

    redis = Redis.from_url(url.reveal(), socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S)
    try:
        yield RedisStream(redis, name)
    finally:
        await redis.aclose()
