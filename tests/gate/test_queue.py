"""Who waits for an engine that has all it may have: a whole gate, real sockets, a backend on a leash."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from shutil import copy
from typing import Any

import httpx
import pytest
from gates import ANSWER, Running, running
from servers import PATIENCE, Peer, until
from sqlalchemy import select
from stores import migrated_file

from llmgate.config import from_document
from llmgate.gate.build import open_gate
from llmgate.permissions import Permissions
from llmgate.proxy.admission import Admission
from llmgate.store.schema import usage

__all__ = ["migrated_file"]

BODY = {"model": "small", "messages": [], "max_tokens": 5}


class Leash:
    """A backend that keeps each request until it is let go, and notes what it got."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []
        self.connections: list[Peer] = []
        self._go = asyncio.Semaphore(0)

    async def __call__(self, peer: Peer) -> None:
        self.connections.append(peer)
        while True:
            _, body = await peer.request()
            self.asked.append(body)
            await self._go.acquire()
            await peer.answer(ANSWER, headers=b"content-type: application/json\r\n")

    def let_go(self, number: int = 1) -> None:
        for _ in range(number):
            self._go.release()


@asynccontextmanager
async def held(
    tmp_path: Path, migrated_file: Path, **settings: Any
) -> AsyncIterator[tuple[Running, Leash, httpx.AsyncClient]]:
    leash = Leash()
    store = Path(copy(migrated_file, tmp_path / "gate.db"))
    settings = {"max_in_flight": 1, **settings}
    async with (
        running(tmp_path, store, leash, settings=settings) as gate,
        httpx.AsyncClient(
            base_url=gate.url,
            headers={"authorization": f"Bearer {gate.key}"},
            trust_env=False,
            timeout=PATIENCE,
        ) as http,
    ):
        yield gate, leash, http


def admission_of(gate: Running) -> Admission:
    found = gate.gate.services.upstreams["vllm"].admission
    assert found is not None
    return found


async def ask(http: httpx.AsyncClient, key: str | None = None, **fields: object) -> httpx.Response:
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    return await http.post("/v1/chat/completions", json={**BODY, **fields}, headers=headers)


@pytest.fixture
def place(tmp_path: Path, migrated_file: Path) -> tuple[Path, Path]:
    return tmp_path, migrated_file


async def test_no_more_than_max_in_flight_reach_the_engine_and_all_are_answered(
    place: tuple[Path, Path],
) -> None:
    async with held(*place, max_in_flight=2) as (gate, leash, http):
        asked = [asyncio.create_task(ask(http)) for _ in range(5)]
        await until(lambda: admission_of(gate).waiting == 3 and len(leash.asked) == 2)
        leash.let_go(5)
        assert [answer.status_code for answer in await asyncio.gather(*asked)] == [200] * 5
        await gate.quiet()
        assert (admission_of(gate).in_flight, admission_of(gate).waiting) == (0, 0)


async def test_who_comes_after_a_flood_of_another_key_is_next(place: tuple[Path, Path]) -> None:
    async with held(*place) as (gate, leash, http):
        identity = gate.gate.services.identity
        other = await identity.users.register("bob", None)
        _, secret = await identity.keys.create(other.id, "his")
        flood = [asyncio.create_task(ask(http, user=f"flood {number}")) for number in range(6)]
        await until(lambda: admission_of(gate).waiting == 5)
        single = asyncio.create_task(ask(http, secret, user="single"))
        await until(lambda: admission_of(gate).waiting == 6)
        leash.let_go(3)
        assert (await single).status_code == 200
        assert not all(task.done() for task in flood)
        leash.let_go(4)
        await asyncio.gather(*flood)


async def test_a_key_of_a_higher_class_goes_first(place: tuple[Path, Path]) -> None:
    async with held(*place) as (gate, leash, http):
        identity = gate.gate.services.identity
        other = await identity.users.register("bob", None)
        _, secret = await identity.keys.create(other.id, "his", permissions=Permissions(priority=5))
        flood = [asyncio.create_task(ask(http)) for _ in range(3)]
        await until(lambda: admission_of(gate).waiting == 2)
        urgent = asyncio.create_task(ask(http, secret))
        await until(lambda: admission_of(gate).lengths() == {0: 2, 5: 1})
        leash.let_go(2)
        assert (await urgent).status_code == 200
        leash.let_go(2)
        await asyncio.gather(*flood)


async def test_a_full_queue_is_503_with_retry_after_in_openais_shape(place: tuple[Path, Path]) -> None:
    async with held(*place, queue={"max": 0}) as (gate, leash, http):
        first = asyncio.create_task(ask(http))
        await until(lambda: bool(leash.asked))
        refused = await ask(http)
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "upstream_busy")
        assert int(refused.headers["retry-after"]) >= 1
        leash.let_go()
        assert (await first).status_code == 200
        await gate.quiet()
        assert sorted(outcome for outcome, *_ in await gate.records()) == ["failed", "finished"]


async def test_a_caller_who_leaves_the_queue_leaves_no_trace(place: tuple[Path, Path]) -> None:
    """Neither a place, nor a hold, nor a token in the ledger; and the engine never hears of it."""
    async with held(*place) as (gate, leash, http):
        first = asyncio.create_task(ask(http))
        await until(lambda: bool(leash.asked))
        leaving = asyncio.create_task(ask(http))
        await until(lambda: admission_of(gate).waiting == 1)
        leaving.cancel()
        await until(lambda: admission_of(gate).waiting == 0)
        leash.let_go()
        assert (await first).status_code == 200
        await gate.quiet()
        assert len(leash.asked) == 1
        assert sorted(await gate.records()) == [("failed", 0, 0, "estimated"), ("finished", 5, 7, "exact")]
        text = (await http.get("/metrics")).text
        assert 'llmgate_queue_turned_away_total{class="0",reason="left",upstream="vllm"} 1.0' in text


async def test_an_engine_that_dies_takes_nobody_in_the_queue_along_for_the_whole_wait(
    place: tuple[Path, Path],
) -> None:
    async with held(*place) as (gate, leash, http):
        asked = [asyncio.create_task(ask(http)) for _ in range(4)]
        await until(lambda: admission_of(gate).waiting == 3 and len(leash.asked) == 1)
        gate.upstream.stop()
        for peer in leash.connections:
            peer.reset()
        answers = await asyncio.gather(*asked)
        assert {answer.status_code for answer in answers} <= {502, 503}
        await gate.quiet()
        assert (admission_of(gate).in_flight, admission_of(gate).waiting) == (0, 0)


async def test_a_reload_takes_over_who_waits_and_whom_the_engine_has(place: tuple[Path, Path]) -> None:
    async with held(*place) as (gate, leash, http):
        waiting = [asyncio.create_task(ask(http)) for _ in range(3)]
        await until(lambda: admission_of(gate).waiting == 2)
        document = {
            "store": {"url": f"sqlite:///{place[0] / 'gate.db'}"},
            "upstreams": {
                "vllm": {
                    "urls": [gate.upstream.url],
                    "dialect": "vllm",
                    "max_in_flight": 2,
                    "health": {"enabled": False},
                    "list_models": False,
                }
            },
            "routes": [{"path": "/v1", "upstream": "vllm"}],
        }
        async with open_gate(from_document(document, file=place[0] / "gate.toml"), gate.runtime) as reloaded:
            assert reloaded.services.upstreams["vllm"].admission is admission_of(gate)
            await until(lambda: len(leash.asked) == 2)
            leash.let_go(3)
            assert [answer.status_code for answer in await asyncio.gather(*waiting)] == [200] * 3
            assert (admission_of(gate).in_flight, admission_of(gate).waiting) == (0, 0)


async def test_the_metrics_tell_length_and_wait_by_class(place: tuple[Path, Path]) -> None:
    async with held(*place) as (gate, leash, http):
        asked = [asyncio.create_task(ask(http)) for _ in range(2)]
        await until(lambda: admission_of(gate).waiting == 1)
        assert 'llmgate_queue_length{class="0",upstream="vllm"} 1.0' in (await http.get("/metrics")).text
        leash.let_go(2)
        await asyncio.gather(*asked)
        text = (await http.get("/metrics")).text
        assert 'llmgate_queue_length{class="0",upstream="vllm"} 0.0' in text
        assert 'llmgate_queue_wait_seconds_count{class="0",upstream="vllm"} 2.0' in text


async def test_vllm_gets_the_callers_class_as_its_own_priority_and_nobody_writes_it_himself(
    place: tuple[Path, Path],
) -> None:
    async with held(*place, send_priority=True, max_in_flight=9) as (gate, leash, http):
        identity = gate.gate.services.identity
        other = await identity.users.register("bob", None)
        _, secret = await identity.keys.create(other.id, "his", permissions=Permissions(priority=5))
        leash.let_go(2)
        assert (await ask(http, secret, priority=-1000)).status_code == 200
        assert (await ask(http, priority=-1000)).status_code == 200
        assert b'"priority":-5' in leash.asked[0]
        assert b"priority" not in leash.asked[1]


async def test_what_makes_no_model_work_needs_no_place(place: tuple[Path, Path]) -> None:
    async with held(*place) as (_, leash, http):
        first = asyncio.create_task(ask(http))
        await until(lambda: bool(leash.asked))
        leash.let_go(2)
        assert (await http.get("/v1/models")).status_code == 200
        assert (await first).status_code == 200


async def test_the_ledger_has_the_time_at_the_engine_and_not_that_in_the_queue(
    place: tuple[Path, Path],
) -> None:
    async with held(*place) as (gate, leash, http):
        asked = [asyncio.create_task(ask(http)) for _ in range(2)]
        await until(lambda: admission_of(gate).waiting == 1)
        leash.let_go(2)
        await asyncio.gather(*asked)
        await gate.runtime.store.flush()
        async with gate.runtime.store.connect() as db:
            rows = (await db.execute(select(usage.c["engine_seconds", "duration"]))).all()
        assert all(0 < row.engine_seconds <= row.duration for row in rows)


async def test_a_full_queue_is_a_reason_to_try_a_fallback(place: tuple[Path, Path]) -> None:
    async with held(*place, queue={"max": 0}) as (gate, leash, http):
        first = asyncio.create_task(ask(http))
        await until(lambda: bool(leash.asked))
        document = {
            "store": {"url": f"sqlite:///{place[0] / 'gate.db'}"},
            "upstreams": {
                name: {
                    "urls": [gate.upstream.url],
                    "dialect": "vllm",
                    "context_length": 1000,
                    "health": {"enabled": False},
                    "list_models": False,
                    **({"max_in_flight": 1, "queue": {"max": 0}} if name == "vllm" else {}),
                }
                for name in ("vllm", "other")
            },
            "models": [
                {
                    "name": "small",
                    "targets": [{"upstream": "vllm"}],
                    "fallbacks": [{"upstream": "other", "model": "spare"}],
                }
            ],
            "routes": [{"path": "/v1", "upstreams": ["vllm", "other"]}],
        }
        config = from_document(document, file=place[0] / "gate.toml")
        async with open_gate(config, gate.runtime) as second:
            (app,) = second.apps.values()
            transport = httpx.ASGITransport(app)
            headers = {"authorization": f"Bearer {gate.key}", "host": "127.0.0.1"}
            async with httpx.AsyncClient(transport=transport, base_url=gate.url, headers=headers) as beside:
                second_one = asyncio.create_task(ask(beside))
                await until(lambda: len(leash.asked) == 2)
                leash.let_go(2)
                answer = await second_one
        assert (answer.status_code, answer.headers["x-gate-model"]) == (200, "spare")
        assert (await first).status_code == 200
