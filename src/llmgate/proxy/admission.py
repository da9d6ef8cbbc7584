"""Places at an engine: as many requests at once as it does well, and a short, fair queue for the rest.

    async with admission.place(tenant, weight=2, cost=900):   # waits for its turn, or raises `Unavailable`
        ...

Whoever leaves the queue, by its client or by its deadline, leaves no trace in it.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import Unavailable
from .fair_queue import FairQueue, QueueFull, Ticket

if TYPE_CHECKING:
    from asyncio import Future

SMOOTHING = 0.2
"""Weight of the newest gap between two ends of requests in the mean that the drain is told from."""
MAX_RETRY_AFTER_S = 120


@dataclass(frozen=True, slots=True)
class QueueSettings:
    """At most `max_waiting` requests wait, each for at most `timeout` seconds."""

    max_waiting: int = 200
    timeout: float = 30.0


class Drain:
    """How fast places come free: a moving mean of the seconds between two of them, while somebody waits."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._last: float | None = None
        self._gap: float | None = None

    def ended(self, *, waiting: bool) -> None:
        """A request ended; gaps count only between two ends at which somebody waited."""
        now = self._clock()
        if self._last is not None:
            gap = now - self._last
            self._gap = gap if self._gap is None else self._gap + SMOOTHING * (gap - self._gap)
        self._last = now if waiting else None

    def seconds(self, ahead: int) -> int | None:
        """In how many whole seconds so many requests will have got a place; None while that is not known."""
        if self._gap is None:
            return None
        return min(MAX_RETRY_AFTER_S, max(1, math.ceil(self._gap * ahead)))


class Admission:
    """The places of one upstream. `capacity` tells how many there are now: replicas come and go.

    `waited` is told the class and the seconds of each wait, served or not, for the metrics.
    """

    def __init__(
        self,
        name: str,
        capacity: Callable[[], int],
        *,
        settings: QueueSettings | None = None,
        waited: Callable[[int, float], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        timeout: Callable[[float], asyncio.Timeout] = asyncio.timeout,
    ) -> None:
        self.name = name
        self._capacity = capacity
        self._settings = settings or QueueSettings()
        self._queue: FairQueue[Future[None]] = FairQueue(max_waiting=self._settings.max_waiting)
        self._waited = waited
        self._clock = clock
        self._timeout = timeout
        self._drain = Drain(clock)
        self.in_flight = 0

    @property
    def waiting(self) -> int:
        """How many wait for a place."""
        return len(self._queue)

    @asynccontextmanager
    async def place(
        self, tenant: str, *, weight: float = 1.0, priority: int = 0, cost: int = 1
    ) -> AsyncIterator[None]:
        """Have a place for as long as the context lasts. Raises `Unavailable` (503) if none comes free in time."""
        await self.enter(tenant, weight=weight, priority=priority, cost=cost)
        try:
            yield
        finally:
            self.leave()

    async def enter(self, tenant: str, *, weight: float = 1.0, priority: int = 0, cost: int = 1) -> None:
        """Take a place, at once or in turn; `leave` gives it back. Raises `Unavailable`."""
        if not self._queue and self.in_flight < self._capacity():
            self.in_flight += 1
            return
        turn: Future[None] = asyncio.get_running_loop().create_future()
        try:
            ticket = self._queue.push(turn, tenant=tenant, weight=weight, priority=priority, cost=cost)
        except QueueFull:
            raise self._refusal("Too many requests wait for it.") from None
        began = self._clock()
        try:
            async with self._timeout(self._settings.timeout):
                await turn
        except TimeoutError:
            self._withdraw(ticket)
            raise self._refusal(f"No place came free within {self._settings.timeout:g} seconds.") from None
        except BaseException:
            self._withdraw(ticket)
            raise
        finally:
            if self._waited is not None:
                self._waited(priority, self._clock() - began)

    def leave(self) -> None:
        """Give a place back: whoever is next gets it."""
        self.in_flight -= 1
        self._drain.ended(waiting=bool(self._queue))
        self.admit()

    def admit(self) -> None:
        """Give the places that are free to those who wait; to be called when capacity has grown as well."""
        while self._queue and self.in_flight < self._capacity():
            ticket = self._queue.pop()
            assert ticket is not None
            if not ticket.item.done():  # else its client has just left
                self.in_flight += 1
                ticket.item.set_result(None)

    def _withdraw(self, ticket: Ticket[Future[None]]) -> None:
        """Its client left, or its time was up: it leaves the queue, or hands on the place that it had just got."""
        self._queue.discard(ticket)
        if ticket.item.done() and not ticket.item.cancelled():
            self.leave()

    def _refusal(self, why: str) -> Unavailable:
        seconds = self._drain.seconds(len(self._queue) + 1)
        headers = [] if seconds is None else [(b"retry-after", b"%d" % seconds)]
        return Unavailable(f'The upstream "{self.name}" is busy. {why} Try again later.', headers=headers)
