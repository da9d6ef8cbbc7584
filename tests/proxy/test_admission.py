"""Places at an engine, and the queue for them; the loop's own time, no waiting for real."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import statistics
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from llmgate.backends.endpoint import Endpoint
from llmgate.backends.request import parse_request
from llmgate.errors import Unavailable
from llmgate.exchange import Exchange, Principal
from llmgate.permissions import Permissions
from llmgate.proxy.admission import NOBODY, Admission, Admissions, QueueSettings, Share

NEVER = 3600.0


class Observed:
    """Keeps what the metrics would be told."""

    def __init__(self) -> None:
        self.waits: list[tuple[int, float]] = []
        self.turned_away_for: list[str] = []

    def waited(self, upstream: str, priority: int, seconds: float) -> None:
        self.waits.append((priority, seconds))

    def turned_away(self, upstream: str, priority: int, reason: str) -> None:
        self.turned_away_for.append(reason)


class OneEngine(Admission):
    """Says `enter("a")` where others make a share of an exchange."""

    async def enter(self, share: Share | str) -> None:
        await super().enter(Share(share) if isinstance(share, str) else share)

    @asynccontextmanager
    async def place(self, share: Share | str) -> AsyncIterator[None]:
        await self.enter(share)
        try:
            yield
        finally:
            self.leave()


def admission(places: int = 1, observer: Observed | None = None, **settings: float) -> OneEngine:
    queue = QueueSettings(
        max_in_flight=places,
        max_waiting=int(settings.get("max_waiting", 10)),
        timeout=settings.get("timeout", NEVER),
    )
    return OneEngine("engine", settings=queue, observer=observer)


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
    """A place that has come while nobody looked goes to whoever is next, not to the one who finds it."""
    replicas = [1]
    engine = OneEngine("engine", lambda: replicas[0], settings=QueueSettings(1))
    await engine.enter("a")
    first = asyncio.create_task(engine.enter("b"))
    await settle()
    replicas[0] = 2
    second = asyncio.create_task(engine.enter("c"))
    await settle()
    assert (first.done(), second.done()) == (True, False)
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
    engine = OneEngine("engine", settings=QueueSettings(1, max_waiting=1), clock=lambda: next(now))
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
        self.admission = OneEngine(
            "engine", settings=QueueSettings(places, 1_000, NEVER), clock=lambda: self.now
        )
        self._events: list[tuple[float, int, asyncio.Future[None]]] = []
        self._number = itertools.count()

    async def until(self, moment: float) -> None:
        reached = asyncio.get_running_loop().create_future()
        heapq.heappush(self._events, (moment, next(self._number), reached))
        await reached

    async def request(self, tenant: str, at: float, seconds: float, waits: list[float]) -> None:
        await self.until(at)
        async with self.admission.place(Share(tenant, cost=100)):
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


async def test_a_full_queue_takes_another_tenant_in_place_of_the_latest_of_the_longest_line() -> None:
    """Who floods keeps nobody out: it is told to come back, and the other one waits like everybody."""
    observed = Observed()
    engine = admission(max_waiting=3, observer=observed)
    await engine.enter("flood")
    flood = [asyncio.create_task(engine.enter("flood")) for _ in range(3)]
    await settle()
    single = asyncio.create_task(engine.enter("single"))
    await settle()
    assert (engine.waiting, [task.done() for task in flood]) == (3, [False, False, True])
    with pytest.raises(Unavailable, match="of yours") as refused:
        await flood[-1]
    assert (refused.value.answer_status, refused.value.answer_code) == (503, "upstream_busy")
    assert observed.turned_away_for == ["full"]
    for task in (*flood, single):
        task.cancel()
    await asyncio.gather(*flood, single, return_exceptions=True)
    engine.leave()
    assert (engine.in_flight, engine.waiting) == (0, 0)


async def test_the_tenant_with_the_longest_line_is_refused_itself() -> None:
    engine = admission(max_waiting=1)
    await engine.enter("flood")
    waiting = asyncio.create_task(engine.enter("flood"))
    await settle()
    with pytest.raises(Unavailable, match="Too many"):
        await engine.enter("flood")
    waiting.cancel()


async def test_retry_after_is_the_tenants_own_share_of_the_drain() -> None:
    """A place comes free every two seconds: who has 8 before it is told to come later than who has none."""
    now = [0.0]
    engine = OneEngine(
        "engine", settings=QueueSettings(1, max_waiting=9, timeout=NEVER), clock=lambda: now[0]
    )
    await engine.enter("flood")
    flood = [asyncio.create_task(engine.enter("flood")) for _ in range(9)]
    single = asyncio.create_task(engine.enter("single"))
    for _ in range(2):
        await settle()
        now[0] += 2.0
        engine.leave()
    await settle()
    told = [
        int(dict(engine._refusal("", Share(tenant)).headers)[b"retry-after"])
        for tenant in ("single", "flood")
    ]
    assert told[0] < told[1] <= 2 * 10
    for task in (*flood, single):
        task.cancel()
    await asyncio.gather(*flood, single, return_exceptions=True)


async def test_waits_are_told_by_class_and_those_who_got_none_by_reason() -> None:
    observed = Observed()
    engine = admission(timeout=0.0, observer=observed)
    await engine.enter(Share("a", priority=3))
    with pytest.raises(Unavailable):
        await engine.enter("b")
    assert (observed.waits, observed.turned_away_for) == ([(3, 0.0)], ["timeout"])


async def test_a_reload_lets_in_who_fits_now_and_takes_nobody_out() -> None:
    engine = admission(max_waiting=5)
    await engine.enter("a")
    waiting = [asyncio.create_task(engine.enter("b")) for _ in range(4)]
    await settle()
    engine.change(QueueSettings(2, max_waiting=1), lambda: 1)
    await settle()
    assert (engine.in_flight, engine.waiting) == (2, 3)
    engine.change(QueueSettings(None), lambda: 1)
    await asyncio.gather(*waiting)
    assert (engine.in_flight, engine.waiting) == (5, 0)


async def test_where_no_replica_serves_one_is_tried_that_says_so() -> None:
    """Else everybody would wait for an engine that is not coming back, each until the deadline."""
    replicas = [1]
    engine = OneEngine("engine", lambda: replicas[0], settings=QueueSettings(1))
    await engine.enter("a")
    replicas[0] = 0
    waiting = [asyncio.create_task(engine.enter("b")) for _ in range(3)]
    for number, task in enumerate(waiting):
        await settle()
        assert [each.done() for each in waiting] == [True] * number + [False] * (3 - number)
        engine.leave()
        await task


def exchange(principal: Principal | None = None, **fields: object) -> Exchange:
    body = b'{"model":"m","max_tokens":%d,"messages":[]}' % fields.get("max_tokens", 100)
    made = Exchange(id="1", started=0.0, principal=principal)
    made.model_request = parse_request(Endpoint.CHAT, body)
    return made


OF_BOTH = Principal(
    1,
    "ada",
    key_id=17,
    organization_id=3,
    key_may=Permissions(weight=2.0),
    organization_may=Permissions(weight=5.0, priority=4),
)


@pytest.mark.parametrize(
    ("principal", "settings", "expected"),
    [
        pytest.param(None, QueueSettings(1), Share(NOBODY, 1.0, 0), id="nobody"),
        pytest.param(
            OF_BOTH, QueueSettings(1), Share("key:17", 2.0, 4), id="a key, its organization's class"
        ),
        pytest.param(
            OF_BOTH,
            QueueSettings(1, per="organization"),
            Share("organization:3", 5.0, 4),
            id="an organization",
        ),
        pytest.param(
            OF_BOTH,
            QueueSettings(1, weights={"key:17": 9.0}),
            Share("key:17", 9.0, 4),
            id="gate.toml's weight",
        ),
        pytest.param(Principal(5, "bob"), QueueSettings(1), Share("user:5", 1.0, 0), id="a session"),
    ],
)
def test_whose_share_a_request_takes(
    principal: Principal | None, settings: QueueSettings, expected: Share
) -> None:
    share = Admission("engine", settings=settings).share_of(exchange(principal))
    assert (share.tenant, share.weight, share.priority) == (
        expected.tenant,
        expected.weight,
        expected.priority,
    )


def test_work_is_the_prompt_and_what_the_answer_may_have() -> None:
    few, many, endless = (
        Admission("engine").share_of(exchange(max_tokens=tokens)).cost for tokens in (10, 1_000, 2**31)
    )
    assert few < many < endless < 5_000


def test_a_process_has_one_admission_for_an_upstream() -> None:
    admissions = Admissions()
    assert admissions.get("a", QueueSettings()) is None
    first = admissions.get("a", QueueSettings(4))
    assert first is not None
    assert admissions.get("a", QueueSettings()) is first
