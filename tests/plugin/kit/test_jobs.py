"""Jobs in a table, on both databases: taken once, held by a lease, and what is wanted of them."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import sqlalchemy as sa
from stores import Clock, clock, migrated_file, migrated_postgres, sqlite_url, store, store_url

from llmgate.plugin.api import NEVER_REUSED, id_column
from llmgate.plugin.kit.job_states import COMPLETED, FAILED, PENDING, Ending, State, Status, Wanted
from llmgate.plugin.kit.jobs import LEASE_S, MAX_LOG, JobQueue, job_columns, state_of, worker_table
from llmgate.plugin.kit.tables import optional
from llmgate.store import Store

__all__ = ["clock", "migrated_file", "migrated_postgres", "sqlite_url", "store", "store_url"]

FINISHED = Ending(COMPLETED, "Finished.")
MAX_FAILURES = 3

metadata = sa.MetaData()
jobs = sa.Table(
    "test_jobs", metadata, id_column(), *job_columns(), *optional(step=sa.Integer), **NEVER_REUSED
)
workers = worker_table("test_workers", metadata)


@dataclass(frozen=True)
class Job:
    id: int
    status: str
    wanted: str | None
    attempt: int
    failures: int
    progress: float
    seconds: float
    step: int | None
    logs: str
    error: str | None

    @property
    def state(self) -> State:
        return state_of(self.status, self.wanted)


Queue = JobQueue[Job]


@pytest.fixture
async def queue(store: Store) -> AsyncIterator[Queue]:
    async with store.begin() as db:
        await db.run_sync(metadata.create_all)
    yield JobQueue(store, jobs, workers, Job, max_failures=MAX_FAILURES, died="It died 3 times.")
    async with store.begin() as db:
        await db.run_sync(metadata.drop_all)


async def add(queue: Queue) -> Job:
    store = queue._store
    values = {"status": Status.PENDING, "created_at": store.clock()}
    async with store.begin() as db:
        job_id = await db.scalar(jobs.insert().values(values).returning(jobs.c.id))
    found = await queue.by_id(job_id or 0)
    assert found is not None
    return found


async def test_workers_at_once_never_take_the_same_job(queue: Queue) -> None:
    for _ in range(3):
        await add(queue)
    taken = await asyncio.gather(*(queue.take(f"worker {number}") for number in range(8)))
    assert sorted(job.id for job in taken if job is not None) == [1, 2, 3]


async def test_jobs_are_taken_in_their_order(queue: Queue) -> None:
    first, second = await add(queue), await add(queue)
    assert [(await queue.take("w")).id for _ in "12"] == [first.id, second.id]  # type: ignore[union-attr]
    assert await queue.take("w") is None


async def test_a_job_whose_worker_says_nothing_is_taken_over(queue: Queue, clock: Clock) -> None:
    """What its first worker writes from then on changes nothing."""
    await add(queue)
    first = await queue.take("a")
    assert first is not None
    clock.pass_by(LEASE_S - 1)
    assert await queue.report(first, {"step": 3}) is not None  # renews the lease
    clock.pass_by(LEASE_S - 1)
    assert await queue.take("b") is None
    clock.pass_by(2)
    second = await queue.take("b")
    assert second is not None
    assert (second.attempt, second.failures, second.step) == (2, 1, 3)
    assert await queue.report(first, {"step": 4}) is None
    assert await queue.end(first, FINISHED, []) is None
    assert (await queue.report(second, {})).step == 3  # type: ignore[union-attr]


async def test_a_job_that_takes_its_workers_with_it_is_given_up(queue: Queue, clock: Clock) -> None:
    job = await add(queue)
    for _ in range(MAX_FAILURES):
        assert await queue.take("w") is not None
        clock.pass_by(LEASE_S + 1)
    assert await queue.take("w") is None
    ended = await queue.by_id(job.id)
    assert ended is not None
    assert (ended.status, ended.error) == ("FAILED", "It died 3 times.")


async def test_what_was_wanted_of_a_worker_that_died_is_done_by_the_next(queue: Queue, clock: Clock) -> None:
    wanted = [(Wanted.PAUSE,), (Wanted.PAUSE, Wanted.RESUME), (Wanted.CANCEL,)]
    added = [await add(queue) for _ in wanted]
    for job, requests in zip(added, wanted, strict=True):
        assert (await queue.take("w")).id == job.id  # type: ignore[union-attr]
        for request in requests:
            assert await queue.request(job.id, request)
    clock.pass_by(LEASE_S + 1)
    taken = await queue.take("w")
    assert taken is not None
    assert taken.id == added[1].id  # it was to go on
    states = [(await queue.by_id(job.id)).state for job in added]  # type: ignore[union-attr]
    assert [state.status for state in states] == [Status.PAUSED, Status.RUNNING, Status.FAILED]
    assert all(state.wanted is None for state in states)


async def test_an_end_does_not_pass_over_what_was_asked_for_in_the_meantime(queue: Queue) -> None:
    await add(queue)
    held = await queue.take("w")
    assert held is not None
    assert await queue.request(held.id, Wanted.CANCEL)
    assert await queue.end(held, Ending(PENDING, "Interrupted."), []) is None
    known = await queue.report(held, {})
    assert known is not None
    assert known.state.wanted is Wanted.CANCEL
    assert await queue.end(known, Ending(FAILED, "Cancelled.", "cancelled"), []) is not None


async def test_a_log_keeps_its_end(queue: Queue) -> None:
    await add(queue)
    held = await queue.take("w")
    assert held is not None
    for number in range(3):
        held = await queue.report(held, {}, [f"{number}" * (MAX_LOG // 2)])
        assert held is not None
    assert len(held.logs) == MAX_LOG
    assert held.logs.endswith("2\n")
    assert "0" not in held.logs


async def test_what_was_spent_is_added_up_and_the_end_is_told(queue: Queue) -> None:
    await add(queue)
    held = await queue.take("w")
    assert held is not None
    for _ in range(2):
        held = await queue.report(held, {"spent": 1.5, "progress": 40.0}, ["half"])
        assert held is not None
    ended = await queue.end(held, FINISHED, ["done"])
    assert ended is not None
    assert (ended.status, ended.progress, ended.seconds, ended.logs) == (
        "COMPLETED",
        100.0,
        3.0,
        "half\nhalf\ndone\n",
    )
    assert not await queue.request(ended.id, Wanted.CANCEL)


async def test_who_is_there_says_what_keeps_it_from_working(queue: Queue, clock: Clock) -> None:
    assert await queue.problems() == []
    await queue.heartbeat("w", "torch is not installed.")
    await queue.heartbeat("v", None)
    assert sorted(map(str, await queue.problems())) == ["None", "torch is not installed."]
    await queue.leave("w")
    assert await queue.problems() == [None]
    clock.pass_by(60)
    assert await queue.problems() == []


async def test_the_newest_come_first(queue: Queue) -> None:
    added = [await add(queue) for _ in range(3)]
    assert [job.id for job in await queue.all(limit=2)] == [added[2].id, added[1].id]
    assert await queue.by_id(99) is None
