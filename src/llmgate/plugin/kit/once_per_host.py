"""What one process of a host does for all of them: it has a lock, and who waits for that takes over when it ends.

For the whole cluster, see `periodic`.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

log = logging.getLogger("llmgate")

RETRY_INTERVAL_S = 1.0


@asynccontextmanager
async def once_per_host(lock: Path, work: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """Do `work`, until it is cancelled, in one process at a time of all that name this `lock`."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    task = asyncio.create_task(_keep(lock, work), name=f"llmgate-{lock.name}")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _keep(lock: Path, work: Callable[[], Awaitable[None]]) -> None:
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        while not _locked(descriptor):  # noqa: ASYNC110 - another process has it
            await asyncio.sleep(RETRY_INTERVAL_S)
        while True:
            try:
                await work()
            except Exception:  # the fault of one round must not end all rounds
                log.exception("%s: a round failed", lock.name)
            await asyncio.sleep(RETRY_INTERVAL_S)
    finally:
        os.close(descriptor)  # which gives the lock to another


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
