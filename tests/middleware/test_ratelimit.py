"""How much, how fast, and what is said about it."""

import asyncio

import pytest
from limits.aio.storage import MemoryStorage
from playbook import Answers, Told, play
from starlette.types import Receive, Scope, Send
from stores import Clock

from llmgate.errors import RateLimited
from llmgate.exchange import Exchange, Principal
from llmgate.middleware import RateLimit
from llmgate.ratelimit.limit import Limit
from llmgate.ratelimit.memory import LocalSlots
from llmgate.ratelimit.memory import MemoryStorage as OwnStorage
from llmgate.usage.model import Certainty, Reading, Usage

ANN = Principal(1, "ann", key_id=7, organization_id=3)
ANNS_OTHER_KEY = Principal(1, "ann", key_id=8)
ANNS_SESSION = Principal(1, "ann", session_id="s")
BOB = Principal(2, "bob", key_id=9, organization_id=3)
HEADERS = ("x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset", "retry-after")


@pytest.fixture
def clock() -> Clock:
    return Clock(1000.0)


def limiter(*limits: Limit, clock: Clock, app: object = None, **settings: object) -> RateLimit:
    settings.setdefault("storage", OwnStorage(timer=clock))
    return RateLimit(app or Answers(), limits=limits, clock=clock, **settings)


async def model_request(
    app: RateLimit, principal: Principal | None = ANN, *, route: str = "chat", ip: str = "192.0.2.1"
) -> Told:
    return await play(app, llmgate=Exchange("1", 0.0, route=route, principal=principal), client=(ip, 1))


def said(told: Told) -> tuple[str | None, ...]:
    return (str(told.status), *map(told.header, HEADERS))


async def test_every_answer_tells_where_the_limit_stands(clock: Clock) -> None:
    app = limiter(Limit("key", "requests", 2, 60), clock=clock)
    assert said(await model_request(app)) == ("200", "2", "1", "1060", None)
    clock.pass_by(10)
    assert said(await model_request(app)) == ("200", "2", "0", "1060", None)
    assert said(await model_request(app)) == ("429", "2", "0", "1060", "50")


async def test_a_refusal_says_what_when_and_how_long(clock: Clock) -> None:
    inner = Answers()
    app = limiter(Limit("key", "requests", 1, 60), clock=clock, app=inner)
    await model_request(app)
    told = await model_request(app)
    assert told.error["message"] == "Rate limit reached: 1 requests in 60 s for this key. Try again in 60 s."
    assert (told.error["type"], told.error["code"]) == ("rate_limit_error", "rate_limit_exceeded")
    assert told.scope["llmgate"].refused == "rate_limit"
    assert len(inner.scopes) == 1


async def test_a_window_that_is_over_begins_anew(clock: Clock) -> None:
    app = limiter(Limit("key", "requests", 1, 60), clock=clock)
    await model_request(app)
    clock.pass_by(60)
    assert said(await model_request(app)) == ("200", "1", "0", "1120", None)


async def test_retry_after_is_at_least_a_second(clock: Clock) -> None:
    app = limiter(Limit("key", "requests", 1, 60), clock=clock)
    await model_request(app)
    clock.pass_by(59.999)
    assert (await model_request(app)).header("retry-after") == "1"


async def test_a_moving_window_lets_no_burst_through_at_its_seam(clock: Clock) -> None:
    app = limiter(Limit("key", "requests", 2, 60, moving=True), clock=clock)
    await model_request(app)
    clock.pass_by(50)
    assert said(await model_request(app)) == ("200", "2", "0", "1060", None)
    clock.pass_by(5)
    assert said(await model_request(app)) == ("429", "2", "0", "1060", "5")
    clock.pass_by(5.5)
    assert (await model_request(app)).status == 200
    assert (await model_request(app)).status == 429


@pytest.mark.parametrize(
    ("per", "together", "apart"),
    [
        ("key", (ANN, ANN), (ANN, ANNS_OTHER_KEY)),
        ("user", (ANN, ANNS_OTHER_KEY), (ANN, BOB)),
        ("organization", (ANN, BOB), None),
    ],
)
async def test_who_shares_a_count(
    per: str, together: tuple[Principal, Principal], apart: tuple[Principal, Principal] | None, clock: Clock
) -> None:
    for pair, second in ((together, 429), (apart, 200)):
        app = limiter(Limit(per, "requests", 1), clock=clock)
        if pair:
            assert (await model_request(app, pair[0])).status == 200
            assert (await model_request(app, pair[1])).status == second


async def test_addresses_routes_and_the_gate_as_a_whole_can_be_limited(clock: Clock) -> None:
    by_ip = limiter(Limit("ip", "requests", 1), clock=clock)
    assert [(await model_request(by_ip, ip=ip)).status for ip in ("192.0.2.1", "192.0.2.2", "192.0.2.1")] == [
        200,
        200,
        429,
    ]
    by_route = limiter(Limit("route", "requests", 1), clock=clock)
    assert [(await model_request(by_route, route=route)).status for route in ("a", "b", "a")] == [
        200,
        200,
        429,
    ]
    whole = limiter(Limit("gate", "requests", 1), clock=clock)
    assert [(await model_request(whole, BOB, route=route)).status for route in ("a", "b")] == [200, 429]


@pytest.mark.parametrize(
    ("per", "principal"), [("key", ANNS_SESSION), ("organization", ANNS_SESSION), ("user", None)]
)
async def test_a_limit_passes_over_requests_that_have_none_of_its_kind(
    per: str, principal: Principal | None, clock: Clock
) -> None:
    app = limiter(Limit(per, "requests", 1), clock=clock)
    assert [said(await model_request(app, principal)) for _ in range(2)] == [
        ("200", None, None, None, None)
    ] * 2


async def test_the_tightest_of_several_limits_is_told(clock: Clock) -> None:
    app = limiter(Limit("key", "requests", 5), Limit("user", "requests", 3, 3600), clock=clock)
    assert said(await model_request(app)) == ("200", "3", "2", "4600", None)


async def test_limits_of_different_names_are_counted_apart(clock: Clock) -> None:
    storage, slots = OwnStorage(timer=clock), LocalSlots()
    one = limiter(Limit("key", "requests", 1, name="a"), clock=clock, storage=storage, slots=slots)
    two = limiter(Limit("key", "requests", 1, name="b"), clock=clock, storage=storage, slots=slots)
    assert [(await model_request(app)).status for app in (one, two, one)] == [200, 200, 429]


async def test_a_key_may_have_a_limit_of_its_own(clock: Clock) -> None:
    """Beside those of everybody, and only where keys' own limits are to hold."""
    fast, slow = Principal(1, "ann", key_id=7, requests_per_minute=2), Principal(1, "ann", key_id=8)
    app = limiter(Limit("key", "requests", 3, 60), clock=clock, of_keys=True)
    assert [(await model_request(app, fast)).status for _ in range(3)] == [200, 200, 429]
    assert [(await model_request(app, slow)).status for _ in range(4)] == [200, 200, 200, 429]
    clock.pass_by(60)
    assert said(await model_request(app, fast)) == ("200", "2", "1", "1120", None)
    elsewhere = limiter(clock=clock)
    assert [(await model_request(elsewhere, fast)).status for _ in range(3)] == [200, 200, 200]


async def test_a_customers_addresses_of_ipv6_are_one(clock: Clock) -> None:
    """Who has one has a network of them; an IPv4 client of a socket for both families is one of IPv4."""
    app = limiter(Limit("ip", "requests", 1), clock=clock)
    asked = [
        "2001:db8::1",
        "2001:db8::ffff:2",
        "2001:db8:0:1::1",
        "::ffff:192.0.2.1",
        "192.0.2.1",
        "192.0.2.2",
    ]
    assert [(await model_request(app, ip=ip)).status for ip in asked] == [200, 429, 200, 200, 429, 200]
    each = limiter(Limit("ip", "requests", 1), clock=clock, ipv6_prefix=128)
    assert [(await model_request(each, ip=ip)).status for ip in asked[:2]] == [200, 200]


@pytest.mark.parametrize("moving", [False, True])
async def test_a_clock_that_is_set_back_locks_nobody_out(moving: bool) -> None:
    """Windows are measured by a timer; the wall's clock is for telling when."""
    timer, wall = Clock(5.0), Clock(10_000.0)
    app = limiter(Limit("key", "requests", 1, 60, moving=moving), clock=wall, storage=OwnStorage(timer=timer))
    await model_request(app)
    wall.now -= 3600
    assert (await model_request(app)).header("retry-after") == "60"
    timer.pass_by(60.001)
    assert (await model_request(app)).status == 200


class Uses:
    """An app whose requests use `tokens`."""

    def __init__(self, tokens: int) -> None:
        self.tokens = tokens

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await Answers()(scope, receive, send)
        scope["llmgate"].reading = Reading(Usage(self.tokens, 0), Certainty.EXACT)


async def test_tokens_close_a_window_once_they_are_used_up(clock: Clock) -> None:
    app = limiter(Limit("key", "tokens", 100), clock=clock, app=Uses(60))
    assert said(await model_request(app)) == ("200", "100", "100", "1000", None)
    assert said(await model_request(app)) == ("200", "100", "40", "1060", None)
    assert said(await model_request(app)) == ("429", "100", "0", "1060", "60")
    clock.pass_by(60)
    assert (await model_request(app)).status == 200


def test_tokens_in_a_moving_window_are_a_mistake_of_the_operator(clock: Clock) -> None:
    with pytest.raises(ValueError, match="moving"):
        limiter(Limit("key", "tokens", 1, moving=True), clock=clock)


class Waits:
    """An app that answers when it is told to."""

    def __init__(self) -> None:
        self.entered, self.go_on = asyncio.Event(), asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.entered.set()
        await self.go_on.wait()
        await Answers()(scope, receive, send)


async def test_only_so_many_run_at_once(clock: Clock) -> None:
    inner, slots = Waits(), LocalSlots()
    app = limiter(Limit("key", "concurrent", 1), clock=clock, app=inner, slots=slots)
    first = asyncio.create_task(model_request(app))
    await inner.entered.wait()
    told = await model_request(app)
    assert (told.status, told.header("retry-after")) == (429, "1")
    assert told.error["message"] == "Too many requests at once: this key may run 1."
    inner.go_on.set()
    assert ((await first).status, slots.taken) == (200, 0)


@pytest.mark.parametrize("how", ["raises", "cancelled"])
async def test_a_slot_comes_back_however_the_request_ends(how: str, clock: Clock) -> None:
    inner, slots = Waits(), LocalSlots()
    if how == "raises":
        inner.go_on.wait = inner.entered.wait = failing  # type: ignore[method-assign]
    app = limiter(Limit("key", "concurrent", 1), clock=clock, app=inner, slots=slots)
    task = asyncio.create_task(model_request(app))
    if how == "cancelled":
        await inner.entered.wait()
        task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert slots.taken == 0


async def failing() -> bool:
    raise RuntimeError("bug")


async def test_slots_taken_before_the_limit_that_refuses_come_back(clock: Clock) -> None:
    slots = LocalSlots()
    await slots.acquire(":user:1:1", 1)
    app = limiter(Limit("key", "concurrent", 5), Limit("user", "concurrent", 1), clock=clock, slots=slots)
    assert (await model_request(app)).status == 429
    assert slots.taken == 1


class Broken(MemoryStorage):
    """A storage that has gone away."""

    async def get(self, key: str) -> int:
        raise ValueError("gone")


async def test_a_storage_that_is_away_refuses_unless_told_otherwise(clock: Clock) -> None:
    limit = Limit("key", "requests", 1)
    refused = await model_request(limiter(limit, clock=clock, storage=Broken()))
    assert (refused.status, refused.error["code"]) == (503, "unavailable")
    assert (await model_request(limiter(limit, clock=clock, storage=Broken(), fail_open=True))).status == 200


async def test_a_storage_that_goes_away_does_not_spoil_a_finished_answer(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    class Goes(Broken):
        async def get(self, key: str) -> int:
            return 0

        async def incr(self, key: str, expiry: float, amount: int = 1) -> int:
            raise ValueError("gone")

    told = await model_request(limiter(Limit("key", "tokens", 9), clock=clock, storage=Goes(), app=Uses(5)))
    assert told.finished
    assert "do not count" in caplog.text


async def test_a_request_counts_once_on_a_limit_that_several_layers_have(clock: Clock) -> None:
    """As where a surface sends what it was asked into a route: what is for everybody stands around both."""
    storage, slots = OwnStorage(timer=clock), LocalSlots()
    shared = Limit("key", "requests", 5, 60), Limit("key", "tokens", 100, 60), Limit("key", "concurrent", 1)
    own = Limit("key", "requests", 2, 60, name="route")
    kept = {"clock": clock, "storage": storage, "slots": slots, "of_keys": True}
    route = limiter(*shared, own, app=Uses(10), **kept)
    surface = limiter(*shared, app=route, **kept)
    ann = Principal(1, "ann", key_id=7, requests_per_minute=4)
    assert [(await model_request(surface, ann)).status for _ in range(3)] == [200, 200, 429]
    requests, tokens = (limiter(limit, clock=clock, storage=storage) for limit in shared[:2])
    assert (await model_request(requests)).header("x-ratelimit-remaining") == "1"
    assert (await model_request(tokens)).header("x-ratelimit-remaining") == "80"


async def test_a_request_under_way_may_be_counted_on_more_limits(clock: Clock) -> None:
    """By what its handler has found out, with the slots given back at once; not where it was counted before."""
    storage = OwnStorage(timer=clock)
    both, rare = Limit("gate", "requests", 10), Limit("gate", "requests", 2, name="rare")
    more = limiter(both, rare, Limit("gate", "concurrent", 1), clock=clock, storage=storage)

    async def finds_out(scope: Scope, receive: Receive, send: Send) -> None:
        await more.count(scope)
        await Answers()(scope, receive, send)

    app = limiter(both, clock=clock, storage=storage, app=finds_out)
    remaining = [(await model_request(app)).header("x-ratelimit-remaining") for _ in range(2)]
    assert remaining == ["9", "8"]
    with pytest.raises(RateLimited, match="2 requests in 60 s"):
        await model_request(app)
