"""A key's day is exact: in several processes on one store, through kill -9 and restarts, over midnight UTC."""

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from servers import serve

from .engines import FakeVllm
from .gate import ADA, API, Caller
from .rows import eventually

HERE = Path(__file__).parent
DAY = 86_400
NOON = 20_000 * DAY + DAY / 2
GATE = """
[gate]
listen = ["127.0.0.1:0"]
access_log = false
[store]
url = "{store}"
journals = "journals"
[upstreams.llm]
urls = ["{engine}"]
dialect = "vllm"
lora = true
[[routes]]
path = "/v1"
upstream = "llm"
middleware = ["ratelimit", "llmgate_platform.adapters", "quota", "accounting"]
quota_status = 429
[[plugins.llmgate_platform.models]]
name = "Base"
base_model = "base"
upstream = "llm"
upstream_model = "base"
[plugins.llmgate_platform]
artifacts = "artifacts"
max_rate_limit = 1000
"""


@dataclass
class Process:
    process: asyncio.subprocess.Process
    http: httpx.AsyncClient

    async def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        await self.process.wait()


@dataclass
class Fleet:
    """Gates on one store, whose clock is in `clock`."""

    folder: Path
    stack: AsyncExitStack
    processes: list[Process] = field(default_factory=list)

    @property
    def clock(self) -> Path:
        return self.folder / "clock"

    def at(self, seconds: float) -> None:
        work = self.folder / "clock.new"
        work.write_text(repr(seconds))
        work.replace(self.clock)

    async def start(self) -> Process:
        process = await asyncio.create_subprocess_exec(
            sys.executable, str(HERE / "gate_process.py"), str(self.folder / "gate.toml"), str(self.clock),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert process.stdout is not None
        url = (await process.stdout.readline()).decode().strip()
        assert url, "the gate did not start"
        http = await self.stack.enter_async_context(
            httpx.AsyncClient(base_url=url, trust_env=False, timeout=60)
        )
        started = Process(process, http)
        self.processes.append(started)
        return started

    async def key(self, gate: Process, requests: int) -> str:
        """A key with so many requests a day, of a new user."""
        made = await gate.http.post(f"{API}/auth/register", json=ADA)
        first = Caller(gate.http, made.json()["api_key"])
        answer = await first.post("/auth/keys", {"key_name": "few", "rate_limit": requests})
        key: str = answer.json()["key_value"]
        return key


@pytest.fixture
async def fleet(each_url: str, engine: FakeVllm, tmp_path: Path) -> AsyncIterator[Fleet]:
    async with serve(engine) as url, AsyncExitStack() as stack:
        (tmp_path / "gate.toml").write_text(GATE.format(store=each_url, engine=url))
        fleet = Fleet(tmp_path, stack)
        fleet.at(NOON)
        yield fleet
        for each in fleet.processes:
            if each.process.returncode is None:
                await each.kill()


async def statuses(key: str, gates: list[Process], requests: int) -> Counter[int]:
    """What so many requests at once are answered with, each gate's turn after the other's."""
    callers = [Caller(gates[at % len(gates)].http, key) for at in range(requests)]
    answers = await asyncio.gather(*(caller.generate() for caller in callers))
    return Counter(answer.status_code for answer in answers)


async def few(key: str, gate: Process) -> dict[str, Any]:
    return next(each for each in await Caller(gate.http, key).keys() if each["key_name"] == "few")


async def test_two_processes_give_exactly_a_days_requests(fleet: Fleet, engine: FakeVllm) -> None:
    gates = [await fleet.start(), await fleet.start()]
    key = await fleet.key(gates[0], 20)
    assert await statuses(key, gates, 60) == {200: 20, 429: 40}
    assert len(engine.completions) == 20
    for gate in gates:
        listed = await few(key, gate)
        assert (listed["usage_count"], listed["total_usage"], listed["rate_limit"]) == (20, 20, 20)
        refused = await Caller(gate.http, key).generate()
        assert refused.json() == {"error": "Rate limit exceeded"}
        assert "retry-after" not in refused.headers


async def test_what_was_counted_outlives_kill_9_of_all(fleet: Fleet) -> None:
    gates = [await fleet.start(), await fleet.start()]
    key = await fleet.key(gates[0], 12)
    assert await statuses(key, gates, 7) == {200: 7}
    for gate in gates:
        await gate.kill()
    gates = [await fleet.start(), await fleet.start()]
    assert (await few(key, gates[1]))["usage_count"] == 7
    assert await statuses(key, gates, 20) == {200: 5, 429: 15}


async def test_what_had_no_answer_at_kill_9_is_free(fleet: Fleet, engine: FakeVllm) -> None:
    """What fails is free. The other process goes on, and has what the dead one had leased and not used."""
    gates = [await fleet.start(), await fleet.start()]
    key = await fleet.key(gates[0], 12)
    assert await statuses(key, gates, 4) == {200: 4}
    engine.held.clear()
    running = [asyncio.create_task(Caller(gates[0].http, key).generate()) for _ in range(3)]

    async def reached() -> int:
        return len(engine.completions)

    await eventually(reached, lambda reached: reached == 7)
    await gates[0].kill()
    gone = await asyncio.gather(*running, return_exceptions=True)
    assert all(isinstance(each, httpx.TransportError) for each in gone)
    engine.held.set()
    gates[0] = await fleet.start()
    assert await statuses(key, gates, 20) == {200: 8, 429: 12}
    assert [(await few(key, gate))["usage_count"] for gate in gates] == [12, 12]


async def test_all_processes_begin_a_new_day_at_midnight_utc(fleet: Fleet, engine: FakeVllm) -> None:
    gates = [await fleet.start(), await fleet.start()]
    key = await fleet.key(gates[0], 6)
    assert await statuses(key, gates, 12) == {200: 6, 429: 6}
    midnight = NOON + DAY / 2
    fleet.at(midnight - 0.001)
    assert await statuses(key, gates, 4) == {429: 4}
    fleet.at(midnight)
    assert await statuses(key, gates, 12) == {200: 6, 429: 6}
    for gate in gates:
        listed = await few(key, gate)
        assert (listed["usage_count"], listed["total_usage"]) == (6, 12)
    await gates[0].kill()
    gates[0] = await fleet.start()
    assert await statuses(key, gates, 4) == {429: 4}
    fleet.at(midnight + DAY)
    answer = await Caller(gates[0].http, key).generate()
    assert answer.headers["x-ratelimit-remaining"] == "5"
    assert int(answer.headers["x-ratelimit-reset"]) == midnight + 2 * DAY


async def test_a_request_belongs_to_the_day_in_which_it_came(fleet: Fleet, engine: FakeVllm) -> None:
    gates = [await fleet.start(), await fleet.start()]
    key = await fleet.key(gates[0], 3)
    midnight = NOON + DAY / 2
    fleet.at(midnight - 1)
    engine.held.clear()
    running = [asyncio.create_task(Caller(gate.http, key).generate()) for gate in gates]

    async def reached() -> int:
        return len(engine.completions)

    await eventually(reached, lambda reached: reached == 2)
    fleet.at(midnight + 1)
    engine.held.set()
    assert [answer.status_code for answer in await asyncio.gather(*running)] == [200, 200]
    assert [(await few(key, gate))["usage_count"] for gate in gates] == [0, 0]
    assert await statuses(key, gates, 8) == {200: 3, 429: 5}
