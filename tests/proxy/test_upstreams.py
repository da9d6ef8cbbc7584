"""Failover, the gate's own credentials, and what a caller is told when nothing answers."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from llmgate.errors import ConfigError, UpstreamFailed
from llmgate.exchange import Exchange
from llmgate.proxy.circuit_breaker import BreakerSettings
from llmgate.proxy.engines.base import (
    ConnectFailed,
    ConnectTimedOut,
    FirstByteTimedOut,
    Origin,
    Timeouts,
    UpstreamBroke,
    UpstreamRequest,
)
from llmgate.proxy.replica import Replicas
from llmgate.proxy.upstreams import Lease, Upstream

REQUEST = UpstreamRequest("POST", b"/v1/x", [], b"{}")
NEVER_SENT = [ConnectFailed("refused"), ConnectTimedOut("slow"), UpstreamBroke("closed", sent=False)]
MAYBE_SENT = [FirstByteTimedOut("silent"), UpstreamBroke("reset")]


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Answer:
    ended = True

    def __init__(self, status: int, body: bytes = b"", headers: tuple[tuple[bytes, bytes], ...] = ()) -> None:
        self.status = status
        self.headers = headers
        self.body = body
        self.aborted = 0

    async def read(self) -> bytes:
        body, self.body = self.body, b""
        return body

    def abort(self) -> None:
        self.aborted += 1


class Engine:
    """Answers by host: an exception is raised, a number is a status."""

    def __init__(self, **hosts: Exception | int | Answer) -> None:
        self.hosts = hosts
        self.asked: list[str] = []

    async def send(self, origin: Origin, request: UpstreamRequest, timeouts: Timeouts) -> Answer:
        self.asked.append(origin.host)
        end = self.hosts.get(origin.host, 200)
        if isinstance(end, BaseException):
            raise end
        return end if isinstance(end, Answer) else Answer(end)


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


async def test_replica_that_health_checks_took_out_is_not_asked_while_another_is_left() -> None:
    engine = Engine()
    vllm = upstream(engine)
    vllm.replicas[0].take_out(late=False)
    assert set(await asked(engine, vllm, 4)) == {"b"}


async def test_with_no_healthy_replica_left_one_that_may_work_is_better_than_a_refusal() -> None:
    """A health path may be late or wrong where chats are answered."""
    engine = Engine()
    vllm = upstream(engine)
    for replica in vllm.replicas:
        replica.take_out(late=False)
    assert set(await asked(engine, vllm, 4)) == {"a", "b"}
    assert all(replica.serves for replica in vllm.replicas)  # it has shown that it does


async def test_replicas_that_are_known_to_be_down_and_are_so_are_503_and_not_502() -> None:
    vllm = upstream(Engine(a=ConnectFailed("refused")), "a")
    vllm.replicas[0].take_out(late=False)
    with pytest.raises(UpstreamFailed) as caught:
        await vllm.send(REQUEST)
    assert (caught.value.answer_status, caught.value.headers) == (503, [(b"retry-after", b"10")])


@pytest.mark.parametrize("end", [FirstByteTimedOut("x"), UpstreamBroke("x"), ConnectFailed("x"), 502, 504])
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


@pytest.mark.parametrize("status", [200, 400, 401, 404, 429, 500, 503, 529])
async def test_answers_of_a_living_backend_keep_the_breaker_closed(status: int) -> None:
    """Busy is not broken."""
    vllm = upstream(Engine(a=status), "a", breaker=BreakerSettings(failures=1))
    with suppress(UpstreamFailed):  # 401
        (await vllm.send(REQUEST)).close()
    assert vllm.state()[0].breaker == "closed"


async def test_which_answers_open_the_breaker_is_a_setting() -> None:
    settings = BreakerSettings(failures=1, statuses=frozenset({500}))
    for status, state in ((502, "closed"), (500, "open")):
        vllm = upstream(Engine(a=status), "a", breaker=settings)
        (await vllm.send(REQUEST)).close()
        assert vllm.state()[0].breaker == state


@pytest.mark.parametrize("status", [429, 503, 529])
async def test_what_one_replica_is_too_busy_for_another_answers(status: int) -> None:
    """And for a second it is asked last."""
    busy = Answer(status)
    engine, clock = Engine(a=busy), Clock()
    vllm = upstream(engine, clock=clock)
    for _ in range(4):
        assert (await vllm.send(REQUEST)).response.status == 200
    assert engine.asked.count("a") == 1
    assert busy.aborted == 1
    assert [state.in_flight for state in vllm.state()] == [0, 4]
    clock.now = 1.5
    await vllm.send(REQUEST)
    assert engine.asked[-2:] == ["a", "b"]


async def test_where_all_are_busy_the_caller_gets_the_backends_own_answer() -> None:
    engine = Engine(a=503, b=503)
    vllm = upstream(engine)
    lease = await vllm.send(REQUEST)
    assert lease.response.status == 503
    assert sorted(engine.asked) == ["a", "b"]
    lease.close()
    assert [state.in_flight for state in vllm.state()] == [0, 0]


async def test_a_busy_answer_is_better_than_a_replica_that_cannot_be_reached() -> None:
    engine = Engine(a=503, b=ConnectFailed("refused"), c=ConnectFailed("refused"))
    vllm = upstream(engine, "abc")
    vllm.replicas[2].take_out(late=False)
    assert (await vllm.send(REQUEST)).response.status == 503
    assert "c" not in engine.asked


async def test_a_body_that_is_gone_once_sent_is_not_sent_again() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"{}"

    engine = Engine(a=503, b=503)
    lease = await upstream(engine).send(UpstreamRequest("POST", b"/v1/x", [], pieces()))
    assert (lease.response.status, len(engine.asked)) == (503, 1)
    engine = Engine(a=401, b=401)
    with pytest.raises(UpstreamFailed, match="the key of the gate itself"):
        await upstream(engine).send(UpstreamRequest("POST", b"/v1/x", [], pieces()))
    assert len(engine.asked) == 1


async def test_which_answers_are_tried_elsewhere_is_a_setting() -> None:
    engine = Engine(a=503, b=503)
    assert (await upstream(engine, retry_statuses=()).send(REQUEST)).response.status == 503
    assert len(engine.asked) == 1


@pytest.mark.parametrize(("status", "key"), [(401, "sk-wrong"), (403, "sk-wrong"), (401, None)])
async def test_a_key_that_the_backend_refuses_is_the_gates_own_and_no_callers(
    status: int, key: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    """502 that says so, and one ERROR for the operator, however many requests there are."""
    vllm = upstream(Engine(a=status), "a", api_key=key, clock=Clock())
    for _ in range(3):
        with pytest.raises(UpstreamFailed, match="refused the key of the gate itself, not yours") as caught:
            await vllm.send(REQUEST)
    assert (caught.value.answer_status, caught.value.answer_code) == (502, "upstream_unauthorized")
    [error] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert "the gate's own key" in error.getMessage()
    assert "sk-wrong" not in caplog.text
    assert vllm.state()[0].key_refused is (status == 401)  # a 403 may be about this one request
    assert vllm.state()[0].in_flight == 0


async def test_a_403_where_the_gate_has_no_key_is_the_backends_word() -> None:
    assert (await upstream(Engine(a=403), "a").send(REQUEST)).response.status == 403


async def test_a_replica_that_refuses_the_key_is_asked_last_until_it_takes_it() -> None:
    """It answers at once, and would look the least busy for ever."""
    engine = Engine(a=401)
    vllm = upstream(engine, api_key="sk-its")
    assert set(await asked(engine, vllm, 6)) == {"a", "b"}
    assert engine.asked.count("a") == 1
    vllm.replicas[1].take_out(late=False)
    engine.hosts["a"] = 200
    (await vllm.send(REQUEST)).close()
    assert not vllm.state()[0].key_refused


async def test_the_key_goes_where_the_backend_wants_it_and_other_headers_with_it() -> None:
    azure = upstream(Engine(), api_key="k" * 10, api_key_header="api-key", headers={"X-Team": "gate"})
    assert azure.credential == (b"api-key", b"k" * 10)
    assert azure.headers == [(b"x-team", b"gate")]
    assert azure.own_headers() == {b"api-key": b"k" * 10, b"x-team": b"gate"}


async def test_a_whole_answer_does_not_show_the_gates_key() -> None:
    quoting = Answer(200, b'{"error":"Bearer sk-its-own-key"}', ((b"x-debug", b"sk-its-own-key"),))
    asked = upstream(Engine(a=quoting), "a", api_key="sk-its-own-key")
    gone = asyncio.Event()

    async def receive() -> dict[str, str]:
        await gone.wait()
        return {"type": "http.disconnect"}

    done = await asked.complete(Exchange("1", 0.0), receive, "/v1/chat/completions", {"model": "m"})
    assert done.body == b'{"error":"Bearer **************"}'
    assert done.headers == [(b"x-debug", b"**************")]


async def test_what_is_known_of_replicas_outlives_the_upstreams_settings() -> None:
    """As a reload makes them anew; the settings of the breaker are those of the latest that is in force."""
    known = Replicas()
    engine = Engine(a=502)
    before = upstream(engine, "ab", known=known, breaker=BreakerSettings(failures=1))
    before.replicas[1].take_out(late=False)
    (await before.send(REQUEST)).close()
    after = upstream(engine, "abc", known=known, breaker=BreakerSettings(failures=1, open_for=77))
    assert [(each.healthy, each.breaker) for each in after.state()] == [
        (True, "open"), (False, "closed"), (True, "closed")]  # fmt: skip
    assert after.replicas[0].breaker.settings.open_for == 10
    after.take_over()
    assert after.replicas[0].breaker.settings.open_for == 77


def test_replicas_of_two_upstreams_are_known_apart() -> None:
    known = Replicas()
    urls = ["http://a:8000"]
    one, other = (Upstream(name, urls, engine=Engine(), known=known) for name in ("one", "other"))
    one.replicas[0].take_out(late=False)
    assert other.replicas[0].healthy


def test_the_gates_own_questions_go_to_a_replica_that_serves() -> None:
    vllm = upstream(Engine())
    vllm.replicas[0].take_out(late=False)
    assert vllm.any_ready() is vllm.replicas[1]
    vllm.replicas[1].key_refused = True
    assert vllm.any_ready() is None


async def test_success_forgets_earlier_failures() -> None:
    engine = Engine(a=502)
    vllm = upstream(engine, "a", breaker=BreakerSettings(failures=2))
    for status in (502, 200, 502, 200, 502):
        engine.hosts["a"] = status
        (await vllm.send(REQUEST)).close()
    assert vllm.state()[0].breaker == "closed"


async def test_half_open_breaker_lets_one_probe_through() -> None:
    clock = Clock()
    engine = Engine(a=504)
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
