"""The jobs in the store: taken once, held by a lease, and what is wanted of them."""

import asyncio

from stores import Clock

from llmgate.store import Store
from llmgate_platform.training.jobs import LEASE_S, Queue
from llmgate_platform.training.lifecycle import (
    COMPLETED,
    FAILED,
    MAX_FAILURES,
    PENDING,
    Ending,
    Status,
    Wanted,
)  # fmt: skip
from llmgate_platform.training.progress import MAX_LOG
from plugins.platform.rows import add_job, add_model

FINISHED = Ending(COMPLETED, "Finished.")


async def test_workers_at_once_never_take_the_same_job(each_store: Store) -> None:
    queue = Queue(each_store)
    for _ in range(3):
        await add_job(queue)
    taken = await asyncio.gather(*(queue.take(f"worker {number}") for number in range(8)))
    assert sorted(job.id for job in taken if job is not None) == [1, 2, 3]


async def test_jobs_are_taken_in_their_order(platform_store: Store) -> None:
    queue = Queue(platform_store)
    first, second = await add_job(queue), await add_job(queue)
    assert [(await queue.take("w")).id for _ in "12"] == [first.id, second.id]  # type: ignore[union-attr]
    assert await queue.take("w") is None


async def test_a_job_whose_worker_says_nothing_is_taken_over(each_store: Store, clock: Clock) -> None:
    """What its first worker writes from then on changes nothing."""
    queue = Queue(each_store)
    await add_job(queue)
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


async def test_a_job_that_takes_its_workers_with_it_is_given_up(platform_store: Store, clock: Clock) -> None:
    queue = Queue(platform_store)
    job = await add_job(queue)
    for _ in range(MAX_FAILURES):
        assert await queue.take("w") is not None
        clock.pass_by(LEASE_S + 1)
    assert await queue.take("w") is None
    ended = await queue.by_id(job.id)
    assert ended is not None
    assert (ended.status, ended.error) == ("FAILED", "The worker died 3 times while it trained.")


async def test_what_was_wanted_of_a_worker_that_died_is_done_by_the_next(
    platform_store: Store, clock: Clock
) -> None:
    queue = Queue(platform_store)
    wanted = [(Wanted.PAUSE,), (Wanted.PAUSE, Wanted.RESUME), (Wanted.CANCEL,)]
    jobs = [await add_job(queue) for _ in wanted]
    for job, requests in zip(jobs, wanted, strict=True):
        assert (await queue.take("w")).id == job.id  # type: ignore[union-attr]
        for request in requests:
            assert await queue.request(job.id, request)
    clock.pass_by(LEASE_S + 1)
    taken = await queue.take("w")
    assert taken is not None
    assert taken.id == jobs[1].id  # it was to go on
    states = [(await queue.by_id(job.id)).state for job in jobs]  # type: ignore[union-attr]
    assert [state.status for state in states] == [Status.PAUSED, Status.RUNNING, Status.FAILED]
    assert all(state.wanted is None for state in states)


async def test_an_end_does_not_pass_over_what_was_asked_for_in_the_meantime(platform_store: Store) -> None:
    queue = Queue(platform_store)
    await add_job(queue)
    held = await queue.take("w")
    assert held is not None
    assert await queue.request(held.id, Wanted.CANCEL)
    assert await queue.end(held, Ending(PENDING, "Interrupted."), []) is None
    known = await queue.report(held, {})
    assert known is not None
    assert known.state.wanted is Wanted.CANCEL
    assert await queue.end(known, Ending(FAILED, "Cancelled.", "cancelled"), []) is not None


async def test_a_finished_job_makes_a_model_of_its_owners(each_store: Store) -> None:
    queue = Queue(each_store)
    await add_model(each_store)
    await add_job(queue, job_name="mine", owner_id=7)
    held = await queue.take("w")
    assert held is not None
    ended = await queue.end(held, FINISHED, ["done"])
    assert ended is not None
    assert (ended.status, ended.progress, ended.result_model_id) == ("COMPLETED", 100.0, 2)
    assert ended.logs == "done\n"


async def test_a_log_keeps_its_end(each_store: Store) -> None:
    queue = Queue(each_store)
    await add_job(queue)
    held = await queue.take("w")
    assert held is not None
    for number in range(3):
        held = await queue.report(held, {}, [f"{number}" * (MAX_LOG // 2)])
        assert held is not None
    assert len(held.logs) == MAX_LOG
    assert held.logs.endswith("2\n")
    assert "0" not in held.logs


async def test_a_user_has_so_many_unfinished_jobs_and_no_more(each_store: Store) -> None:
    queue = Queue(each_store)
    from plugins.platform.rows import JOB

    made = await asyncio.gather(*(queue.add(JOB, max_unfinished=2) for _ in range(5)))
    assert sum(job is not None for job in made) == 2
    assert await queue.add({**JOB, "owner_id": 2}, max_unfinished=2) is not None


async def test_who_waits_is_told_for_what(platform_store: Store, clock: Clock) -> None:
    queue = Queue(platform_store)
    first, second = await add_job(queue), await add_job(queue)
    assert "none is running" in await queue.waiting_for(first)
    await queue.beat("w", "torch is not installed.")
    assert await queue.waiting_for(first) == "Waiting for a worker that can train: torch is not installed."
    await queue.beat("v", None)
    assert await queue.waiting_for(first) == "Waiting for a worker."
    assert await queue.waiting_for(second) == "Waiting: 1 jobs are before this one."
    clock.pass_by(60)
    assert "none is running" in await queue.waiting_for(first)


async def test_files_of_jobs_that_failed_or_are_gone_are_of_no_use(platform_store: Store) -> None:
    queue = Queue(platform_store)
    kept, failed = await add_job(queue), await add_job(queue)
    assert await queue.request(failed.id, Wanted.CANCEL)
    assert await queue.without_files([kept.id, failed.id, 99]) == {failed.id, 99}
    assert (await queue.by_id(failed.id)).state == FAILED  # type: ignore[union-attr]
