"""Active health checks, stepped by hand or by an injected sleep."""

import asyncio

import httpx
import pytest
import respx

from llmgate.proxy.engines.httpx_engine import HttpxEngine
from llmgate.proxy.health import HealthChecks, HealthSettings
from llmgate.proxy.replica import Replicas
from llmgate.proxy.upstreams import Upstream

SETTINGS = HealthSettings(path="/health", interval=10, rise=2, fall=3)


def upstream(*hosts: str, api_key: str | None = None, client: httpx.AsyncClient | None = None) -> Upstream:
    urls = [f"http://{host}" for host in hosts]
    return Upstream("vllm", urls, engine=HttpxEngine(client), api_key=api_key)


def healthy(vllm: Upstream) -> list[bool]:
    return [state.healthy for state in vllm.state()]


@pytest.mark.parametrize(
    "bad",
    [
        httpx.Response(503),
        httpx.Response(302, headers={"location": "/"}),
        httpx.ConnectError,
        httpx.ReadTimeout,
    ],
)
async def test_replica_is_taken_out_after_falls_and_back_in_after_rises(bad: object) -> None:
    vllm = upstream("a")
    good = httpx.Response(200)
    rounds = [(bad, True), (bad, True), (good, True), (bad, True), (bad, True), (bad, False), (bad, False),
              (good, False), (bad, False), (good, False), (good, True)]  # fmt: skip
    checks = HealthChecks({vllm: SETTINGS})
    with respx.mock:
        respx.get("http://a/health").mock(side_effect=[answer for answer, _ in rounds])
        for number, (_, expected) in enumerate(rounds):
            await checks.check(vllm)
            assert healthy(vllm) == [expected], number


async def test_replicas_are_judged_one_by_one() -> None:
    vllm = upstream("a", "b")
    checks = HealthChecks({vllm: HealthSettings(fall=1)})
    with respx.mock:
        respx.get("http://a/health").respond(500)
        respx.get("http://b/health").respond(200)
        await checks.check(vllm)
    assert healthy(vllm) == [False, True]


async def test_check_carries_the_upstreams_own_key() -> None:
    with respx.mock:
        route = respx.get("http://a/health").respond(200)
        vllm = upstream("a", api_key="sk-its")
        await HealthChecks({vllm: SETTINGS}).check(vllm)
    assert route.calls.last.request.headers["authorization"] == "Bearer sk-its"


async def test_rounds_come_at_jittered_intervals_until_the_block_ends() -> None:
    vllm = upstream("a")
    slept: list[float] = []
    turned = asyncio.Event()

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            turned.set()
            await asyncio.Event().wait()

    with respx.mock:
        route = respx.get("http://a/health").respond(200)
        async with HealthChecks({vllm: SETTINGS}, sleep=sleep, uniform=lambda low, high: high):
            await turned.wait()
    assert slept == [pytest.approx(11)] * 3
    assert route.call_count == 3


async def test_one_upstream_that_hangs_does_not_hold_up_another() -> None:
    seen = asyncio.Event()

    async def answer(request: httpx.Request) -> httpx.Response:
        if request.url.host == "hung":
            await asyncio.Event().wait()
        seen.set()
        return httpx.Response(200)

    async def sleep(seconds: float) -> None:
        await asyncio.Event().wait()

    client = httpx.AsyncClient(transport=httpx.MockTransport(answer))
    hung, quick = (upstream(host, client=client) for host in ("hung", "quick"))
    async with HealthChecks({hung: SETTINGS, quick: SETTINGS}, sleep=sleep), asyncio.timeout(5):
        await seen.wait()


@pytest.mark.parametrize(
    ("error", "late"), [(httpx.ReadTimeout, True), (httpx.ConnectTimeout, False), (httpx.ConnectError, False)]
)
async def test_one_that_is_late_is_told_from_one_that_is_not_there(
    error: type[Exception], late: bool
) -> None:
    """A server with much to do takes the connection and answers late: it may still serve."""
    vllm = upstream("a")
    with respx.mock:
        respx.get("http://a/health").mock(side_effect=error)
        await HealthChecks({vllm: HealthSettings(fall=1)}).check(vllm)
    assert healthy(vllm) == [False]
    assert [state.serves for state in vllm.state()] == [late]


async def test_a_good_check_closes_a_breaker_that_is_half_open() -> None:
    clock = [0.0]
    vllm = Upstream("vllm", ["http://a"], engine=HttpxEngine(), clock=lambda: clock[0])
    for _ in range(5):
        vllm.replicas[0].breaker.failed(probe=False)
    clock[0] = 10.0
    with respx.mock:
        respx.get("http://a/health").respond(200)
        await HealthChecks({vllm: SETTINGS}).check(vllm)
    assert vllm.state()[0].breaker == "closed"


async def test_a_reload_goes_on_where_the_checks_were_and_the_old_ones_stop() -> None:
    """Both gates live until the last stream of the old one has ended."""
    known = Replicas()
    vllm, again = (Upstream("vllm", ["http://a"], engine=HttpxEngine(), known=known) for _ in range(2))

    rounds = asyncio.Queue[None]()

    async def after_a_round(_: float) -> None:
        rounds.put_nowait(None)
        await asyncio.Event().wait()

    with respx.mock:
        route = respx.get("http://a/health").respond(503)
        async with HealthChecks({vllm: SETTINGS}, sleep=after_a_round) as old:
            await rounds.get()
            await old.check(vllm)
            assert healthy(vllm) == [True]
            async with HealthChecks({again: SETTINGS}, sleep=after_a_round):
                await rounds.get()
                assert healthy(vllm) == healthy(again) == [False]
                await old.check(vllm)
                assert route.call_count == 3
