"""What training costs, in the ledger: the seconds of a GPU or CPU that a job has spent, as usage of its owner's.

Of the owner's and of no key: a key's day, and its count of requests, had the one that made the job.

Jobs say what they have spent; what of it is to be charged is fixed first, then written under an id of its own,
then noted as done. Whoever dies in between leaves work that the next round does again, and the ledger writes a
record once.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import sqlalchemy as sa

from llmgate.plugin.api import Demand, Exchange, Principal, QuotaExhausted, Subject
from llmgate.plugin.kit.job_states import Status

from .shapes import SURFACE
from .tables import jobs

if TYPE_CHECKING:
    from llmgate.plugin.api import Ledger, Store

log = logging.getLogger("llmgate.platform")

ENDPOINT = "training"
WHILE_RUNNING_S = 600.0
"""Seconds after which a job that still runs is charged for what it has spent so far."""
MILLION = 1_000_000


class Charges:
    """See the module's text. `price`: of a second, in the currency; `route` is the plugin's name."""

    def __init__(
        self,
        store: Store,
        ledger: Ledger,
        *,
        price: float,
        route: str,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._ledger = ledger
        self._price = price
        self._route = route
        self._timer = timer

    async def charge_all(self) -> None:
        """Charge what is due. Raises `StoreError`."""
        spent = jobs.c.seconds - jobs.c.charging
        due = (spent > 0) & ((jobs.c.status != Status.RUNNING) | (spent >= WHILE_RUNNING_S))
        async with self._store.begin() as db:
            settled = jobs.c.charging == jobs.c.charged
            await db.execute(jobs.update().where(due, settled).values(charging=jobs.c.seconds))
        columns = jobs.c["id", "owner_id", "charged", "charging"]
        async with self._store.connect() as db:
            open_ones = (await db.execute(sa.select(*columns).where(jobs.c.charging > jobs.c.charged))).all()
        for row in open_ones:
            await self._charge(row)
            mine = (jobs.c.id == row.id) & (jobs.c.charging == row.charging)
            async with self._store.begin() as db:
                await db.execute(jobs.update().where(mine).values(charged=row.charging))

    async def _charge(self, row: sa.Row[tuple[int, int, float, float]]) -> None:
        seconds = row.charging - row.charged
        exchange = Exchange(
            id=f"training-{row.id}-{round(row.charging * 1000)}",
            started=self._timer() - seconds,
            route=self._route,
        )
        exchange.surface, exchange.principal = SURFACE, Principal(row.owner_id, "")
        exchange.model = f"job-{row.id}"
        cost = math.ceil(round(seconds * self._price * MILLION, 3))  # not what binary fractions add
        subjects = [Subject("user", row.owner_id)]
        try:
            charge = self._ledger.charge(exchange, subjects, Demand(0), endpoint=ENDPOINT)
            async with charge:
                await charge.settle(status=200, cost=cost)
        except QuotaExhausted:  # what was spent is spent: it is written without a hold
            async with self._ledger.charge(exchange, endpoint=ENDPOINT) as charge:
                await charge.settle(status=200, cost=cost)
