"""Events of a surface, delivered to where its settings say: to a webhook, and to a stream in Redis.

async with open_events(gate, partial(outbox_of, gate.store), webhook=settings.webhook, redis_stream="events"):
    ...
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from .periodic import periodic
from .redis_stream import open_redis_stream
from .webhooks import Webhook

if TYPE_CHECKING:
    from ..api import Services
    from .outbox import Outbox, Sink
    from .webhooks import WebhookSettings


@asynccontextmanager
async def open_events(
    gate: Services,
    outbox_of: Callable[[list[Sink]], Outbox],
    *,
    webhook: WebhookSettings | None,
    redis_stream: str | None,
) -> AsyncIterator[None]:
    """Deliver what is in the outbox that `outbox_of` makes for these sinks, until the block ends.

    Without either nothing is written, and what was left over is forgotten. `redis_stream` is the name of a stream in
    the Redis of [limits_store]: that there is one is for the surface to check.
    """
    sinks: list[Sink] = []
    async with AsyncExitStack() as stack:
        if webhook is not None:
            sinks.append(Webhook(gate.http, webhook, clock=gate.store.clock))
        redis = gate.config.limits_store.redis
        if redis_stream is not None and redis is not None:
            sinks.append(await stack.enter_async_context(open_redis_stream(redis, redis_stream)))
        outbox = outbox_of(sinks)
        await outbox.open()
        if sinks:
            await stack.enter_async_context(periodic("events", outbox.run))
        yield
