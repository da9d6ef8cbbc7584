"""The training jobs in the store: whose they are, what they make, and what users learn of them."""

import asyncio

from stores import Clock

from llmgate.plugin.kit.job_states import COMPLETED, FAILED, Ending, Wanted
from llmgate.store import Store
from llmgate_platform.training.jobs import Queue
from plugins.platform.rows import JOB, add_job, add_model

FINISHED = Ending(COMPLETED, "Finished.")


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


async def test_a_user_has_so_many_unfinished_jobs_and_no_more(each_store: Store) -> None:
    queue = Queue(each_store)
    made = await asyncio.gather(*(queue.add(JOB, max_unfinished=2) for _ in range(5)))
    assert sum(job is not None for job in made) == 2
    assert await queue.add({**JOB, "owner_id": 2}, max_unfinished=2) is not None


async def test_who_waits_is_told_for_what(platform_store: Store, clock: Clock) -> None:
    queue = Queue(platform_store)
    first, second = await add_job(queue), await add_job(queue)
    assert "none is running" in await queue.waiting_for(first)
    await queue.heartbeat("w", "torch is not installed.")
    assert await queue.waiting_for(first) == "Waiting for a worker that can train: torch is not installed."
    await queue.heartbeat("v", None)
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
