"""Places at an engine, and the queue for them; the loop's own time, no waiting for real."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import statistics
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from llmgate.errors import Unavailable
from llmgate.proxy.admission import Admission, QueueSettings

NEVER = 3600.0


def admission(places: int = 1, **settings: float) -> Admission:
    queue = QueueSettings(
        max_waiting=int(settings.get("max_waiting", 10)), timeout=settings.get("timeout", NEVER)
    )
    return Admission("engine", lambda: places, settings=queue)


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_who_finds_a_place_does_not_wait() -> None:
    engine = admission(places=2)
    async with engine.place("a"), engine.place("b"):
        assert (engine.in_flight, engine.waiting) == (2, 0)
    assert engine.in_flight == 0


async def test_the_next_one_gets_the_place_that_comes_free() -> None:
    engine = admission()
    await engine.enter("a")
    waiting = asyncio.create_task(engine.enter("b"))
    await settle()
    assert (waiting.done(), engine.waiting) == (False, 1)
    engine.leave()
    await waiting
    assert (engine.in_flight, engine.waiting) == (1, 0)


async def test_nobody_overtakes_those_who_wait() -> None:
    """A place that is free while somebody waits belongs to the queue: capacity that grew is given out by `admit`."""
    places = [1]
    engine = Admission("engine", lambda: places[0])
    await engine.enter("a")
    first = asyncio.create_task(engine.enter("b"))
    await settle()
    places[0] = 2
    second = asyncio.create_task(engine.enter("c"))
    await settle()
    assert not second.done()
    engine.admit()
    await first
    assert (engine.in_flight, engine.waiting) == (2, 1)
    second.cancel()


async def test_a_caller_who_leaves_the_queue_leaves_no_trace() -> None:
    engine = admission()
    await engine.enter("a")
    leaving = asyncio.create_task(engine.enter("b"))
    await settle()
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    assert engine.waiting == 0
    engine.leave()
    assert engine.in_flight == 0


async def test_one_who_leaves_in_the_moment_it_is_served_hands_the_place_on() -> None:
    engine = admission()
    await engine.enter("a")
    leaving = asyncio.create_task(engine.enter("b"))
    patient = asyncio.create_task(engine.enter("c"))
    await settle()
    engine.leave()  # b has the place, and has not run yet
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    await patient
    assert (engine.in_flight, engine.waiting) == (1, 0)


async def test_one_who_left_just_before_a_place_came_free_is_passed_over() -> None:
    engine = admission()
    await engine.enter("a")
    leaving = asyncio.create_task(engine.enter("b"))
    patient = asyncio.create_task(engine.enter("c"))
    await settle()
    leaving.cancel()
    engine.leave()  # b is cancelled, and has not run yet
    await patient
    await asyncio.gather(leaving, return_exceptions=True)
    assert (engine.in_flight, engine.waiting) == (1, 0)


async def test_a_full_queue_is_a_503_that_says_when_to_come_back() -> None:
    now = itertools.count(0.0, 2.0)  # every look at the clock is two seconds later
    engine = Admission("engine", lambda: 1, settings=QueueSettings(max_waiting=1), clock=lambda: next(now))
    await engine.enter("a")
    waiting = [asyncio.create_task(engine.enter("b"))]
    await settle()
    for tenant in "cd":
        engine.leave()
        await settle()
        waiting.append(asyncio.create_task(engine.enter(tenant)))
        await settle()
    with pytest.raises(Unavailable) as refused:
        await engine.enter("e")
    assert refused.value.answer_status == 503
    (header,) = refused.value.headers
    assert header[0] == b"retry-after"
    assert int(header[1]) >= 1
    for task in waiting:
        task.cancel()


async def test_who_waits_too_long_is_refused_and_out_of_the_queue() -> None:
    engine = admission(timeout=0.0)
    await engine.enter("a")
    with pytest.raises(Unavailable, match="within 0 seconds"):
        await engine.enter("b")
    assert engine.waiting == 0


class Engine:
    """An engine in simulated time: `places` requests at once, each taking as many seconds as it is told."""

    def __init__(self, places: int) -> None:
        self.now = 0.0
        self.admission = Admission(
            "engine", lambda: places, settings=QueueSettings(1_000, NEVER), clock=lambda: self.now
        )
        self._events: list[tuple[float, int, asyncio.Future[None]]] = []
        self._number = itertools.count()

    async def until(self, moment: float) -> None:
        reached = asyncio.get_running_loop().create_future()
        heapq.heappush(self._events, (moment, next(self._number), reached))
        await reached

    async def request(self, tenant: str, at: float, seconds: float, waits: list[float]) -> None:
        await self.until(at)
        async with self.admission.place(tenant, cost=100):
            waits.append(self.now - at)
            await self.until(self.now + seconds)

    async def run(self) -> None:
        while True:
            await settle()
            if not self._events:
                return
            self.now, _, reached = heapq.heappop(self._events)
            reached.set_result(None)


@asynccontextmanager
async def simulated(places: int) -> AsyncIterator[tuple[Engine, asyncio.TaskGroup]]:
    engine = Engine(places)
    async with asyncio.TaskGroup() as tasks:
        yield engine, tasks
        await engine.run()


async def test_beside_a_flood_of_200_requests_one_a_second_waits_no_longer_than_twice_an_answer() -> None:
    """Alone it waits for nobody; beside the flood for the place that comes free next, whatever is queued."""
    steady: list[float] = []
    flood: list[float] = []
    async with simulated(places=4) as (engine, tasks):
        for _ in range(200):
            tasks.create_task(engine.request("flood", 0.0, 2.0, flood))
        for second in range(60):
            tasks.create_task(engine.request("steady", float(second), 2.0, steady))
    assert (len(flood), len(steady)) == (200, 60)
    assert statistics.quantiles(steady, n=20)[-1] <= 2.0
    assert max(flood) > 60
