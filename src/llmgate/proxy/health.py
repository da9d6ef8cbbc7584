"""Active health checks: one task per upstream asks each replica's health path, at intervals."""

from __future__ import annotations

import asyncio
import logging
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import httpx

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from types import TracebackType

    from .upstreams import Replica, Upstream

logger = logging.getLogger("llmgate.proxy")

JITTER = 0.1
"""Share of the interval by which rounds are spread, so that gates do not ask in step."""


@dataclass(frozen=True, slots=True)
class HealthSettings:
    """`path` is asked each `interval` seconds and has `timeout` seconds to answer 2xx.

    A replica is taken out after `fall` failures in a row and back in after `rise` successes in a row; until
    then it counts as healthy.
    """

    path: str = "/health"
    interval: float = 5.0
    timeout: float = 2.0
    rise: int = 2
    fall: int = 3


class HealthChecks:
    """`async with HealthChecks({upstream: settings}, http=client):` keeps `Replica.healthy` up to date."""

    def __init__(
        self,
        upstreams: Mapping[Upstream, HealthSettings],
        *,
        http: httpx.AsyncClient,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._upstreams = upstreams
        self._http = http
        self._sleep = sleep
        self._uniform = uniform
        self._streaks: dict[Replica, int] = {}
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._watch(*item)) for item in self._upstreams.items()]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _watch(self, upstream: Upstream, settings: HealthSettings) -> None:
        while True:
            await self.check(upstream)
            await self._sleep(settings.interval * self._uniform(1 - JITTER, 1 + JITTER))

    async def check(self, upstream: Upstream) -> None:
        """One round over the replicas of `upstream`."""
        settings = self._upstreams[upstream]
        await asyncio.gather(*(self._check(upstream, replica, settings) for replica in upstream.replicas))

    async def _check(self, upstream: Upstream, replica: Replica, settings: HealthSettings) -> None:
        good, found = await probe(upstream, replica, settings, http=self._http)
        self._note(upstream, replica, settings, good, found)

    def _note(
        self, upstream: Upstream, replica: Replica, settings: HealthSettings, good: bool, found: str
    ) -> None:
        """Count `good` or bad in a row: above zero successes, below zero failures."""
        streak = self._streaks.get(replica, 0)
        streak = max(streak, 0) + 1 if good else min(streak, 0) - 1
        self._streaks[replica] = streak
        if good != replica.healthy and (streak >= settings.rise or -streak >= settings.fall):
            replica.healthy = good
            level = logging.INFO if good else logging.WARNING
            state = "back in" if good else "taken out"
            logger.log(level, "upstream %s: %s is %s: %s", upstream.name, replica.origin.url, state, found)


async def probe(
    upstream: Upstream, replica: Replica, settings: HealthSettings, *, http: httpx.AsyncClient
) -> tuple[bool, str]:
    """Ask one replica, with the upstream's own key: whether it is well, and what it answered."""
    try:
        response = await http.get(
            replica.origin.url + settings.path,
            headers=upstream.own_headers(),
            timeout=settings.timeout,
            follow_redirects=False,
        )
    except httpx.HTTPError as error:
        return False, f"{type(error).__name__}: {error}"
    return response.is_success, f"status {response.status_code}"
