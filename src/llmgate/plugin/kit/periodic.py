"""Work that is done when there is some, and looked for now and then: in every process, or in one of the cluster.

    async with periodic("trials", trials.run, every=HOUR, store=gate.store, alone=True) as wake:
        ...

With `alone` a lease in the store says whose turn it is. Who holds it renews it while it works; who loses it (a
process that froze for longer than `LEASE_S`) is stopped at its next await, and the work goes on elsewhere. So two
may still overlap for a moment: what must not happen twice is claimed in the store, row by row, as in `kit.outbox`.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from ..api import StoreError, job_leases_table, running

if TYPE_CHECKING:
    from ..api import Store

log = logging.getLogger("llmgate")

POLL_INTERVAL_S = 1.0
"""After so long somebody looks what other processes, or the time, have made due."""
LEASE_S = 30.0
RENEW_INTERVAL_S = 10.0

Work = Callable[[], Awaitable[object]]


class Lease:
    """One process's part in a lease called `name`; `holder` is unlike that of any other."""

    def __init__(self, store: Store, name: str, *, holder: str | None = None, lasts: float = LEASE_S) -> None:
        self._store = store
        self._name = name
        self._holder = holder or uuid.uuid4().hex
        self._lasts = lasts

    async def take(self) -> bool:
        """Take the lease, or renew it; False while another holder's has not run out."""
        now, table = self._store.clock(), job_leases_table
        values = {"name": self._name, "holder": self._holder, "expires_at": now + self._lasts}
        free = (table.c.holder == self._holder) | (table.c.expires_at <= now)
        insert = self._store.insert(table).values(values)
        take = insert.on_conflict_do_update(index_elements=["name"], set_=values, where=free)
        async with self._store.begin() as db:
            return (await db.execute(take.returning(table.c.name))).first() is not None

    async def release(self) -> None:
        """Let another one have it at once."""
        mine = (job_leases_table.c.name == self._name) & (job_leases_table.c.holder == self._holder)
        async with self._store.begin() as db:
            await db.execute(job_leases_table.delete().where(mine))

    async def hold(self, work: Work, *, renew_interval: float = RENEW_INTERVAL_S) -> bool:
        """Do `work` as the only one; False if it is not this one's turn, or the lease was lost on the way."""
        if not await self.take():
            return False
        async with asyncio.TaskGroup() as group:
            doing = group.create_task(_done(work))
            renewing = group.create_task(self._renewed(doing, renew_interval))
            await asyncio.wait([doing])
            renewing.cancel()
        return not doing.cancelled()

    async def _renewed(self, doing: asyncio.Task[None], interval: float) -> None:
        while True:
            await asyncio.sleep(interval)
            try:
                kept = await self.take()
            except StoreError:
                continue  # it lasts a while yet, and the work will find the store away by itself
            if not kept:
                doing.cancel()
                return


async def _done(work: Work) -> None:
    await work()


@asynccontextmanager
async def periodic(
    name: str, work: Work, *, every: float = POLL_INTERVAL_S, store: Store | None = None, alone: bool = False
) -> AsyncIterator[Callable[[], None]]:
    """Do `work` now, every `every` seconds and when the function that is yielded is called, until the block ends.

    Only one `work` runs at a time in this process; with `alone`, which needs the `store`, in all processes on it.
    A round that fails is logged, and the next one comes; while the store is away, that is said once.
    """
    lease = None
    if alone:
        assert store is not None, "whose turn it is stands in the store"
        lease = Lease(store, name)
    wake = asyncio.Event()
    try:
        async with running(_rounds(name, work, lease, every, wake), name=f"llmgate-{name}"):
            yield wake.set
    finally:
        if lease is not None:
            with suppress(StoreError):  # it runs out by itself
                await lease.release()


async def _rounds(name: str, work: Work, lease: Lease | None, every: float, wake: asyncio.Event) -> None:
    store_is_away = False
    while True:
        wake.clear()
        try:
            await (work() if lease is None else lease.hold(work))
            store_is_away = False
        except* StoreError as errors:
            if not store_is_away:
                log.warning("%s waits for the store: %s", name, errors.exceptions[0])
            store_is_away = True
        except* Exception:  # the fault of one round must not end all rounds
            log.exception("%s: a round failed", name)
        with suppress(TimeoutError):
            async with asyncio.timeout(every):
                await wake.wait()


def backoff(attempts: int, *, longest: float) -> float:
    """Seconds to wait after so many failed attempts: 1, 2, 4, ..., at most `longest`."""
    return float(min(longest, 2.0 ** min(attempts, 32)))
