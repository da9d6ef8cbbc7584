"""Long jobs of a surface in a table: made and steered by its API, taken and reported on by workers of any host.

jobs = Table("my_jobs", metadata, id_column(), *job_columns(), *required(what=Text), **NEVER_REUSED)
workers = worker_table("my_workers", metadata)
queue = JobQueue(store, jobs, workers, Job)                   # Job: a dataclass with a field for each column it needs

held = await queue.take("host:1")
held = await queue.report(held, {"progress": 10.0}, ["half of it"])       # None: it is somebody else's now
await queue.end(held, Ending(COMPLETED, "Finished."), [])

A worker holds a job by a lease that each report renews. Each taking has a number, `attempt`, and every report
names it: one that froze, or was cut off, finds that nothing it writes changes anything once another has the job.
What may be asked of a job when, and what becomes of it, is in `job_states`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import sqlalchemy as sa
from sqlalchemy import Double, Integer, Text

from .job_states import (
    ABANDONED,
    CANCELLED,
    COMPLETED,
    FAILED,
    REQUESTS,
    Ending,
    State,
    Status,
    Wanted,
)  # fmt: skip
from .tables import optional, required

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from ..api import Store

LEASE_S = 15.0
"""For how long a worker holds a job that it says nothing of."""
WORKER_SEEN_S = 30.0
"""For how long a worker counts as there."""
MAX_LOG = 8_000
"""Characters of a job's log that are kept."""


class JobRow(Protocol):
    """What a queue reads of a job."""

    @property
    def id(self) -> int:
        """Its row's."""

    @property
    def attempt(self) -> int:
        """How often it was taken."""

    @property
    def failures(self) -> int:
        """How often its worker, or what that has started, died."""

    @property
    def state(self) -> State:
        """What the row says: `state_of`."""


JobT = TypeVar("JobT", bound=JobRow)


def job_columns() -> list[sa.Column[Any]]:
    """What a table of jobs has besides what they are about. `seconds` were spent on it, as its workers count."""

    def zero(name: str, kind: Any) -> sa.Column[Any]:
        return sa.Column(name, kind, nullable=False, default=0)

    return [
        *required(status=Text, created_at=Double),
        *optional(wanted=Text, worker=Text, error=Text, started_at=Double, completed_at=Double),
        *(zero(name, Integer) for name in ("attempt", "failures")),
        *(zero(name, Double) for name in ("progress", "lease_until", "seconds")),
        sa.Column("logs", Text, nullable=False, default=""),
    ]


def worker_table(name: str, metadata: sa.MetaData) -> sa.Table:
    """The table of those that look for jobs, and of what keeps them from taking one."""
    key = sa.Column("id", Text, primary_key=True)
    return sa.Table(name, metadata, key, *required(seen_at=Double), *optional(problem=Text))


def state_of(status: str, wanted: str | None) -> State:
    """The state that a row's columns say."""
    return State(Status(status), None if wanted is None else Wanted(wanted))


class JobQueue(Generic[JobT]):
    """The `jobs` in `store`, each as a `kind`. `died`: the error of a job that is given up, for its owner.

    All methods raise `StoreError`.
    """

    def __init__(
        self,
        store: Store,
        jobs: sa.Table,
        workers: sa.Table,
        kind: Callable[..., JobT],
        *,
        max_failures: int = 3,
        died: str = "The worker died too often.",
    ) -> None:
        self._store = store
        self._jobs = jobs
        self._workers = workers
        self._kind = kind
        self._columns = jobs.c[*kind.__dataclass_fields__]  # type: ignore[attr-defined]
        self._max_failures = max_failures
        self._died = died

    # --- what the API does ---

    async def by_id(self, job_id: int) -> JobT | None:
        """The job with this id, if there is one."""
        found = await self.all(self._jobs.c.id == job_id)
        return found[0] if found else None

    async def all(self, *where: sa.ColumnElement[bool], limit: int = 1000) -> list[JobT]:
        """The newest jobs, newest first."""
        query = sa.select(*self._columns).where(*where).order_by(self._jobs.c.id.desc()).limit(limit)
        async with self._store.connect() as db:
            return [self._kind(*row) for row in await db.execute(query)]

    async def request(self, job_id: int, wanted: Wanted) -> bool:
        """Ask for something; False in a state in which it cannot be asked for."""
        async with self._store.begin() as db:
            for before, after in REQUESTS[wanted].items():
                values = {"wanted": after.wanted, **self._left(after)}
                here = (self._jobs.c.id == job_id) & self._in(before)
                if (await db.execute(self._jobs.update().where(here).values(values))).rowcount:
                    return True
        return False

    async def problems(self) -> list[str | None]:
        """What keeps each worker that is there from taking a job; None: nothing."""
        seen = self._workers.c.seen_at > self._store.clock() - WORKER_SEEN_S
        async with self._store.connect() as db:
            return list((await db.execute(sa.select(self._workers.c.problem).where(seen))).scalars())

    # --- what workers do ---

    async def take(self, worker: str) -> JobT | None:
        """The oldest job that waits, or whose worker has gone; it is RUNNING now, and held by `worker`."""
        now, jobs = self._store.clock(), self._jobs
        expired = (jobs.c.status == Status.RUNNING) & (jobs.c.lease_until < now)
        async with self._store.begin() as db:
            for before, after in ABANDONED.items():
                settled = {"wanted": None, "worker": None, **self._left(after)}
                await db.execute(jobs.update().where(expired, self._in(before)).values(settled))
            free = jobs.c.wanted.is_(None) & ((jobs.c.status == Status.PENDING) | expired)
            oldest = sa.select(jobs.c.id).where(free).order_by(jobs.c.id).limit(1)
            values = {
                "status": Status.RUNNING,
                "worker": worker,
                "lease_until": now + LEASE_S,
                "attempt": jobs.c.attempt + 1,
                "failures": jobs.c.failures + sa.case((jobs.c.status == Status.RUNNING, 1), else_=0),
                "started_at": sa.func.coalesce(jobs.c.started_at, now),
            }
            mine = jobs.c.id == oldest.with_for_update(skip_locked=True).scalar_subquery()
            update = jobs.update().where(mine).values(values)
            row = (await db.execute(update.returning(*self._columns))).first()
        if row is None:
            return None
        job = self._kind(*row)
        if job.failures >= self._max_failures:
            await self.end(job, Ending(FAILED, self._died, self._died, job.failures), [self._died])
            return None
        return job

    async def report(self, job: JobT, values: Mapping[str, Any], lines: Iterable[str] = ()) -> JobT | None:
        """Write what is new of a job, and renew its lease; None: it is somebody else's now, or gone.

        `spent` among the values is added to its `seconds`, `lines` to its log.
        """
        lease = {"lease_until": self._store.clock() + LEASE_S}
        async with self._store.begin() as db:
            return await self._write(db, job, {**values, **lease}, lines)

    async def end(self, job: JobT, ending: Ending, lines: Iterable[str]) -> JobT | None:
        """Let go of a job.

        None if it is somebody else's, or something is wanted of it that `job` does not know of.
        """
        values = {"wanted": None, "worker": None, "failures": ending.failures, **self._left(ending.state)}
        async with self._store.change() as db:
            known = self._wants(job.state)
            ended = await self._write(db, job, {**values, "error": ending.error}, lines, known)
            if ended is None or ending.state != COMPLETED:
                return ended
            made = {"progress": 100.0, **await self._completed(db, ended)}
            update = self._jobs.update().where(self._jobs.c.id == job.id).values(made)
            return self._kind(*(await db.execute(update.returning(*self._columns))).one())

    async def heartbeat(self, worker: str, problem: str | None) -> None:
        """Tell that a worker is there, and what keeps it from taking jobs."""
        now, workers = self._store.clock(), self._workers
        row = {"id": worker, "seen_at": now, "problem": problem}
        insert = self._store.insert(workers).values(row)
        async with self._store.begin() as db:
            await db.execute(insert.on_conflict_do_update(index_elements=["id"], set_=row))
            await db.execute(workers.delete().where(workers.c.seen_at < now - 10 * WORKER_SEEN_S))

    async def leave(self, worker: str) -> None:
        """A worker ends."""
        async with self._store.begin() as db:
            await db.execute(self._workers.delete().where(self._workers.c.id == worker))

    async def _completed(self, db: AsyncConnection, job: JobT) -> Mapping[str, Any]:
        """What a job that is COMPLETED has made, written in the same transaction; values for its row."""
        return {}

    def _left(self, state: State) -> dict[str, Any]:
        values: dict[str, Any] = {"status": state.status}
        if state in (COMPLETED, FAILED):
            values["completed_at"] = self._store.clock()
        return {**values, "error": CANCELLED} if state == FAILED else values

    async def _write(
        self,
        db: AsyncConnection,
        job: JobT,
        values: Mapping[str, Any],
        lines: Iterable[str],
        where: sa.ColumnElement[bool] | None = None,
    ) -> JobT | None:
        changed, table = dict(values), self._jobs
        if spent := changed.pop("spent", 0.0):
            changed["seconds"] = table.c.seconds + spent
        if text := "".join(f"{line}\n" for line in lines):
            logs = table.c.logs + text
            start = sa.func.length(logs) - MAX_LOG + 1
            changed["logs"] = sa.case((start > 1, sa.func.substr(logs, start)), else_=logs)
        mine = (table.c.id == job.id) & (table.c.attempt == job.attempt) & (table.c.status == Status.RUNNING)
        if where is not None:
            mine &= where
        row = (await db.execute(table.update().where(mine).values(changed).returning(*self._columns))).first()
        return None if row is None else self._kind(*row)

    def _in(self, state: State) -> sa.ColumnElement[bool]:
        return (self._jobs.c.status == state.status) & self._wants(state)

    def _wants(self, state: State) -> sa.ColumnElement[bool]:
        wanted = self._jobs.c.wanted
        return wanted.is_(None) if state.wanted is None else wanted == state.wanted
