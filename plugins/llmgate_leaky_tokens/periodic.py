"""Work that is done when there is some, and looked for now and then."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from llmgate.plugin.api import StoreError

log = logging.getLogger("llmgate.leaky_tokens")

LOOK_EVERY = 1.0
"""Seconds after which somebody looks what other processes, or the time, have made due."""


@asynccontextmanager
async def running(
    name: str, work: Callable[[], Awaitable[object]], *, every: float = LOOK_EVERY
) -> AsyncIterator[Callable[[], None]]:
    """Do `work` now, every `every` seconds and when the function that is yielded says so, until the block ends.

    Only one `work` runs at a time. While the store fails, it is tried again and said once.
    """
    wake = asyncio.Event()

    async def run() -> None:
        failing = False
        while True:
            wake.clear()
            try:
                await work()
                failing = False
            except StoreError as error:
                if not failing:
                    log.warning("%s waits for the store: %s", name, error)
                failing = True
            except Exception:  # the fault of one round must not end all rounds
                log.exception("%s: a round failed", name)
            try:
                async with asyncio.timeout(every):
                    await wake.wait()
            except TimeoutError:
                continue

    task = asyncio.create_task(run(), name=f"llmgate-{name}")
    try:
        yield wake.set
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def backoff(attempts: int, *, longest: float) -> float:
    """Seconds to wait after so many failed attempts: 1, 2, 4, ..., at most `longest`."""
    return float(min(longest, 2.0 ** min(attempts, 32)))
