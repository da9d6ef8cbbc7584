"""Active health checks: one task per upstream asks each replica's health path, at intervals.

What they find is kept in the replica and outlives them (see `replica.Replicas`). Of two that check the same
replica, as in the gates before and after a reload, the later one does it.
"""

from __future__ import annotations

import asyncio
import logging
import random
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, Self

from ..background import repeat, running
from .engines.base import FirstByteTimedOut, IdleTimedOut, UpstreamError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from types import TracebackType

    from .replica import Replica
    from .upstreams import Upstream

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
    """`async with HealthChecks({upstream: settings}):` keeps `Replica.healthy` up to date."""

    def __init__(
        self,
        upstreams: Mapping[Upstream, HealthSettings],
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._upstreams = upstreams
        self._sleep = sleep
        self._uniform = uniform
        self._running = AsyncExitStack()

    async def __aenter__(self) -> Self:
        for upstream in self._upstreams:
            for replica in upstream.replicas:
                replica.checked_by = self
        watching = (self._watch(*item) for item in self._upstreams.items())
        await self._running.enter_async_context(running(*watching, name="llmgate-health"))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._running.aclose()

    async def _watch(self, upstream: Upstream, settings: HealthSettings) -> None:
        def pause() -> float:
            return settings.interval * self._uniform(1 - JITTER, 1 + JITTER)

        await repeat(partial(self.check, upstream), pause, at_once=True, sleep=self._sleep)

    async def check(self, upstream: Upstream) -> None:
        """One round over the replicas of `upstream`."""
        settings = self._upstreams[upstream]
        await asyncio.gather(*(self._check(upstream, replica, settings) for replica in upstream.replicas))
        upstream.came_back()

    async def _check(self, upstream: Upstream, replica: Replica, settings: HealthSettings) -> None:
        if replica.checked_by not in (self, None):
            return
        found = await probe(upstream, replica, settings)
        if replica.checked_by in (self, None):
            self._note(upstream, replica, settings, found)

    def _note(self, upstream: Upstream, replica: Replica, settings: HealthSettings, found: Probed) -> None:
        """Count good or bad in a row; enough of them take the replica out, or bring it back."""
        streak = replica.streak
        replica.streak = streak = max(streak, 0) + 1 if found.good else min(streak, 0) - 1
        name, url = upstream.name, replica.origin.url
        if found.good:
            replica.breaker.health_check_passed()
            if not replica.healthy and streak >= settings.rise:
                replica.bring_back()
                logger.info("upstream %s: %s is back in: %s", name, url, found.message)
        elif -streak >= settings.fall:
            if replica.healthy:
                replica.take_out(late=found.late)
                left = any(other.healthy for other in upstream.replicas)
                then = "" if left else "; no other is left, so it is asked all the same"
                logger.warning("upstream %s: %s is taken out: %s%s", name, url, found.message, then)
            else:
                replica.late = found.late


class Probed(NamedTuple):
    """What a health check has found. `late`: the replica took the connection, and then time ran out."""

    good: bool
    late: bool
    message: str


async def probe(upstream: Upstream, replica: Replica, settings: HealthSettings) -> Probed:
    """Ask one replica, with the upstream's own key: whether it is well, and what it answered."""
    try:
        answer = await upstream.ask(replica, settings.path, timeout=settings.timeout)
    except UpstreamError as error:
        late = isinstance(error, (FirstByteTimedOut, IdleTimedOut))
        return Probed(False, late, f"no answer in {settings.timeout:g} s" if late else _told(error))
    return Probed(answer.is_success, False, f"status {answer.status}")


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
