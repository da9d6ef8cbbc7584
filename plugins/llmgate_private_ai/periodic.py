"""Work that is done when there is some, and looked for now and then."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from llmgate.plugin.api import StoreError

log = logging.getLogger("llmgate.private_ai")


@asynccontextmanager
async def running(
    name: str, work: Callable[[], Awaitable[object]], *, every: float, wake: asyncio.Event | None = None
) -> AsyncIterator[None]:
    """Do `work` now, every `every` seconds and when `wake` is set, until the block ends."""
    wake = wake or asyncio.Event()

    async def run() -> None:
        while True:
            wake.clear()
            try:
                await work()
            except StoreError as error:
                log.warning("%s waits for the store: %s", name, error)
            except Exception:
                log.exception("%s: a round failed", name)
            try:
                async with asyncio.timeout(every):
                    await wake.wait()
            except TimeoutError:
                continue

    task = asyncio.create_task(run(), name=f"llmgate-{name}")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def backoff(attempts: int, *, longest: float) -> float:
    """Seconds to wait after so many failed attempts: 1, 2, 4, ..., at most `longest`."""
    return float(min(longest, 2.0 ** min(attempts, 32)))
