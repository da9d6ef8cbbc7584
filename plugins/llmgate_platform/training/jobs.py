"""The jobs in the store: made and steered by the API, taken and reported on by workers.

A worker holds a job by a lease that each report renews. Each taking has a number, `attempt`, and every report
names it: one that froze, or was cut off, finds that nothing it writes changes anything once another has the job.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from ..tables import jobs, models, workers
from .lifecycle import (
    ABANDONED,
    CANCELLED,
    COMPLETED,
    FAILED,
    MAX_FAILURES,
    REQUESTS,
    UNFINISHED,
    WORKER_DIED,
    Ending,
    State,
    Status,
    Wanted,
)  # fmt: skip
from .progress import MAX_LOG

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from llmgate.plugin.api import Store

LEASE_S = 15.0
"""For how long a worker holds a job that it says nothing of."""
LISTED = 1000
WORKER_SEEN_S = 30.0
"""For how long a worker counts as there."""


@dataclass(frozen=True, slots=True)
class Job:
    """A row. Times are seconds since the epoch, `seconds` those of GPUs (of the CPU where there are none)."""

    id: int
    owner_id: int
    key_id: int | None
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
    lease_until: float
    device: str | None
    seconds: float
    created_at: float
    started_at: float | None
    completed_at: float | None

    @property
    def state(self) -> State:
        """What the row says."""
        return State(Status(self.status), None if self.wanted is None else Wanted(self.wanted))


_COLUMNS = jobs.c[*Job.__dataclass_fields__]


class Queue:
    """The jobs in `store`. All methods raise `StoreError`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    # --- what the API does ---

    async def add(self, values: Mapping[str, Any], *, max_unfinished: int) -> Job | None:
        """A new job, which waits; None if its owner has `max_unfinished` that are not finished."""
        row = {**values, "status": Status.PENDING, "created_at": self._store.clock()}
        mine = (jobs.c.owner_id == values["owner_id"]) & jobs.c.status.in_(UNFINISHED)
        async with self._store.begin() as db:
            await self._store.serialize(db, f"platform jobs of {values['owner_id']}")
            if (await db.scalar(sa.select(sa.func.count()).where(mine)) or 0) >= max_unfinished:
                return None
            return Job(*(await db.execute(jobs.insert().values(row).returning(*_COLUMNS))).one())

    async def by_id(self, job_id: int) -> Job | None:
        """The job with this id, if there is one."""
        async with self._store.connect() as db:
            row = (await db.execute(sa.select(*_COLUMNS).where(jobs.c.id == job_id))).first()
        return None if row is None else Job(*row)

    async def all(self, limit: int = LISTED) -> list[Job]:
        """The newest jobs, newest first."""
        query = sa.select(*_COLUMNS).order_by(jobs.c.id.desc()).limit(limit)
        async with self._store.connect() as db:
            return [Job(*row) for row in await db.execute(query)]

    async def request(self, job_id: int, wanted: Wanted) -> bool:
        """Ask for something; False in a state in which it cannot be asked for."""
        async with self._store.begin() as db:
            for before, after in REQUESTS[wanted].items():
                values: dict[str, Any] = {"status": after.status, "wanted": after.wanted}
                if after == FAILED:
                    values |= {"error": CANCELLED, "completed_at": self._store.clock()}
                here = (jobs.c.id == job_id) & _in(before)
                if (await db.execute(jobs.update().where(here).values(values))).rowcount:
                    return True
        return False

    async def waiting_for(self, job: Job) -> str:
        """Why a job that is PENDING does not run yet, for its user."""
        ahead = (jobs.c.id < job.id) & jobs.c.status.in_((Status.PENDING, Status.RUNNING))
        seen = workers.c.seen_at > self._store.clock() - WORKER_SEEN_S
        async with self._store.connect() as db:
            problems = (await db.execute(sa.select(workers.c.problem).where(seen))).scalars().all()
            before = await db.scalar(sa.select(sa.func.count()).select_from(jobs).where(ahead))
        if not problems:
            return (
                "Waiting for a worker: none is running. An operator starts one with `llmgate train-worker`."
            )
        if all(problem is not None for problem in problems):
            return f"Waiting for a worker that can train: {problems[0]}"
        return f"Waiting: {before} jobs are before this one." if before else "Waiting for a worker."

    # --- what workers do ---

    async def take(self, worker: str) -> Job | None:
        """The oldest job that waits, or whose worker has gone; it is RUNNING now, and held by `worker`."""
        now = self._store.clock()
        expired = (jobs.c.status == Status.RUNNING) & (jobs.c.lease_until < now)
        async with self._store.begin() as db:
            await self._settle_abandoned(db, expired, now)
            free = jobs.c.wanted.is_(None) & ((jobs.c.status == Status.PENDING) | expired)
            oldest = sa.select(jobs.c.id).where(free).order_by(jobs.c.id).limit(1)
            died = sa.case((jobs.c.status == Status.RUNNING, 1), else_=0)
            update = jobs.update().where(
                jobs.c.id == oldest.with_for_update(skip_locked=True).scalar_subquery()
            )
            values = {
                "status": Status.RUNNING,
                "worker": worker,
                "lease_until": now + LEASE_S,
                "attempt": jobs.c.attempt + 1,
                "failures": jobs.c.failures + died,
                "started_at": sa.func.coalesce(jobs.c.started_at, now),
            }
            row = (await db.execute(update.values(values).returning(*_COLUMNS))).first()
        if row is None:
            return None
        job = Job(*row)
        if job.failures >= MAX_FAILURES:
            await self.end(job, Ending(FAILED, WORKER_DIED, WORKER_DIED, job.failures), [WORKER_DIED])
            return None
        return job

    async def report(self, job: Job, values: Mapping[str, Any], lines: Iterable[str] = ()) -> Job | None:
        """Write what is new of a job, and renew its lease; None: it is somebody else's now, or gone."""
        async with self._store.begin() as db:
            return await self._write(db, job, {**values, "lease_until": self._store.clock() + LEASE_S}, lines)

    async def end(self, job: Job, ending: Ending, lines: Iterable[str]) -> Job | None:
        """Let go of a job. One that is COMPLETED has made a model of its owner's.

        None if it is somebody else's, or something is wanted of it that `job` does not know of.
        """
        now, state = self._store.clock(), ending.state
        values: dict[str, Any] = {
            "status": state.status,
            "wanted": None,
            "worker": None,
            "error": ending.error,
            "failures": ending.failures,
        }
        if state in (COMPLETED, FAILED):
            values["completed_at"] = now
        async with self._store.change() as db:
            ended = await self._write(db, job, values, lines, _wanted(job.state))
            if ended is None or state != COMPLETED:
                return ended
            made = {"progress": 100.0, "result_model_id": await self._model_of(db, job, now)}
            update = jobs.update().where(jobs.c.id == job.id).values(made)
            return Job(*(await db.execute(update.returning(*_COLUMNS))).one())

    async def beat(self, worker: str, problem: str | None) -> None:
        """Tell that a worker is there, and what keeps it from taking jobs."""
        now = self._store.clock()
        row = {"id": worker, "seen_at": now, "problem": problem}
        insert = self._store.insert(workers).values(row)
        async with self._store.begin() as db:
            await db.execute(insert.on_conflict_do_update(index_elements=["id"], set_=row))
            await db.execute(workers.delete().where(workers.c.seen_at < now - 10 * WORKER_SEEN_S))

    async def leave(self, worker: str) -> None:
        """A worker ends."""
        async with self._store.begin() as db:
            await db.execute(workers.delete().where(workers.c.id == worker))

    async def without_files(self, job_ids: Iterable[int]) -> set[int]:
        """Those of `job_ids` whose files are of no use any more: they failed, or their model was deleted."""
        wanted = set(job_ids)
        has_model = sa.exists().where(models.c.job_id == jobs.c.id)
        useful = jobs.c.status.in_(UNFINISHED) | ((jobs.c.status == Status.COMPLETED) & has_model)
        kept = sa.select(jobs.c.id).where(jobs.c.id.in_(wanted), useful)
        async with self._store.connect() as db:
            return wanted - set((await db.execute(kept)).scalars())

    async def _settle_abandoned(
        self, db: AsyncConnection, expired: sa.ColumnElement[bool], now: float
    ) -> None:
        for before, after in ABANDONED.items():
            values: dict[str, Any] = {"status": after.status, "wanted": None, "worker": None}
            if after == FAILED:
                values |= {"error": CANCELLED, "completed_at": now}
            await db.execute(jobs.update().where(expired, _in(before)).values(values))

    async def _write(
        self,
        db: AsyncConnection,
        job: Job,
        values: Mapping[str, Any],
        lines: Iterable[str],
        where: sa.ColumnElement[bool] | None = None,
    ) -> Job | None:
        changed = dict(values)
        if spent := changed.pop("spent", 0.0):
            changed["seconds"] = jobs.c.seconds + spent
        if text := "".join(f"{line}\n" for line in lines):
            logs = jobs.c.logs + text
            length = sa.func.length(logs)
            changed["logs"] = sa.case(
                (length > MAX_LOG, sa.func.substr(logs, length - MAX_LOG + 1)), else_=logs
            )
        mine = (jobs.c.id == job.id) & (jobs.c.attempt == job.attempt) & (jobs.c.status == Status.RUNNING)
        if where is not None:
            mine &= where
        row = (await db.execute(jobs.update().where(mine).values(changed).returning(*_COLUMNS))).first()
        return None if row is None else Job(*row)

    async def _model_of(self, db: AsyncConnection, job: Job, now: float) -> int | None:
        """The model that a job makes, named after it."""
        base = (await db.execute(sa.select(models).where(models.c.id == job.model_id))).mappings().one()
        row = {
            "job_id": job.id,
            "owner_id": job.owner_id,
            "base": base["base"],
            "name": job.job_name,
            "base_model": base["base_model"],
            "status": "AVAILABLE",
            "description": f"LoRA adapter of {base['name']}, rank {job.lora_r}",
            "model_size": base["model_size"],
            "created_at": now,
            "updated_at": now,
        }
        insert = self._store.insert(models).values(row).on_conflict_do_nothing()
        await db.execute(insert)
        return await db.scalar(sa.select(models.c.id).where(models.c.job_id == job.id))


def _in(state: State) -> sa.ColumnElement[bool]:
    return (jobs.c.status == state.status) & _wanted(state)


def _wanted(state: State) -> sa.ColumnElement[bool]:
    return jobs.c.wanted.is_(None) if state.wanted is None else jobs.c.wanted == state.wanted
