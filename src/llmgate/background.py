"""Work beside the requests: started with a block, done again and again, and ended with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import Any, NoReturn, TypeVar

T = TypeVar("T")

Sleep = Callable[[float], Awaitable[object]]
Failed = Callable[[Exception], object]


@asynccontextmanager
async def running(*work: Coroutine[Any, Any, object], name: str | None = None) -> AsyncIterator[None]:
    """Run each of `work` in a task of its own until the block is left; then they are cancelled and waited for."""
    tasks = [asyncio.create_task(each, name=name) for each in work]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def repeat(
    work: Callable[[], Awaitable[T]],
    interval: float | Callable[[], float],
    *,
    at_once: bool = False,
    failed: Mapping[type[Exception], Failed] | None = None,
    sleep: Sleep = asyncio.sleep,
) -> NoReturn:
    """Do `work` every `interval` seconds until cancelled: `at_once` as well, or only after the first pause.

    `interval` may be asked before each pause. An error of a type in `failed` is told there, and the work goes on; any
    other ends it. `sleep` is the clock.
    """
    if not at_once:
        await sleep(interval() if callable(interval) else interval)
    while True:
        try:
            await work()
        except Exception as error:
            told = next((tell for kind, tell in (failed or {}).items() if isinstance(error, kind)), None)
            if told is None:
                raise
            told(error)
        await sleep(interval() if callable(interval) else interval)
