"""Choice of replica, circuit breaker, failover, and what a caller is told when nothing answers."""

import asyncio

import pytest

from llmgate.errors import ConfigError, UpstreamFailed
from llmgate.proxy.engines.base import (
    ConnectFailed,
    ConnectTimedOut,
    FirstByteTimedOut,
    Origin,
    Timeouts,
    UpstreamBroke,
    UpstreamRequest,
)
from llmgate.proxy.upstreams import Breaker, BreakerSettings, Lease, Upstream

REQUEST = UpstreamRequest("POST", b"/v1/x", [], b"{}")
NEVER_SENT = [ConnectFailed("refused"), ConnectTimedOut("slow"), UpstreamBroke("closed", sent=False)]
MAYBE_SENT = [FirstByteTimedOut("silent"), UpstreamBroke("reset")]


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Answer:
    ended = True
    headers = ()

    def __init__(self, status: int) -> None:
        self.status = status
        self.aborted = 0

    def abort(self) -> None:
        self.aborted += 1


class Engine:
    """Answers by host: an exception is raised, a number is a status."""

    def __init__(self, **hosts: Exception | int) -> None:
        self.hosts = hosts
        self.asked: list[str] = []

    async def send(self, origin: Origin, request: UpstreamRequest, timeouts: Timeouts) -> Answer:
        self.asked.append(origin.host)
        end = self.hosts.get(origin.host, 200)
        if isinstance(end, BaseException):
            raise end
        return Answer(end)


def upstream(engine: Engine, hosts: str = "ab", **how: object) -> Upstream:
    return Upstream("vllm", [f"http://{host}:8000" for host in hosts], engine=engine, **how)


async def asked(engine: Engine, vllm: Upstream, count: int) -> list[str]:
    """Which hosts were asked for so many requests, one after the other."""
    for _ in range(count):
        (await vllm.send(REQUEST)).close()
    return engine.asked


async def test_least_busy_replica_is_chosen() -> None:
    engine = Engine()
    vllm = upstream(engine, "abc")
    leases = [await vllm.send(REQUEST) for _ in range(3)]
    assert sorted(engine.asked) == ["a", "b", "c"]
    assert [state.in_flight for state in vllm.state()] == [1, 1, 1]
    free = engine.asked[1]
    leases[1].close()
    await vllm.send(REQUEST)
    assert engine.asked[-1] == free


async def test_equally_busy_replicas_take_turns() -> None:
    engine = Engine()
    hosts = await asked(engine, upstream(engine, "abc"), 6)
    assert sorted(hosts[:3]) == ["a", "b", "c"]
    assert hosts[:3] == hosts[3:]


async def test_closing_a_lease_twice_counts_once() -> None:
    vllm = upstream(Engine(), "a")
    lease = await vllm.send(REQUEST)
    lease.close()
    lease.close()
    assert vllm.state()[0].in_flight == 0
    assert lease.response.aborted == 1


@pytest.mark.parametrize("error", NEVER_SENT, ids=lambda error: type(error).__name__)
async def test_request_that_was_not_sent_goes_to_the_next_replica(error: Exception) -> None:
    engine = Engine(a=error)
    vllm = upstream(engine)
    for _ in range(4):
        assert (await vllm.send(REQUEST)).response.status == 200
    assert {"a", "b"} == set(engine.asked)
    assert [state.in_flight for state in vllm.state()] == [0, 4]


@pytest.mark.parametrize("error", MAYBE_SENT, ids=lambda error: type(error).__name__)
async def test_request_that_may_have_been_sent_goes_nowhere_else(error: Exception) -> None:
    engine = Engine(a=error, b=error)
    with pytest.raises(UpstreamFailed):
        await upstream(engine).send(REQUEST)
    assert len(engine.asked) == 1


@pytest.mark.parametrize(
    ("error", "status"),
    [*zip(NEVER_SENT, (502, 504, 502), strict=True), *zip(MAYBE_SENT, (504, 502), strict=True)],
    ids=lambda value: type(value).__name__,
)
async def test_caller_is_told_whether_it_was_slow_or_broken(error: Exception, status: int) -> None:
    """And not where the upstream lives."""
    with pytest.raises(UpstreamFailed) as caught:
        await upstream(Engine(a=error, b=error)).send(REQUEST)
    assert caught.value.answer_status == status
    assert "vllm" in caught.value.message
    assert str(error) not in caught.value.message


async def test_no_replica_available_is_503_with_the_time_to_come_back() -> None:
    clock = Clock()
    vllm = upstream(
        Engine(a=MAYBE_SENT[1]), "a", clock=clock, breaker=BreakerSettings(failures=1, open_for=30)
    )
    with pytest.raises(UpstreamFailed):
        await vllm.send(REQUEST)
    clock.now = 12.5
    with pytest.raises(UpstreamFailed) as caught:
        await vllm.send(REQUEST)
    assert caught.value.answer_status == 503
    assert caught.value.headers == [(b"retry-after", b"18")]


async def test_replica_that_health_checks_took_out_is_not_asked() -> None:
    engine = Engine()
    vllm = upstream(engine)
    vllm.replicas[0].healthy = False
    assert set(await asked(engine, vllm, 4)) == {"b"}
    vllm.replicas[1].healthy = False
    with pytest.raises(UpstreamFailed) as caught:
        await vllm.send(REQUEST)
    assert caught.value.answer_status == 503


@pytest.mark.parametrize(
    "end", [FirstByteTimedOut("x"), UpstreamBroke("x"), ConnectFailed("x"), 502, 503, 504]
)
async def test_breaker_opens_after_failures_in_a_row(end: Exception | int) -> None:
    engine = Engine(a=end)
    vllm = upstream(engine, "a", breaker=BreakerSettings(failures=3, open_for=10), clock=Clock())
    for count in range(3):
        assert vllm.state()[0].breaker == "closed", count
        try:
            (await vllm.send(REQUEST)).close()
        except UpstreamFailed:
            assert isinstance(end, Exception)
    assert vllm.state()[0].breaker == "open"
    with pytest.raises(UpstreamFailed):
        await vllm.send(REQUEST)
    assert len(engine.asked) == 3


@pytest.mark.parametrize("status", [200, 400, 401, 404, 429, 500])
async def test_answers_of_a_living_backend_keep_the_breaker_closed(status: int) -> None:
    vllm = upstream(Engine(a=status), "a", breaker=BreakerSettings(failures=1))
    (await vllm.send(REQUEST)).close()
    assert vllm.state()[0].breaker == "closed"


async def test_success_forgets_earlier_failures() -> None:
    engine = Engine(a=503)
    vllm = upstream(engine, "a", breaker=BreakerSettings(failures=2))
    for status in (503, 200, 503, 200, 503):
        engine.hosts["a"] = status
        (await vllm.send(REQUEST)).close()
    assert vllm.state()[0].breaker == "closed"


async def test_half_open_breaker_lets_one_probe_through() -> None:
    clock = Clock()
    engine = Engine(a=503)
    vllm = upstream(engine, "a", breaker=BreakerSettings(failures=1, open_for=10), clock=clock)
    (await vllm.send(REQUEST)).close()
    clock.now = 10
    assert vllm.state()[0].breaker == "half_open"
    gate = asyncio.Event()
    answers = engine.send

    async def slow(*args: object) -> Answer:
        await gate.wait()
        return await answers(*args)

    engine.send = slow
    probe = asyncio.ensure_future(vllm.send(REQUEST))
    await asyncio.sleep(0)
    with pytest.raises(UpstreamFailed):
        await vllm.send(REQUEST)
    engine.hosts["a"] = 200
    gate.set()
    assert isinstance(await probe, Lease)
    assert vllm.state()[0].breaker == "closed"


def breaker(clock: Clock) -> Breaker:
    """A breaker that one failure has opened, for 10 s."""
    breaker = Breaker(BreakerSettings(failures=1, open_for=10), clock)
    breaker.failed(probe=breaker.admit())
    return breaker


def test_failed_probe_opens_again_for_the_whole_time() -> None:
    clock = Clock()
    half_open = breaker(clock)
    clock.now = 11
    assert half_open.ready()
    half_open.failed(probe=half_open.admit())
    assert half_open.wait() == 10


def test_abandoned_probe_makes_room_for_another() -> None:
    """A client that leaves proves nothing about the replica."""
    clock = Clock()
    half_open = breaker(clock)
    clock.now = 10
    probe = half_open.admit()
    assert not half_open.ready()
    half_open.abandoned(probe=probe)
    assert half_open.ready()


def test_failure_of_an_older_request_neither_ends_a_probe_nor_prolongs_the_rest() -> None:
    clock = Clock()
    opened = breaker(clock)
    clock.now = 5
    opened.failed(probe=False)
    assert opened.wait() == 5
    clock.now = 10
    assert opened.admit()
    opened.failed(probe=False)
    opened.abandoned(probe=False)
    assert not opened.ready()


async def test_cancelled_request_gives_the_replica_back() -> None:
    engine = Engine(a=asyncio.CancelledError())
    vllm = upstream(engine, "a", breaker=BreakerSettings(failures=1))
    with pytest.raises(asyncio.CancelledError):
        await vllm.send(REQUEST)
    assert (vllm.state()[0].in_flight, vllm.state()[0].breaker) == (0, "closed")


@pytest.mark.parametrize("key", ["", " ", "sk\n", "sk-ü", "a\r\nb: c"])
def test_key_that_no_header_can_carry_is_refused_without_showing_it(key: str) -> None:
    with pytest.raises(ConfigError, match="api_key") as caught:
        upstream(Engine(), api_key=key)
    assert not key.strip() or key not in str(caught.value)


def test_upstream_without_urls_is_refused() -> None:
    with pytest.raises(ConfigError, match="no URL"):
        upstream(Engine(), "")


def test_key_is_not_in_the_repr() -> None:
    assert "sk-secret" not in repr(upstream(Engine(), api_key="sk-secret"))
