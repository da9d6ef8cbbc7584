"""How much the platform is used, and whether it is there."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import sqlalchemy as sa
from msgspec import Struct

from llmgate.plugin.api import Endpoint, Filter, Outcome
from llmgate.plugin.kit.job_states import Status

from .shapes import SURFACE, iso
from .tables import evaluations, jobs, models

if TYPE_CHECKING:
    from llmgate.plugin.api import Call, Clock, Reports, Store

FRESH_S = 5.0
"""For how long numbers are told again: counting a large ledger takes a while, and anybody may ask."""


class Health(Struct, frozen=True):
    """The gate answers."""

    status: str
    timestamp: str
    version: str


class Statistics(Struct, frozen=True):
    """Numbers of the whole platform."""

    total_models: int
    total_training_jobs: int
    running_training_jobs: int
    completed_training_jobs: int
    total_evaluations: int
    total_generations: int
    timestamp: str


class Counts:
    """One method for each operation."""

    def __init__(
        self,
        store: Store,
        reports: Reports,
        *,
        timer: Callable[[], float] = time.monotonic,
        fresh: float = FRESH_S,
    ) -> None:
        self._store = store
        self._clock: Clock = store.clock
        self._reports = reports
        self._timer = timer
        self._fresh = fresh
        self._known: Statistics | None = None
        self._known_at = 0.0

    async def health(self, call: Call) -> Health:
        """Whether the gate is there; its store and models are `/readyz`'s."""
        return Health("healthy", iso(self._clock()), "1.0.0")

    async def statistics(self, call: Call) -> Statistics:
        """The numbers, at most some seconds old."""
        if self._known is None or self._timer() - self._known_at >= self._fresh:
            self._known, self._known_at = await self._count(), self._timer()
        return self._known

    async def _count(self) -> Statistics:
        wanted = [
            sa.select(sa.func.count()).select_from(models),
            sa.select(sa.func.count()).select_from(jobs),
            sa.select(sa.func.count()).where(jobs.c.status == Status.RUNNING),
            sa.select(sa.func.count()).where(jobs.c.status == Status.COMPLETED),
            sa.select(sa.func.count()).where(evaluations.c.status == "COMPLETED"),
        ]
        async with self._store.connect() as db:
            total, made, running, completed, evaluated = [
                int(await db.scalar(query) or 0) for query in wanted
            ]
        finished = Filter(surface=SURFACE, outcome=Outcome.FINISHED)
        by_endpoint = dict(await self._reports.grouped("endpoint", finished))
        generations = by_endpoint.get(Endpoint.COMPLETIONS)
        generated = generations.requests if generations else 0
        return Statistics(total, made, running, completed, evaluated, generated, iso(self._clock()))
