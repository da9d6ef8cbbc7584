"""The training jobs in the store: see `llmgate.plugin.kit.jobs`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from llmgate.plugin.kit.job_states import UNFINISHED, State, Status
from llmgate.plugin.kit.jobs import JobQueue, state_of

from ..tables import jobs, models, workers

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from llmgate.plugin.api import Store

MAX_FAILURES = 3
"""Deaths of its trainer or worker after which a job is given up."""
WORKER_DIED = f"The worker died {MAX_FAILURES} times while it trained."


@dataclass(frozen=True, slots=True)
class Job:
    """A row. Times are seconds since the epoch, `seconds` those of GPUs (of the CPU where there are none)."""

    id: int
    owner_id: int
    model_id: int
    dataset_id: int
    dataset_folder: str
    result_model_id: int | None
    job_name: str
    training_type: str
    status: str
    wanted: str | None
    epochs: int
    learning_rate: float
    batch_size: int
    lora_r: int
    lora_alpha: int
    lora_dropout: float
    progress: float
    current_epoch: int
    current_loss: float | None
    step: int
    steps: int | None
    logs: str
    error: str | None
    attempt: int
    failures: int
    worker: str | None
    seconds: float
    created_at: float
    started_at: float | None
    completed_at: float | None

    @property
    def state(self) -> State:
        """What the row says."""
        return state_of(self.status, self.wanted)


class Queue(JobQueue[Job]):
    """The jobs in `store`. One that is COMPLETED has made a model of its owner's."""

    def __init__(self, store: Store) -> None:
        super().__init__(store, jobs, workers, Job, max_failures=MAX_FAILURES, died=WORKER_DIED)

    async def add(self, values: Mapping[str, Any], *, max_unfinished: int) -> Job | None:
        """A new job, which waits; None if its owner has `max_unfinished` that are not finished."""
        row = {**values, "status": Status.PENDING, "created_at": self._store.clock()}
        mine = (jobs.c.owner_id == values["owner_id"]) & jobs.c.status.in_(UNFINISHED)
        async with self._store.begin() as db:
            await self._store.serialize(db, f"platform jobs of {values['owner_id']}")
            if (await db.scalar(sa.select(sa.func.count()).where(mine)) or 0) >= max_unfinished:
                return None
            return Job(*(await db.execute(jobs.insert().values(row).returning(*self._columns))).one())

    async def waiting_for(self, job: Job) -> str:
        """Why a job that is PENDING does not run yet, for its user."""
        problems = await self.problems()
        if not problems:
            return (
                "Waiting for a worker: none is running. An operator starts one with `llmgate train-worker`."
            )
        if all(problem is not None for problem in problems):
            return f"Waiting for a worker that can train: {problems[0]}"
        ahead = (jobs.c.id < job.id) & jobs.c.status.in_((Status.PENDING, Status.RUNNING))
        async with self._store.connect() as db:
            before = await db.scalar(sa.select(sa.func.count()).select_from(jobs).where(ahead))
        return f"Waiting: {before} jobs are before this one." if before else "Waiting for a worker."

    async def without_files(self, job_ids: Iterable[int]) -> set[int]:
        """Those of `job_ids` whose files are of no use any more: they failed, or their model was deleted."""
        wanted = set(job_ids)
        has_model = sa.exists().where(models.c.job_id == jobs.c.id)
        useful = jobs.c.status.in_(UNFINISHED) | ((jobs.c.status == Status.COMPLETED) & has_model)
        kept = sa.select(jobs.c.id).where(jobs.c.id.in_(wanted), useful)
        async with self._store.connect() as db:
            return wanted - set((await db.execute(kept)).scalars())

    async def _completed(self, db: AsyncConnection, job: Job) -> Mapping[str, Any]:
        """The model that a job makes, named after it."""
        base = (await db.execute(sa.select(models).where(models.c.id == job.model_id))).one()
        now = self._store.clock()
        row = {
            "job_id": job.id,
            "owner_id": job.owner_id,
            "base": base.base,
            "name": job.job_name,
            "base_model": base.base_model,
            "status": "AVAILABLE",
            "description": f"LoRA adapter of {base.name}, rank {job.lora_r}",
            "model_size": base.model_size,
            "created_at": now,
            "updated_at": now,
        }
        await db.execute(self._store.insert(models).values(row).on_conflict_do_nothing())
        made = await db.scalar(sa.select(models.c.id).where(models.c.job_id == job.id))
        return {"result_model_id": made}
